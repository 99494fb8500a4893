"""A lazy dataset: spectra of one split, read and transformed on demand."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from galahstream.errors import LabelError
from galahstream.store import SpectraStore, open_store
from galahstream.stream.augmentation import Augmentation
from galahstream.stream.decoding import Decoder
from galahstream.stream.draws import EpochDraws
from galahstream.stream.items import BatchItems, Indices, Item, ItemsIdentity, valid_indices
from galahstream.stream.kernels import is_fused
from galahstream.stream.transforms import FluxTransform, LogFlux, ZScore
from galahstream.survey.labels import DEFAULT_LABELS
from galahstream.survey.windows import Window, check_window, window_pixels
from galahstream.validation import check_choice

Split: TypeAlias = Literal["train", "val", "test", "all"]
"""Rows of a dataset."""

Missing: TypeAlias = Literal["raise", "drop"]
"""Treatment of rows of which a selected label is missing."""


class SpectraDataset(Dataset[Item]):
    """Spectra and labels of one split of a store.

    Flux is read only on demand. A dataset is sent to another process as the path of
    its store and its options; each process opens the files itself.

    Parameters
    ----------
    store : SpectraStore or path-like
        The store.
    split : {"train", "val", "test", "all"}
        Which rows.
    labels : str, sequence of str, or None
        Label columns. With None, or a store without labels, items are flux alone.
    window : str, (float, float), sequence of them, mask, or None
        Which pixels: a camera (``"red"``), a range in Å, several cameras and ranges, one
        bool per pixel, ``"no-tellurics"``, ``"galah-cnn"``, or None for all; see
        :func:`~galahstream.survey.windows.check_window`. Pixels are in the order of the
        store and each is there once, also where ranges overlap.
    transform : callable or None
        Takes and returns float32 flux of shape (..., L).
    target_transform : ZScore or None
        Fitted on the store's rows unless it is fitted already.
    missing : {"raise", "drop"}
        Treatment of rows of which a selected label is missing (NaN or infinite).
    return_ids : bool
        Add the star's id (int64) as the last element.
    return_error : bool
        Add the 1 σ error of each pixel (float32) after the flux: with `LogFlux` that of the
        logarithm, error / max(flux, floor), and with None that of the flux. It is infinite
        where it is unknown, and with `LogFlux` also where the flux is not finite, so that
        1 / error**2 is a weight of 0. The store must have errors, and other transforms
        cannot be used.

    Raises
    ------
    LabelError
        For a label that the store lacks, missing values, or a constant label.
    OptionError, WavelengthError
        For options that cannot be used.

    Attributes
    ----------
    rows : ndarray, shape (n,), int64
        Row of the store of each item.
    window : str, (float, float), tuple of them, PixelMask or None
        The window as plain values.
    pixels : ndarray, shape (L,), int64
        Pixel of the store's spectra of each pixel of an item, increasing.
    label_names : tuple of str
        Label columns; empty without labels.

    Examples
    --------
    >>> dataset = SpectraDataset("store", split="val", window="red")  # doctest: +SKIP
    >>> flux, labels = dataset[0]  # doctest: +SKIP
    """

    def __init__(
        self,
        store: SpectraStore | str | os.PathLike[str],
        split: Split = "train",
        labels: str | Sequence[str] | npt.NDArray[np.str_] | None = DEFAULT_LABELS,
        window: Window = None,
        transform: FluxTransform = LogFlux(),  # noqa: B008  frozen
        target_transform: ZScore | None = ZScore(),  # noqa: B008  fitting makes a new one
        missing: Missing = "raise",
        return_ids: bool = False,
        return_error: bool = False,
    ) -> None:
        check_choice("split", split, get_args(Split))
        check_choice("missing", missing, get_args(Missing))
        self.store = open_store(store) if isinstance(store, str | os.PathLike) else store
        self.split = split
        self.window = check_window(window)
        self.return_ids = bool(return_ids)
        self.return_error = bool(return_error)
        self.missing = missing
        self._transform = transform
        self._find_pixels()
        self.label_names = self._select_labels(labels)
        self.rows = self._select_rows()
        self.target_transform = self._fit(target_transform)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        # Kernels and arrays of a million rows are made again where they are needed.
        remade = ("rows", "pixels", "scaled_targets", "_decoder")
        return {name: value for name, value in vars(self).items() if name not in remade}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._find_pixels()
        self.rows = self._select_rows()

    def __repr__(self) -> str:
        return (
            f"<SpectraDataset {self.store.path}: {self.split}, {len(self)} stars, "
            f"{self.n_pixels} pixels, labels {', '.join(self.label_names) or 'none'}>"
        )

    @property
    def transform(self) -> FluxTransform:
        """The transform of the flux, which cannot be changed: its kernel is chosen once."""
        return self._transform

    @property
    def n_pixels(self) -> int:
        """Pixels per item, inside the window: L."""
        return len(self.pixels)

    @property
    def wavelength(self) -> npt.NDArray[np.float64]:
        """Wavelengths of the items' pixels, Å."""
        return self.store.wavelength[self.pixels]

    @property
    def label_units(self) -> tuple[str, ...]:
        """Units of the labels."""
        return tuple(self.store.label_units[name] for name in self.label_names)

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Star ids of the items, shape (n,)."""
        return self.store.ids[self.rows]

    @property
    def targets(self) -> npt.NDArray[np.float64]:
        """Labels of the items in their own units, shape (n, K)."""
        return self._labels_of(self.rows)

    @cached_property
    def scaled_targets(self) -> npt.NDArray[np.float32]:
        """Labels of the items as they are in batches, shape (n, K)."""
        score = self.target_transform
        return self.targets.astype(np.float32) if score is None else score(self.targets)

    @property
    def stored_row_bytes(self) -> int:
        """Bytes of a complete spectrum as it is stored, with its errors if they are returned."""
        itemsize = self.store.flux.dtype.itemsize
        if self.return_error and self.store.error is not None:
            itemsize += self.store.error.dtype.itemsize
        return self.store.flux.shape[1] * itemsize

    @cached_property
    def identity(self) -> ItemsIdentity:
        """Store, split and chosen rows, for positions that are saved."""
        return ItemsIdentity.of_rows(self.store, self.split, self.rows)

    def __getitem__(self, index: int | slice | Indices) -> Item:
        """Return float32 flux and labels, or flux alone without labels.

        Parameters
        ----------
        index : int, slice, or sequence of int
            Items; negative ones count from the end.

        Returns
        -------
        tensor or tuple of tensors
            For an int, flux (L,), error (L,), labels (K,) and id, as far as they are selected;
            else flux (n, L), errors (n, L), labels (n, K) and ids (n,).

        Raises
        ------
        TypeError
            If `index` is not an integer, a slice or integers.
        IndexError
            If an item is outside the dataset.
        DamagedRowError
            If a spectrum does not match its digest.
        """
        if isinstance(index, slice):
            tensors = self.read_valid_batch(self._prefetched(np.arange(len(self))[index]))
        else:
            indices = valid_indices(index, len(self))
            if indices.ndim == 0:
                return BatchItems(self.read_batch(indices[None]))[0]
            tensors = self.read_batch(indices)
        return tensors if len(tensors) > 1 else tensors[0]

    def __getitems__(self, indices: Indices) -> BatchItems:
        """Return items that were read together, as views of one tensor each."""
        return BatchItems(self.read_batch(indices))

    def check_augmentation(self, augmentation: Augmentation) -> None:
        """Raise an error if the spectra cannot be augmented.

        Raises
        ------
        OptionError
            If errors are returned.
        WavelengthError
            If spectra are to be shifted and their wavelengths are not known.
        """
        self._decoder.prepare_augmentation(augmentation)

    def read_batch(
        self, indices: Indices, *out: npt.NDArray[np.float32], draws: EpochDraws | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Return items as one tensor each of flux, errors, labels and ids, as far as selected.

        Parameters
        ----------
        indices : sequence of int, length n
            Items; negative ones count from the end.
        *out : ndarray, shape (n, L), float32, optional
            Memory of the flux tensor, and of the tensor of errors if they are returned.
        draws : EpochDraws, optional
            How the flux is augmented.

        Raises
        ------
        TypeError, IndexError, DamagedRowError
            As for indexing.
        """
        valid = valid_indices(indices, len(self))
        return self.read_valid_batch(self._prefetched(valid), *out, draws=draws)

    def read_valid_batch(
        self,
        indices: npt.NDArray[np.int64],
        *out: npt.NDArray[np.float32],
        draws: EpochDraws | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Do what :meth:`read_batch` does, without checking and prefetching.

        Parameters
        ----------
        indices : ndarray of int64, length n
            Items from 0 to ``len(dataset) - 1``, which the caller prefetched.
        *out : ndarray, shape (n, L), float32, optional
            Memory of the flux tensor, and of the tensor of errors if they are returned.
        draws : EpochDraws, optional
            How the flux is augmented.
        """
        rows = self.rows[indices]
        spectra = out or self.new_spectra(len(rows))
        tensors = [torch.from_numpy(array) for array in self._read(rows, spectra, draws)]
        if self.label_names:
            # Not take(): it releases the GIL, which for 32 rows costs more than it brings.
            tensors.append(torch.from_numpy(self.scaled_targets[indices]))
        if self.return_ids:
            tensors.append(torch.from_numpy(np.asarray(self.store.ids[rows])))
        return tuple(tensors)

    def read_spectra_into(
        self,
        indices: npt.NDArray[np.int64],
        out: tuple[npt.NDArray[np.float32], ...],
        positions: npt.NDArray[np.int64],
        draws: EpochDraws | None = None,
    ) -> None:
        """Write the spectra of items into some rows of a batch, for batches of several datasets.

        Parameters
        ----------
        indices : ndarray of int64, length n
            Items from 0 to ``len(dataset) - 1``, which the caller prefetched.
        out : tuple of ndarray, shape (m, L), float32
            The flux of the batch, and its errors if they are returned.
        positions : ndarray of int64, length n
            Row of `out` of each item.
        draws : EpochDraws, optional
            How the flux is augmented.
        """
        rows = self.rows[indices]
        if is_fused(self._transform):
            self._decoder.read(rows, out, positions, draws)
        else:
            (out[0][positions],) = self._read(rows, self.new_spectra(len(rows)), draws)

    def new_spectra(self, n_rows: int) -> tuple[npt.NDArray[np.float32], ...]:
        """Return memory for the flux of a batch, and for its errors if they are returned."""
        shape = (n_rows, self.n_pixels)
        return tuple(np.empty(shape, dtype=np.float32) for _ in range(1 + self.return_error))

    def prefetch(self, indices: npt.NDArray[np.int64]) -> None:
        """Request the spectra of items, from 0 to ``len(dataset) - 1``, from the disk."""
        rows = self.rows[indices]
        self.store.prefetch(rows)
        if self.return_error and self.store.error is not None:
            self.store.error.prefetch(rows)

    def release_pages(self) -> None:
        """Return the memory of mapped flux to the system; does nothing if none is mapped."""
        self.store.release_pages()

    def in_stored_order(self) -> "SpectraDataset":
        """Return the dataset itself, whose items are in the order in which they are stored."""
        return self

    def _prefetched(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        self.prefetch(indices)
        return indices

    def _read(
        self,
        rows: npt.NDArray[np.int64],
        out: tuple[npt.NDArray[np.float32], ...],
        draws: EpochDraws | None,
    ) -> tuple[npt.NDArray[np.float32], ...]:
        self._decoder.read(rows, out, np.arange(len(rows)), draws)
        return out if is_fused(self._transform) else (self._decoder.transform(out[0], rows),)

    def _find_pixels(self) -> None:
        name = str(self.store.path)
        self.pixels = window_pixels(self.store.wavelength, self.window, name)
        self._decoder = Decoder(self.store, self._transform, self.pixels, self.return_error)

    def _select_rows(self) -> npt.NDArray[np.int64]:
        rows = np.arange(len(self.store))[self.store.rows_of(self.split)]
        return self._with_labels(rows) if self.label_names else rows

    def _select_labels(
        self, labels: str | Sequence[str] | npt.NDArray[np.str_] | None
    ) -> tuple[str, ...]:
        if labels is None or not self.store.labels:
            return ()
        plain = labels.tolist() if isinstance(labels, np.ndarray) else labels
        names = (plain,) if isinstance(plain, str) else tuple(plain)
        for name in names:
            if name not in self.store.labels:
                msg = (
                    f"{self.store.path}: no label {name!r}; the store has "
                    f"{', '.join(self.store.labels)}: choose among them (labels=, --labels)"
                )
                raise LabelError(msg)
        if len(set(names)) != len(names):
            msg = f"the labels {', '.join(names)} name a label twice; give each once"
            raise LabelError(msg)
        return tuple(str(name) for name in names)

    def _labels_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        columns = [self.store.labels[name][rows] for name in self.label_names]
        return np.stack(columns, axis=-1) if columns else np.empty((len(rows), 0))

    def _with_labels(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        is_missing = ~np.isfinite(self._labels_of(rows))
        if not is_missing.any():
            return rows
        if self.missing == "drop":
            return rows[~is_missing.any(axis=1)]
        row, label = (int(index[0]) for index in np.nonzero(is_missing))
        msg = (
            f"{self.store.path}: {int(is_missing.any(axis=1).sum())} rows of {self.split!r} lack "
            f"a label, the first is row {rows[row]} (star {self.store.ids[rows[row]]}), "
            f"{self.label_names[label]!r}; skip them with missing='drop' (--missing drop)"
        )
        raise LabelError(msg)

    def _fit(self, score: ZScore | None) -> ZScore | None:
        if not self.label_names or score is None or score.is_fitted:
            return score
        rows = np.arange(len(self.store))[self.store.rows_of(score.fit_on)]
        labels = self._labels_of(rows)
        return score.fitted(labels[np.isfinite(labels).all(axis=1)], self.label_names)
