"""Spectra in arrays: the .npy pair of the published set, and HDF5 with named datasets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from galahstream.errors import GalahStreamError, LabelError, SourceFormatError, SourceShapeError
from galahstream.sources.base import Source, as_float32
from galahstream.sources.npy_file import NpyFile, check_flux_shape, check_label_shape
from galahstream.survey.labels import KNOWN_LABELS, LabelChoice, LabelColumnChoice, chosen_labels
from galahstream.system.hdf5_safety import rejection_reason

_FLUX_NAMES = ("spectra", "flux")
_ID_NAMES = ("ids", "sobject_id")


class _ArraySource(Source):
    """What both kinds share once flux, labels, ids and wavelength were found."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self._name = name
        self._shape = shape
        self._wavelength: npt.NDArray[np.float64] | None = None
        self._ids: npt.NDArray[np.int64] = np.arange(shape[0], dtype=np.int64)
        self._choices: tuple[LabelColumnChoice, ...] = ()

    def __len__(self) -> int:
        return self._shape[0]

    @property
    def name(self) -> str:
        """The path of the spectra."""
        return self._name

    @property
    def n_pixels(self) -> int:
        """Number of pixels of each spectrum, L."""
        return self._shape[1]

    @property
    def wavelength(self) -> npt.NDArray[np.float64] | None:
        """Wavelengths in Å, shape (L,), if the source has a grid."""
        return self._wavelength

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Star ids, shape (N,), int64; row numbers if the source has no ids."""
        return self._ids

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the label columns."""
        return tuple(choice.name for choice in self._choices)

    @property
    def label_units(self) -> tuple[str, ...]:
        """Units of the label columns."""
        return tuple(choice.unit for choice in self._choices)

    def _take_ids(self, ids: npt.NDArray[Any], name: str) -> None:
        if ids.shape != (len(self),) or ids.dtype.kind not in "iu":
            msg = (
                f"{name}: ids of dtype {ids.dtype} and shape {ids.shape}; expected one whole "
                f"number for each of the {len(self)} spectra"
            )
            raise SourceShapeError(msg)
        if ids.dtype.kind == "u" and ids.size and ids.max() > np.iinfo(np.int64).max:
            msg = f"{name}: id {ids.max()} does not fit a signed 64-bit number"
            raise SourceShapeError(msg)
        self._ids = ids.astype(np.int64)


class NpyPairSource(_ArraySource):
    """`spectra.npy` (N, L) and `labels.npy` (N, K), with `ids.npy` and `wavelength.npy` if there.

    Parameters
    ----------
    spectra : Path
        The spectra.
    labels : Path or None
        The labels; None for spectra without any.
    choice : label choice
        Columns by position or number; None for the eight of the published set.
    """

    def __init__(self, spectra: Path, labels: Path | None, choice: LabelChoice = None) -> None:
        self.flux_file = NpyFile(spectra)
        check_flux_shape(self.flux_file.shape, self.flux_file.dtype, str(spectra))
        super().__init__(str(spectra), self.flux_file.shape)
        self._labels: NpyFile | None = None
        if labels is not None:
            self._labels = NpyFile(labels)
            check_label_shape(self._labels.shape, self._labels.dtype, len(self), str(labels))
            self._choices = _by_position(choice, self._labels.shape[1], labels)
        elif choice is not None:
            msg = f"{spectra}: labels were asked for and there is no labels.npy beside the spectra"
            raise LabelError(msg)
        ids, wavelength = (spectra.parent / name for name in ("ids.npy", "wavelength.npy"))
        if ids.exists():
            self._take_ids(NpyFile(ids).mapped(), str(ids))
        if wavelength.exists():
            self._wavelength = NpyFile(wavelength).mapped()

    def read_labels(self) -> npt.NDArray[np.float64]:
        """Return the chosen columns, shape (N, K)."""
        if self._labels is None:
            return np.empty((len(self), 0))
        columns = [int(choice.column) for choice in self._choices]
        return self._labels.mapped()[:, columns].astype(np.float64)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file of the spectra."""
        return (self.flux_file.path,)

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux in order."""
        return self.flux_file.iter_blocks(block_rows, first_row)


