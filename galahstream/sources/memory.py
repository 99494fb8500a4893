"""Spectra and labels in arrays in memory, or in what NumPy takes for an array."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError, SourceShapeError
from galahstream.sources.arrays import (
    ID_NAMES,
    ArraySource,
    check_flux_shape,
    check_label_shape,
    checked_ids,
    choose_by_position,
    holds_large_integers,
)
from galahstream.sources.base import as_float32
from galahstream.survey.labels import LabelChoice, LabelColumnChoice, chosen_labels
from galahstream.survey.units import is_relative, stated_unit
from galahstream.system.digest import array_digest, text_digest

_DIGEST_BYTES = 8 * 1024 * 1024


class MemorySource(ArraySource):
    """Spectra in an array (N, L), and labels in an array (N, K) or a mapping of columns.

    The arrays are not copied, so that a memory-mapped one is read block by block;
    leave them unchanged while they are converted.

    Parameters
    ----------
    flux : array_like, shape (N, L)
        Of any dtype and byte order that float32 can hold: an ndarray, a memmap, a
        tensor on the CPU, nested lists.
    labels : array_like, shape (N, K), or mapping of str to array_like, shape (N,); optional
        In a mapping, ``ids`` or ``sobject_id`` are the star ids, as in an HDF5 file, and a
        column may be an astropy ``Quantity``, whose unit is kept.
    choice : label choice
        Names of the columns of an array in their order, or mapped to numbers from 0;
        None for the eight of the published set. Of a mapping, the labels to take;
        None for all but those that hold integers beyond 2**53.

    Raises
    ------
    SourceShapeError, LabelError
        If the arrays do not fit each other, do not hold numbers, or have a unit.
    """

    def __init__(self, flux: object, labels: object = None, choice: LabelChoice = None) -> None:
        unit = stated_unit(flux)
        if unit is not None and not is_relative(unit):
            msg = (
                f"flux array: its unit is {unit!r}; expected flux relative to a continuum of 1: "
                f"divide it by the continuum, or give plain numbers"
            )
            raise SourceShapeError(msg)
        self._flux = _plain_array(flux, "flux array")
        shape, name = self._flux.shape, "flux array"
        check_flux_shape(shape, self._flux.dtype, name)
        filename = flux.filename if isinstance(flux, np.memmap) else None
        self._files = () if filename is None else (Path(filename).absolute(),)
        self._columns: dict[str, npt.NDArray[Any]] = {}
        ids: npt.NDArray[np.int64] | None = None
        choices: tuple[LabelColumnChoice, ...] = ()
        if isinstance(labels, Mapping):
            self._columns = _mapped_columns(labels, shape[0])
            units = {str(key): unit for key in labels if (unit := stated_unit(labels[key]))}
            choices = _choose_by_name(choice, self._columns, units)
            id_name = next((key for key in ID_NAMES if key in self._columns), None)
            if id_name is not None:
                ids = checked_ids(self._columns[id_name], shape[0], f"labels, column {id_name!r}")
        elif labels is not None:
            if stated_unit(labels) is not None:
                msg = (
                    f"labels array: its unit is {stated_unit(labels)!r}, and each column has its "
                    f"own; give a mapping of columns, or plain numbers"
                )
                raise LabelError(msg)
            table = _plain_array(labels, "labels array")
            check_label_shape(table.shape, table.dtype, shape[0], "labels array")
            choices = choose_by_position(choice, table.shape[1], "labels array")
            self._columns = {str(number): column for number, column in enumerate(table.T)}
        elif choice is not None:
            msg = "labels were named and there are only spectra; give both, as in (flux, labels)"
            raise LabelError(msg)
        super().__init__(name, shape, choices, ids)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file of a memory-mapped array; empty for others."""
        return self._files

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the spectra as float32: an array has no file whose date tells of changes."""
        block_rows = max(_DIGEST_BYTES // (4 * self.n_pixels), 1)
        return text_digest("".join(map(array_digest, self.iter_blocks(block_rows))))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of a mapping; numbers as text for those of an array."""
        return tuple(self._columns)

    def read_raw_column(self, column: str) -> npt.NDArray[Any]:
        """Return a column in its own dtype, shape (N,)."""
        return self._columns[column]

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux in order; only a block of it is converted at a time."""
        for start in range(first_row, len(self), block_rows):
            yield as_float32(self._flux[start : start + block_rows], self.name, start)


def _plain_array(values: object, name: str) -> npt.NDArray[Any]:
    """Return an ndarray without copying one; raise `SourceShapeError` if there is none."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        msg = f"{name}: some values are masked; fill them first, as in array.filled(numpy.nan)"
        raise SourceShapeError(msg)
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # a ragged list, a tensor on a GPU
        msg = (
            f"{name}: NumPy cannot read a {type(values).__name__} as an array ({error}); give an "
            f"array of numbers, of a tensor tensor.detach().cpu().numpy()"
        )
        raise SourceShapeError(msg) from error


def _mapped_columns(labels: Mapping[Any, object], rows: int) -> dict[str, npt.NDArray[Any]]:
    columns = {str(name): _plain_array(values, f"labels, column {name!r}")
               for name, values in labels.items()}  # fmt: skip
    for name, column in columns.items():
        if column.shape != (rows,):
            msg = (
                f"labels, column {name!r}: shape {column.shape}; expected one value for each of "
                f"the {rows} spectra, shape ({rows},)"
            )
            raise SourceShapeError(msg)
    return columns


def _choose_by_name(
    choice: LabelChoice, columns: Mapping[str, npt.NDArray[Any]], units: Mapping[str, str]
) -> tuple[LabelColumnChoice, ...]:
    usable = [name for name in columns if name not in ID_NAMES]
    defaults = [name for name in usable if not holds_large_integers(columns[name])]
    choices = chosen_labels(choice, defaults, units)
    for chosen in choices:
        if chosen.column not in usable:
            msg = (
                f"labels: no column {chosen.column!r}; the mapping has "
                f"{', '.join(usable) or 'none'}: choose among them (labels=)"
            )
            raise LabelError(msg)
        if columns[chosen.column].dtype.kind not in "fiu":
            msg = (
                f"labels, column {chosen.column!r}: {columns[chosen.column].dtype} cannot be a "
                f"label, which is a real number; choose other columns (labels=)"
            )
            raise LabelError(msg)
    return choices
