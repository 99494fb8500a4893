"""What workers and loaders need of a dataset: items that are read together, in any order."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from galahstream.store import SpectraStore
from galahstream.stream.augmentation import Augmentation
from galahstream.stream.draws import EpochDraws
from galahstream.stream.transforms import FluxTransform, ZScore
from galahstream.system.digest import array_digest

Item: TypeAlias = torch.Tensor | tuple[torch.Tensor, ...]
Indices: TypeAlias = Sequence[int] | npt.NDArray[np.integer[Any]]


class BatchItems(list[Item]):
    """The items of a batch, which are views of `tensors`."""

    def __init__(self, tensors: tuple[torch.Tensor, ...]) -> None:
        items: list[Any] = list(zip(*tensors, strict=True)) if len(tensors) > 1 else [*tensors[0]]
        super().__init__(items)
        self.tensors = tensors


class ItemsIdentity(NamedTuple):
    """Which stars a dataset holds, in which order, for positions that are saved.

    Attributes
    ----------
    store : str
        Fingerprint of the store, or of all stores, joined by ``+``.
    split : str
        Split, or all splits, joined by ``+``.
    selection : str or None
        Digest of the chosen rows in their order; None for a complete split as it is stored.
    """

    store: str
    split: str
    selection: str | None

    @classmethod
    def of_rows(
        cls, store: SpectraStore, split: str, rows: npt.NDArray[np.int64]
    ) -> "ItemsIdentity":
        """Return the identity of rows of a split, shape (n,), in the order of the items."""
        complete_split = np.arange(len(store))[store.rows_of(split)]
        digest = None if np.array_equal(rows, complete_split) else array_digest(rows)
        return cls(store.fingerprint, split, digest)


class SpectraItems(Protocol):
    """Items of one dataset or of several, which a loader reads."""

    @property
    def n_pixels(self) -> int:
        """Pixels per item."""

    @property
    def transform(self) -> FluxTransform:
        """The transform of the flux."""

    @property
    def target_transform(self) -> ZScore | None:
        """The transform of the labels."""

    @property
    def return_error(self) -> bool:
        """Whether the error of each pixel comes with the flux."""

    @property
    def stored_row_bytes(self) -> int:
        """Bytes of a complete spectrum as it is stored."""

    @property
    def identity(self) -> ItemsIdentity:
        """Which stars the items are."""

    def __len__(self) -> int:
        """Return the number of items."""

    def in_stored_order(self) -> "SpectraItems":
        """Return the same items in the order in which they are stored."""

    def check_augmentation(self, augmentation: Augmentation) -> None:
        """Raise an error if the items cannot be augmented."""

    def read_batch(
        self, indices: Indices, *out: npt.NDArray[np.float32], draws: EpochDraws | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Return items as one tensor per quantity, after checking the indices."""

    def read_valid_batch(
        self,
        indices: npt.NDArray[np.int64],
        *out: npt.NDArray[np.float32],
        draws: EpochDraws | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Do what :meth:`read_batch` does, without checking and prefetching."""

    def prefetch(self, indices: npt.NDArray[np.int64]) -> None:
        """Request the spectra of items from the disk."""

    def release_pages(self) -> None:
        """Return the memory of mapped flux to the system, if there is any."""


def valid_indices(indices: object, n_items: int) -> npt.NDArray[np.int64]:
    """Return indices of items as int64, those from the end still negative.

    Parameters
    ----------
    indices : int or sequence of int
    n_items : int
        Number of items of the dataset.

    Returns
    -------
    ndarray of int64
        Shape () for one integer, else (n,).

    Raises
    ------
    TypeError
        If they are not integers.
    IndexError
        If one is outside the dataset.
    """
    array = np.asarray(indices)
    if array.size == 0 and array.ndim == 1:
        return array.astype(np.int64)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        msg = f"items are selected by integers or slices, not by {indices!r:.60}"
        raise TypeError(msg)
    outside = (array < -n_items) | (array >= n_items)
    if outside.any():
        msg = f"item {array[outside][0]} of a dataset of {n_items} items"
        raise IndexError(msg)
    return array.astype(np.int64, copy=False)