class Hdf5Source(_ArraySource):
    """An HDF5 file with named datasets.

    Spectra are the dataset ``spectra`` or ``flux``, or the only two-dimensional
    one besides ``labels``; labels are the columns of a dataset ``labels`` (named
    by its attribute ``columns``, or the known eight), or else every
    one-dimensional dataset of numbers with one value a star.
    """

    def __init__(self, path: Path, choice: LabelChoice = None) -> None:
        self._path = path
        try:
            with h5py.File(path, "r") as file:
                self._prepare(file, choice)
        except GalahStreamError:
            raise
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
            msg = f"{path}: HDF5 cannot read this file ({error}); it is truncated or damaged"
            raise SourceFormatError(msg) from error

    def read_labels(self) -> npt.NDArray[np.float64]:
        """Return the chosen columns, shape (N, K)."""
        labels = np.empty((len(self), len(self._choices)))
        with h5py.File(self._path, "r") as file:
            for number, choice in enumerate(self._choices):
                try:
                    if self._label_columns is None:
                        labels[:, number] = file[choice.column][:]
                    else:
                        column = self._label_columns.index(choice.column)
                        labels[:, number] = file["labels"][:, column]
                except (OSError, RuntimeError) as error:
                    msg = f"{self._path}: label {choice.column!r} cannot be read ({error}); "
                    raise SourceFormatError(msg + "the file is truncated or damaged") from error
        return labels

    @property
    def files(self) -> tuple[Path, ...]:
        """The HDF5 file."""
        return (self._path,)

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux in order."""
        with h5py.File(self._path, "r") as file:
            dataset = file[self._flux_name]
            if dataset.chunks:  # whole chunks, so that none is decompressed twice
                block_rows = max(block_rows // dataset.chunks[0], 1) * dataset.chunks[0]
            for start in range(first_row, len(self), block_rows):
                try:
                    block = dataset[start : start + block_rows]
                except (OSError, RuntimeError) as error:
                    msg = f"{self._path}: rows from {start} on cannot be read ({error}); "
                    raise SourceFormatError(msg + "the file is truncated or damaged") from error
                yield as_float32(block, str(self._path), start)

    def _prepare(self, file: h5py.File, choice: LabelChoice) -> None:
        datasets = {name: file[name] for name in file if self._is_dataset(file, name)}
        self._flux_name = _flux_name(datasets, self._path)
        flux = datasets[self._flux_name]
        name = f"{self._path}, dataset {self._flux_name!r}"
        check_flux_shape(flux.shape, flux.dtype, name)
        super().__init__(str(self._path), flux.shape)
        id_name = next((name for name in _ID_NAMES if name in datasets), None)
        if id_name is not None:
            self._take_ids(datasets[id_name][:], f"{self._path}, dataset {id_name!r}")
        if "wavelength" in datasets:
            self._wavelength = datasets["wavelength"][:]
        self._label_columns: tuple[str, ...] | None = None
        if "labels" in datasets:
            self._label_columns = self._columns_of(datasets["labels"], choice)
            columns = self._label_columns
        else:
            columns = tuple(
                name
                for name, item in datasets.items()
                if item.shape == (len(self),)
                and item.dtype.kind in "fiu"
                and name not in (*_ID_NAMES, "wavelength")
            )
        self._choices = chosen_labels(choice, columns)
        for chosen in self._choices:
            if chosen.column not in columns:
                msg = (
                    f"{self._path}: no label {chosen.column!r}; the file has "
                    f"{', '.join(columns) or 'none'}: map names with --labels name=column"
                )
                raise LabelError(msg)

    def _is_dataset(self, file: h5py.File, name: str) -> bool:
        why = rejection_reason(file, name, self._path)
        if why is not None:
            msg = (
                f"{self._path}: {name!r} {why}; write the values themselves into one file, "
                f"uncompressed or with gzip"
            )
            raise SourceFormatError(msg)
        return isinstance(file[name], h5py.Dataset)

    def _columns_of(self, labels: h5py.Dataset, choice: LabelChoice) -> tuple[str, ...]:
        name = f"{self._path}, dataset 'labels'"
        check_label_shape(labels.shape, labels.dtype, len(self), name)
        named = labels.attrs.get("columns")
        if named is not None and len(named) == labels.shape[1]:
            return tuple(x.decode() if isinstance(x, bytes) else str(x) for x in named)
        positions = _by_position(choice, labels.shape[1], name)
        if choice is None:
            return tuple(chosen.name for chosen in positions)
        columns = [str(number) for number in range(labels.shape[1])]
        for chosen, given in zip(positions, chosen_labels(choice, ()), strict=True):
            columns[int(chosen.column)] = given.column
        return tuple(columns)


def _by_position(
    choice: LabelChoice, n_columns: int, name: str | Path
) -> tuple[LabelColumnChoice, ...]:
    """Return choices whose columns are numbers, for labels whose columns have no names."""
    if choice is None:
        if n_columns != len(KNOWN_LABELS):
            msg = (
                f"{name}: {n_columns} label columns, and the published set has "
                f"{len(KNOWN_LABELS)} ({', '.join(KNOWN_LABELS)}); name yours in their "
                f"order, as in --labels teff,logg,feh"
            )
            raise LabelError(msg)
        choice = list(KNOWN_LABELS)
    choices = chosen_labels(choice, ())
    known = list(KNOWN_LABELS) if n_columns == len(KNOWN_LABELS) else []
    by_name = [choice.column == choice.name for choice in choices]
    if all(by_name) and len(choices) == n_columns:
        return tuple(
            LabelColumnChoice(choice.name, choice.unit, str(number))
            for number, choice in enumerate(choices)
        )
    return tuple(
        LabelColumnChoice(choice.name, choice.unit, _column_number(choice, n_columns, known, name))
        for choice in choices
    )


def _column_number(
    choice: LabelColumnChoice, n_columns: int, known: list[str], name: str | Path
) -> str:
    if choice.column in known:
        return str(known.index(choice.column))
    if choice.column.isdigit() and int(choice.column) < n_columns:
        return choice.column
    msg = (
        f"{name}: no label column {choice.column!r} among {n_columns} columns; name all "
        f"{n_columns} in their order, or map names to numbers from 0, as in teff=0,logg=1"
    )
    raise LabelError(msg)


def _flux_name(datasets: dict[str, h5py.Dataset], path: Path) -> str:
    for name in _FLUX_NAMES:
        if name in datasets:
            return name
    tables = [name for name, item in datasets.items() if item.ndim == 2 and name != "labels"]
    if len(tables) != 1:
        msg = (
            f"{path}: no dataset named {' or '.join(_FLUX_NAMES)} among "
            f"{', '.join(datasets) or 'no datasets at all'}; rename the one with the spectra"
        )
        raise SourceShapeError(msg)
    return tables[0]
