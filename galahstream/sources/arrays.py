"""Parts that sources with spectra in one array share: checks of shapes, label columns and ids."""

from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError, SourceShapeError
from galahstream.sources.base import Source, unknown_column
from galahstream.survey.labels import KNOWN_LABELS, LabelChoice, LabelColumnChoice, chosen_labels

ID_NAMES = ("ids", "sobject_id")
"""Names of the column of star ids, the first that is there."""

_MAX_EXACT_INTEGER = 2**53  # beyond it float64 does not hold every integer
_FLUX_ITEM_BYTES = {"f": (2, 4, 8), "i": (1, 2, 4), "u": (1, 2, 4)}


class ArraySource(Source):
    """A source with spectra in one array of shape (N, L), and columns beside it.

    Parameters
    ----------
    name : str
        What messages call the source.
    shape : (int, int)
        N and L.
    choices : tuple of LabelColumnChoice
        The label columns.
    ids : ndarray, shape (N,), int64, optional
        Star ids; row numbers if the source has none.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        choices: tuple[LabelColumnChoice, ...],
        ids: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self._name = name
        self._n_stars, self._n_pixels = shape
        self._choices = choices
        self._ids = np.arange(self._n_stars, dtype=np.int64) if ids is None else ids

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Names of all columns of numbers, labels or not, as the file calls them."""

    @abstractmethod
    def read_raw_column(self, column: str) -> npt.NDArray[Any]:
        """Return one of :attr:`columns`, shape (N,), in its own dtype."""

    def __len__(self) -> int:
        return self._n_stars

    @property
    def name(self) -> str:
        """The path of the spectra."""
        return self._name

    @property
    def n_pixels(self) -> int:
        """Number of pixels of each spectrum, L."""
        return self._n_pixels

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the chosen label columns."""
        return tuple(choice.name for choice in self._choices)

    @property
    def label_units(self) -> tuple[str, ...]:
        """Units of the chosen label columns."""
        return tuple(choice.unit for choice in self._choices)

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Star ids, shape (N,), int64; row numbers if the source has no ids."""
        return self._ids

    def read_labels(self) -> npt.NDArray[np.float64]:
        """Return the chosen columns, shape (N, K), float64.

        Raises
        ------
        LabelError
            If a column holds integers that float64 cannot hold exactly.
        """
        labels = np.empty((len(self), len(self._choices)))
        for index, choice in enumerate(self._choices):
            values = self.read_raw_column(choice.column)
            if holds_large_integers(values):
                msg = (
                    f"{self.name}: column {choice.column!r} holds integers beyond 2**53, and "
                    f"labels are float64, which cannot hold them exactly; do not choose it as a "
                    f"label: rows can be grouped by it all the same (groups={choice.column!r})"
                )
                raise LabelError(msg)
            labels[:, index] = values
        return labels

    def read_column(self, name: str) -> npt.NDArray[Any]:
        """Return a label, another column of the file or ``"ids"`` in its own dtype, shape (N,)."""
        if name == "ids":
            return self.ids
        column = next((choice.column for choice in self._choices if choice.name == name), name)
        if column not in self.columns:
            raise unknown_column(self.name, name, dict.fromkeys(self.label_names + self.columns))
        return self.read_raw_column(column)


def holds_large_integers(values: npt.NDArray[Any]) -> bool:
    """Return whether an array holds integers that float64 does not hold exactly, such as ids."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8 or values.size == 0:
        return False
    return bool(values.max() > _MAX_EXACT_INTEGER or values.min() < -_MAX_EXACT_INTEGER)


def check_flux_shape(shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> None:
    """Raise `SourceShapeError` if an array cannot hold spectra."""
    if len(shape) != 2 or 0 in shape:
        msg = (
            f"{name}: an array of shape {shape}; spectra need shape (stars, pixels), none of them 0"
        )
        raise SourceShapeError(msg)
    if dtype.itemsize not in _FLUX_ITEM_BYTES.get(dtype.kind, ()):
        msg = (
            f"{name}: flux of dtype {dtype}; expected float16, float32, float64 or integers of up "
            f"to 32 bits: make it float32"
        )
        raise SourceShapeError(msg)


def check_label_shape(shape: tuple[int, ...], dtype: np.dtype[Any], rows: int, name: str) -> None:
    """Raise `SourceShapeError` if an array cannot hold the labels of `rows` stars."""
    if len(shape) != 2 or dtype.kind not in "fiu":
        msg = f"{name}: {dtype} of shape {shape}; labels need numbers of shape (stars, columns)"
        raise SourceShapeError(msg)
    if shape[0] != rows:
        msg = (
            f"{name} has {shape[0]} rows and the spectra have {rows}; each star needs one row in "
            f"both, in the same order"
        )
        raise SourceShapeError(msg)


def checked_ids(ids: npt.NDArray[Any], rows: int, name: str) -> npt.NDArray[np.int64]:
    """Return star ids as int64.

    Raises
    ------
    SourceShapeError
        If they are not one integer for each of `rows` stars, or do not fit int64.
    """
    if ids.shape != (rows,) or ids.dtype.kind not in "iu":
        msg = (
            f"{name}: ids of dtype {ids.dtype} and shape {ids.shape}; expected one integer for "
            f"each of the {rows} spectra"
        )
        raise SourceShapeError(msg)
    if ids.dtype.kind == "u" and ids.size and ids.max() > np.iinfo(np.int64).max:
        msg = f"{name}: id {ids.max()} does not fit into a signed 64-bit integer"
        raise SourceShapeError(msg)
    return ids.astype(np.int64)


def choose_by_position(
    choice: LabelChoice, n_columns: int, name: str
) -> tuple[LabelColumnChoice, ...]:
    """Return the chosen label columns of an array whose columns have no names.

    Parameters
    ----------
    choice : label choice
        All columns in their order, or names mapped to columns: to their number
        from 0, or to their name where they are the eight of the published set.
        None stands for those eight.
    n_columns : int
        Number of columns of the array.
    name : str
        What messages call the array.

    Returns
    -------
    tuple of LabelColumnChoice
        With the number of the column, as text, in `column`.

    Raises
    ------
    LabelError
        If the choice does not fit the array.
    """
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
    if len(choices) == n_columns and all(choice.column == choice.name for choice in choices):
        numbers = [str(number) for number in range(n_columns)]
    else:
        known = list(KNOWN_LABELS) if n_columns == len(KNOWN_LABELS) else []
        numbers = [_column_number(choice, n_columns, known, name) for choice in choices]
    return tuple(
        LabelColumnChoice(choice.name, choice.unit, number)
        for choice, number in zip(choices, numbers, strict=True)
    )


def _column_number(choice: LabelColumnChoice, n_columns: int, known: list[str], name: str) -> str:
    if choice.column in known:
        return str(known.index(choice.column))
    if choice.column.isdecimal() and int(choice.column) < n_columns:
        return str(int(choice.column))
    msg = (
        f"{name}: no label column {choice.column!r} among {n_columns} columns; name all "
        f"{n_columns} in their order, or map names to numbers from 0, as in teff=0,logg=1"
    )
    raise LabelError(msg)
