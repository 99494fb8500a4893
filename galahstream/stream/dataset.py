"""A lazy dataset: spectra of one split, read and transformed on demand."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from galahstream.store import SpectraStore, open_store
from galahstream.stream.augmentation import Augmentation
from galahstream.stream.decoding import Decoder
from galahstream.stream.draws import EpochDraws
from galahstream.stream.items import BatchItems, Indices, Item, ItemsIdentity, valid_indices
from galahstream.stream.kernels import is_fused
from galahstream.stream.label_table import LabelTable, scaled_arrays
from galahstream.stream.label_table import Missing as Missing
from galahstream.stream.transforms import FluxTransform, LogFlux, ZScore
from galahstream.survey.labels import DEFAULT_LABELS
from galahstream.survey.windows import Window, check_window, window_pixels
from galahstream.system.notebook import facts
from galahstream.validation import check_choice

Split: TypeAlias = Literal["train", "val", "test", "all"]
"""Rows of a dataset."""


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
    missing : {"raise", "drop", "mask"}
        Treatment of rows of which a selected label is missing (NaN or infinite): an error,
        skipping them, or, with ``"mask"``, skipping those that lack all labels; others
        have NaN where a label is missing.
    return_ids : bool
        Add the star's id (int64) as the last element.
    return_error : bool
        Add the 1 σ error of each pixel (float32) after the flux: with `LogFlux` that of the
        logarithm, error / max(flux, floor), and with None that of the flux. It is infinite
        where it is unknown, and with `LogFlux` also where the flux is not finite, so that
        1 / error**2 is a weight of 0. The store must have errors, and other transforms
        cannot be used.
    return_label_errors : bool
        Add the 1 σ errors of the labels (float32, scaled like them) after the labels: the
        columns ``e_teff`` of ``teff`` and so on, which the store must have. A label without
        an error counts as missing.

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
        return_label_errors: bool = False,
    ) -> None:
        check_choice("split", split, get_args(Split))
        check_choice("missing", missing, get_args(Missing))
        self.store = open_store(store) if isinstance(store, str | os.PathLike) else store
        self.split = split
        self.window = check_window(window)
        self.return_ids = bool(return_ids)
        self.return_error = bool(return_error)
        self.return_label_errors = bool(return_label_errors)
        self.missing = missing
        self._transform = transform
        self._find_pixels()
        self._table = LabelTable(self.store, labels, with_errors=self.return_label_errors)
        self.label_names = self._table.names
        self.rows = self._select_rows()
        self.target_transform = self._table.fit(target_transform, missing)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        # Kernels and arrays of a million rows are made again where they are needed.
        remade = ("rows", "pixels", "scaled_labels", "_decoder")
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

    def _repr_html_(self) -> str:
        values = {
            "store": str(self.store.path),
            "stars": f"{len(self):,} of {self.split!r}",
            "pixels": f"{self.n_pixels:,}",
            "labels": ", ".join(self.label_names) or "none",
            "missing labels": self.missing,
            "transform of the flux": repr(self.transform),
        }
        return facts("SpectraDataset", values)

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
        """Labels of the items in their own units, shape (n, K); NaN where one is missing."""
        return self._table.values(self.rows)

    @property
    def target_errors(self) -> npt.NDArray[np.float64] | None:
        """Errors (1 σ) of the labels in their own units, shape (n, K), if they are returned."""
        return self._table.errors(self.rows) if self.return_label_errors else None

    @property
    def scaled_targets(self) -> npt.NDArray[np.float32]:
        """Labels of the items as they are in batches, shape (n, K)."""
        return self.scaled_labels[0]

    @cached_property
    def scaled_labels(self) -> tuple[npt.NDArray[np.float32], ...]:
        """Labels, and their errors if they are returned, as they are in batches, each (n, K)."""
        return scaled_arrays(self.targets, self.target_errors, self.target_transform)

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
            For an int, flux (L,), error (L,), labels (K,), their errors (K,) and id, as far as
            they are selected; else the same with n items each, as in flux (n, L).

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
            tensors += [torch.from_numpy(array[indices]) for array in self.scaled_labels]
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
        return self._table.select(rows, self.missing, self.split) if self.label_names else rows
