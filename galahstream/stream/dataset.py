"""A lazy dataset: spectra of one split, read and transformed when asked for."""

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from galahstream.errors import LabelError, OptionError
from galahstream.store import Store, open_store
from galahstream.store.quantization import Quantized16
from galahstream.stream.kernels import best_kernels
from galahstream.stream.transforms import LogFlux, ZScore
from galahstream.survey.splits import SPLIT_NAMES
from galahstream.survey.wavelength import Window, check_window, window_slice

FluxTransform: TypeAlias = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]] | None
Item: TypeAlias = torch.Tensor | tuple[torch.Tensor, ...]


class BatchItems(list[Item]):
    """The items of a batch, which are views of the tensors in `whole`."""

    def __init__(self, whole: tuple[torch.Tensor, ...]) -> None:
        items: list[Any] = list(zip(*whole, strict=True)) if len(whole) > 1 else list(whole[0])
        super().__init__(items)
        self.whole = whole


class SpectraDataset(Dataset[Item]):
    """Spectra and labels of one split of a store.

    Nothing is read before it is asked for. A dataset goes to another process as
    the path of its store and its options; files are opened there anew.

    Parameters
    ----------
    store : Store or path-like
        The store.
    split : {"train", "val", "test", "all"}
        Which rows.
    labels : sequence of str or None
        Label columns; None, and a store without labels, give spectra alone.
    window : str, (float, float) or None
        A camera's name, a range in Å, or None for every pixel.
    transform : callable or None
        Takes and returns float32 flux of shape (..., L).
    target_transform : ZScore or None
        Fitted on the store's rows where it is not yet.
    missing : {"raise", "drop"}
        What to do with rows of which a selected label is missing (NaN or infinite).
    return_ids : bool
        Add the star's id (int64) as the last element.

    Raises
    ------
    LabelError
        For a label that the store lacks, missing values, or a constant label.
    OptionError, WavelengthError
        For options that cannot be used.

    Examples
    --------
    >>> dataset = SpectraDataset("store", split="val", window="red")  # doctest: +SKIP
    >>> flux, labels = dataset[0]  # doctest: +SKIP
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str],
        split: str = "train",
        labels: Sequence[str] | None = ("teff", "logg", "fe_h"),
        window: Window = None,
        transform: FluxTransform = LogFlux(),  # noqa: B008  frozen
        target_transform: ZScore | None = ZScore(),  # noqa: B008  fitting makes a new one
        missing: str = "raise",
        return_ids: bool = False,
    ) -> None:
        self.store = store if isinstance(store, Store) else open_store(store)
        for name, value, allowed in (
            ("split", split, (*SPLIT_NAMES, "all")),
            ("missing", missing, ("raise", "drop")),
        ):
            if value not in allowed:
                msg = f"{name} {value!r} is not known; expected one of {', '.join(allowed)}"
                raise OptionError(msg)
        self.split = split
        self.window = check_window(window)
        self.transform = transform
        self.return_ids = return_ids
        self.missing = missing
        self._pixels = window_slice(self.store.wavelength, window)
        self.label_names = self._checked_labels(labels)
        self.rows = self._chosen_rows()
        self.target_transform = self._fitted(target_transform)

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        # Arrays of a million rows are made anew where they are needed, not sent there.
        made = ("rows", "_scores")
        return {name: value for name, value in vars(self).items() if name not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.rows = self._chosen_rows()

    def __repr__(self) -> str:
        return (
            f"<SpectraDataset {self.store.path}: {self.split}, {len(self)} stars, "
            f"{self.n_pixels} pixels, labels {', '.join(self.label_names) or 'none'}>"
        )

    @property
    def n_pixels(self) -> int:
        """Pixels of each item, after the window."""
        n_pixels: int = self._pixels.stop - self._pixels.start
        return n_pixels

    @property
    def wavelength(self) -> npt.NDArray[np.float64]:
        """Wavelengths of the items' pixels, Å."""
        return self.store.wavelength[self._pixels]

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

    def __getitem__(self, index: int) -> Item:
        """Return float32 flux (L,) and labels (K,) of one star; flux alone without labels."""
        views = self.__getitems__([index])
        return views[0]

    def __getitems__(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> BatchItems:
        """Return many items, read together, as views of one tensor of flux and one of labels."""
        return BatchItems(self.read_batch(indices))

    def read_batch(
        self,
        indices: Sequence[int] | npt.NDArray[np.int64],
        out: npt.NDArray[np.float32] | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Return many items as one tensor each of flux, labels and ids, as far as they are wanted.

        Parameters
        ----------
        indices : sequence of int
            Numbers of items, n of them.
        out : ndarray, shape (n, L), float32, optional
            Memory for the flux, which its tensor then shares.
        """
        return self.read_known(self._checked(indices), out)

    def read_known(
        self, numbers: npt.NDArray[np.int64], out: npt.NDArray[np.float32] | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Do what :meth:`read_batch` does for numbers that are known to be of items, from 0 up."""
        rows = self.rows[numbers]
        if out is None:
            out = np.empty((len(rows), self.n_pixels), dtype=np.float32)
        whole = [torch.from_numpy(self._read(rows, out))]
        if self.label_names:
            # Not take(): it lets go of the GIL, which for 32 rows costs more than it brings.
            whole.append(torch.from_numpy(self._scores[numbers]))
        if self.return_ids:
            whole.append(torch.from_numpy(np.asarray(self.store.ids[rows])))
        return tuple(whole)

    def prefetch(self, indices: npt.NDArray[np.int64]) -> None:
        """Have the flux of items read ahead, in the order in which it lies in the file."""
        self.store.flux.reader.prefetch(self.rows[indices])

    def _read(
        self, rows: npt.NDArray[np.int64], out: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        kernels, log, flux = best_kernels(), self.transform, self.store.flux
        encoding = flux.encoding
        for numbers, flat, starts in flux.pieces(rows):
            first = starts + self._pixels.start if self._pixels.start else starts
            target = out[numbers]
            if isinstance(encoding, Quantized16) and isinstance(log, LogFlux):
                kernels.log_codes(flat, first, encoding, log, target)
            elif isinstance(encoding, Quantized16):
                kernels.look_up(flat, first, encoding.table, target)
            elif isinstance(log, LogFlux):
                kernels.log_rows(flat, first, log, target)
            else:
                for row, start in zip(target, first.tolist(), strict=True):
                    row[:] = flat[start : start + self.n_pixels]
        return out if log is None or isinstance(log, LogFlux) else self._transformed(out, rows)

    @cached_property
    def _scores(self) -> npt.NDArray[np.float32]:
        """The labels of all items as they are handed out, shape (n, K)."""
        labels = self._labels_of(self.rows)
        score = self.target_transform
        return labels.astype(np.float32) if score is None else score(labels)

    def _checked(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        numbers = np.asarray(indices, dtype=np.int64)
        if numbers.size and (numbers.min() < -len(self) or numbers.max() >= len(self)):
            outside = (numbers < -len(self)) | (numbers >= len(self))
            msg = f"item {numbers[outside][0]} of a dataset of {len(self)} items"
            raise IndexError(msg)
        return numbers

    def _transformed(
        self, flux: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        assert self.transform is not None
        found = np.ascontiguousarray(self.transform(flux))
        if found.dtype != np.float32 or found.shape != flux.shape:
            msg = (
                f"the transform made {found.dtype} of shape {found.shape} out of float32 of shape "
                f"{flux.shape}; it must keep both"
            )
            raise OptionError(msg)
        if np.isnan(found).any():
            row, pixel = (int(index[0]) for index in np.nonzero(np.isnan(found)))
            msg = (
                f"{self.store.path}: the transform made NaN of row {rows[row]}, pixel "
                f"{self._pixels.start + pixel}; it must give a number for every flux, NaN too"
            )
            raise OptionError(msg)
        return found

    def _chosen_rows(self) -> npt.NDArray[np.int64]:
        rows = np.arange(len(self.store))[self.store.rows_of(self.split)]
        return self._with_labels(rows, self.missing) if self.label_names else rows

    def _checked_labels(self, labels: Sequence[str] | None) -> tuple[str, ...]:
        if labels is None or not self.store.labels:
            return ()
        names = (labels,) if isinstance(labels, str) else tuple(labels)
        for name in names:
            if name not in self.store.labels:
                msg = (
                    f"{self.store.path}: no label {name!r}; the store has "
                    f"{', '.join(self.store.labels)}: choose among them (labels=, --labels)"
                )
                raise LabelError(msg)
        return names

    def _labels_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        columns = [self.store.labels[name][rows] for name in self.label_names]
        return np.stack(columns, axis=-1) if columns else np.empty((len(rows), 0))

    def _with_labels(self, rows: npt.NDArray[np.int64], missing: str) -> npt.NDArray[np.int64]:
        lacking = ~np.isfinite(self._labels_of(rows))
        if not lacking.any():
            return rows
        if missing == "drop":
            return rows[~lacking.any(axis=1)]
        row, label = (int(index[0]) for index in np.nonzero(lacking))
        msg = (
            f"{self.store.path}: {int(lacking.any(axis=1).sum())} rows of {self.split!r} lack a "
            f"label, the first is row {rows[row]} (star {self.store.ids[rows[row]]}), "
            f"{self.label_names[label]!r}; leave them out with missing='drop' (--missing drop)"
        )
        raise LabelError(msg)

    def _fitted(self, score: ZScore | None) -> ZScore | None:
        if not self.label_names or score is None or score.is_fitted:
            return score
        rows = np.arange(len(self.store))[self.store.rows_of(score.fit_on)]
        labels = self._labels_of(rows)
        return score.fitted(labels[np.isfinite(labels).all(axis=1)], self.label_names)
