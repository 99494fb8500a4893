"""Items of a `Subset` or a `ConcatDataset` of datasets, read as directly as those of one."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import ConcatDataset, Subset

from galahstream.errors import OptionError
from galahstream.stream.augmentation import Augmentation
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.draws import EpochDraws
from galahstream.stream.items import Indices, ItemsIdentity, SpectraItems, valid_indices
from galahstream.stream.transforms import FluxTransform, ZScore
from galahstream.system.digest import array_digest
from galahstream.validation import shown

Selectable: TypeAlias = SpectraDataset | Subset[Any] | ConcatDataset[Any]
"""What a loader reads: a dataset, or torch's selections from datasets, nested in any way."""

_Array: TypeAlias = npt.NDArray[np.int64]


def select_items(dataset: Selectable) -> SpectraItems:
    """Return the items of a dataset, or of a `Subset` or `ConcatDataset` of datasets.

    The indices of each `Subset` are copied: later changes of them have no effect.

    Raises
    ------
    OptionError
        For any other dataset, and for datasets that prepare spectra or labels differently.
    IndexError, TypeError
        If an index of a `Subset` is outside its dataset, or not an integer.
    """
    datasets: list[SpectraDataset] = []
    items = _find_items(dataset, datasets)
    return dataset if isinstance(dataset, SpectraDataset) else SpectraSelection(datasets, items)


class SpectraSelection:
    """Some items of one or several datasets, in any order.

    Each dataset reads its items of a batch with its own kernel, directly into the
    memory of the batch.

    Parameters
    ----------
    datasets : sequence of SpectraDataset
        At least one; all with the same pixels, labels and transforms.
    items : ndarray, shape (n,), int64
        The items, as positions in the datasets laid end to end.

    Raises
    ------
    OptionError
        If two datasets prepare spectra or labels differently; both are named.
    """

    def __init__(self, datasets: Sequence[SpectraDataset], items: _Array) -> None:
        self.datasets = tuple(datasets)
        self._items = items
        self._stops = np.cumsum([len(dataset) for dataset in datasets])
        for other in self.datasets[1:]:
            _check_alike(self.datasets[0], other)

    def __len__(self) -> int:
        return len(self._items)

    def __getstate__(self) -> dict[str, Any]:
        remade = ("_ids", "_scaled_labels")
        return {name: value for name, value in vars(self).items() if name not in remade}

    @property
    def n_pixels(self) -> int:
        """Pixels per item."""
        return self.datasets[0].n_pixels

    @property
    def transform(self) -> FluxTransform:
        """The transform of the flux, the same for all datasets."""
        return self.datasets[0].transform

    @property
    def target_transform(self) -> ZScore | None:
        """The transform of the labels, the same for all datasets."""
        return self.datasets[0].target_transform

    @property
    def return_error(self) -> bool:
        """Whether errors come with the flux, the same for all datasets."""
        return self.datasets[0].return_error

    @property
    def stored_row_bytes(self) -> int:
        """Bytes of a complete spectrum in the store with the longest rows."""
        return max(dataset.stored_row_bytes for dataset in self.datasets)

    @cached_property
    def identity(self) -> ItemsIdentity:
        """Stores, splits and chosen rows, for positions that are saved."""
        rows = np.concatenate([dataset.rows for dataset in self.datasets])[self._items]
        fingerprints = [dataset.store.fingerprint for dataset in self.datasets]
        stores = list(dict.fromkeys(fingerprints))
        splits = list(dict.fromkeys(dataset.split for dataset in self.datasets))
        if len(stores) == len(splits) == 1:
            return ItemsIdentity.of_rows(self.datasets[0].store, splits[0], rows)
        # Datasets of one store count as one: it does not matter which of them a row is from.
        store_numbers = np.array([stores.index(fingerprint) for fingerprint in fingerprints])
        numbers = store_numbers[self._numbers(self._items)]
        return ItemsIdentity(
            store="+".join(stores),
            split="+".join(splits),
            selection=array_digest(np.stack((numbers, rows))),
        )

    def in_stored_order(self) -> "SpectraSelection":
        """Return the same items, dataset after dataset, in the order of their rows."""
        return SpectraSelection(self.datasets, np.sort(self._items))

    def check_augmentation(self, augmentation: Augmentation) -> None:
        """Raise an error if the spectra of a dataset cannot be augmented."""
        for dataset in self.datasets:
            dataset.check_augmentation(augmentation)

    def read_batch(
        self, indices: Indices, *out: npt.NDArray[np.float32], draws: EpochDraws | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Return items as one tensor per quantity; see :class:`SpectraDataset`."""
        valid = valid_indices(indices, len(self))
        self.prefetch(valid)
        return self.read_valid_batch(valid, *out, draws=draws)

    def read_valid_batch(
        self, indices: _Array, *out: npt.NDArray[np.float32], draws: EpochDraws | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Do what :meth:`read_batch` does, without checking and prefetching."""
        items = self._items[indices]
        first = self.datasets[0]
        if len(self.datasets) == 1:
            return first.read_valid_batch(items, *out, draws=draws)
        spectra = out or first.new_spectra(len(items))
        for dataset, own_items, positions in self._by_dataset(items):
            dataset.read_spectra_into(own_items, spectra, positions, draws)
        tensors = [torch.from_numpy(array) for array in spectra]
        if first.label_names:
            tensors += [torch.from_numpy(array[items]) for array in self._scaled_labels]
        if first.return_ids:
            tensors.append(torch.from_numpy(self._ids[items]))
        return tuple(tensors)

    def prefetch(self, indices: _Array) -> None:
        """Request the spectra of items from the disk."""
        for dataset, own_items, _ in self._by_dataset(self._items[indices]):
            dataset.prefetch(own_items)

    def release_pages(self) -> None:
        """Return the memory of mapped flux to the system; does nothing if none is mapped."""
        for dataset in self.datasets:
            dataset.release_pages()

    @cached_property
    def _scaled_labels(self) -> tuple[npt.NDArray[np.float32], ...]:
        """Scaled labels, and their errors if any, of all datasets, laid end to end."""
        columns = zip(*(dataset.scaled_labels for dataset in self.datasets), strict=True)
        return tuple(np.concatenate(arrays) for arrays in columns)

    @cached_property
    def _ids(self) -> _Array:
        """Star ids of all datasets, laid end to end."""
        return np.concatenate([dataset.ids for dataset in self.datasets])

    def _numbers(self, items: _Array) -> _Array:
        """Return the number of the dataset of each item."""
        return np.searchsorted(self._stops, items, side="right")

    def _by_dataset(self, items: _Array) -> Iterator[tuple[SpectraDataset, _Array, _Array]]:
        """Yield each dataset that has some of the items, its own indices of them, and which."""
        numbers = self._numbers(items)
        for number in np.flatnonzero(np.bincount(numbers)):
            dataset = self.datasets[number]
            positions = np.flatnonzero(numbers == number)
            yield dataset, items[positions] - (self._stops[number] - len(dataset)), positions


def _find_items(dataset: object, found: list[SpectraDataset]) -> _Array:
    """Return items as positions in the datasets `found`, to which new ones are added."""
    if isinstance(dataset, SpectraDataset):
        _check_reads_itself(dataset, SpectraDataset)
        if dataset not in found:
            found.append(dataset)
        start = sum(len(one) for one in found[: found.index(dataset)])
        return np.arange(start, start + len(dataset))
    if isinstance(dataset, Subset):
        _check_reads_itself(dataset, Subset)
        items = _find_items(dataset.dataset, found)
        return items[valid_indices(dataset.indices, len(items))]
    if isinstance(dataset, ConcatDataset):
        _check_reads_itself(dataset, ConcatDataset)
        return np.concatenate([_find_items(part, found) for part in dataset.datasets])
    msg = (
        f"a {type(dataset).__name__} cannot be read by SpectraLoader; expected a SpectraDataset, "
        f"or a Subset or ConcatDataset (torch.utils.data) of them: use torch's DataLoader for "
        f"other datasets"
    )
    raise OptionError(msg)


def _check_reads_itself(dataset: object, base: type) -> None:
    """Raise an error for a subclass with items of its own, which the loader would never see."""
    for name in ("__getitem__", "__getitems__", "__len__"):
        if getattr(type(dataset), name, None) is not getattr(base, name, None):
            msg = (
                f"{type(dataset).__name__} overrides {name} of {base.__name__}, which "
                f"SpectraLoader does not call, since it reads complete batches; change the "
                f"spectra with transform= of the dataset, or use torch's DataLoader"
            )
            raise OptionError(msg)


def _check_alike(first: SpectraDataset, other: SpectraDataset) -> None:
    """Raise an error that names both datasets if their items cannot be in one batch."""
    names = f"{other.store.path} ({other.split!r}) and {first.store.path} ({first.split!r})"
    differences: tuple[tuple[str, object, object, str], ...] = (
        ("pixels", first.n_pixels, other.n_pixels, "choose a window that both have (window=)"),
        ("labels", first.label_names, other.label_names, "choose the same in one order (labels=)"),
        ("label units", first.label_units, other.label_units, "convert both to the same units"),
        ("transform", first.transform, other.transform, "give both the same one (transform=)"),
        (
            "scaling of labels", str(first.target_transform), str(other.target_transform),
            "give both the target_transform of one of them",
        ),
        ("return_ids", first.return_ids, other.return_ids, "choose one for both"),
        ("return_error", first.return_error, other.return_error, "choose one for both"),
        (
            "return_label_errors", first.return_label_errors, other.return_label_errors,
            "choose one for both",
        ),
    )  # fmt: skip
    for what, ours, theirs, advice in differences:
        if ours != theirs:
            msg = (
                f"{names} cannot be read together: their {what} differ, {shown(theirs)} and "
                f"{shown(ours)}; {advice}"
            )
            raise OptionError(msg)
    is_known = np.isfinite(first.wavelength).all()
    if not is_known and not np.array_equal(first.pixels, other.pixels):
        msg = (
            f"{names} cannot be read together: their windows differ, {shown(other.window)} and "
            f"{shown(first.window)}; give both the same one (window=)"
        )
        raise OptionError(msg)
    if not np.array_equal(first.wavelength, other.wavelength, equal_nan=True):
        msg = (
            f"{names} cannot be read together: their wavelengths differ; resample the spectra to a "
            f"common grid before they are converted"
        )
        raise OptionError(msg)
