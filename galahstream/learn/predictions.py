"""Predicted labels of stars, and the tables that hold them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.learn.flags import ALL_FLAGS, PredictionFlag, flag_lines
from galahstream.sources.table_writers import TableColumn, TableLayout, writing_table
from galahstream.stream.label_table import ERROR_PREFIX

FLAG_COLUMN = "flag"
"""The column of the flags."""


@dataclass(frozen=True)
class Predictions:
    """Predicted labels of n stars.

    Attributes
    ----------
    ids : ndarray, shape (n,), int64
    labels : ndarray, shape (n, K), float64
        Values in `units`.
    names, units : tuple of str
        Names and units of the K labels.
    flags : ndarray, shape (n,), int32
        Sums of the bits of :class:`~galahstream.learn.flags.PredictionFlag`; 0 is good.
    uncertainties : ndarray, shape (n, K), float64, or None
        Their 1 σ in `units`, if the model was trained with a likelihood (``"nll"``).
    checked : PredictionFlag
        The flags that the model can set.
    """

    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.float64]
    names: tuple[str, ...]
    units: tuple[str, ...]
    flags: npt.NDArray[np.int32]
    uncertainties: npt.NDArray[np.float64] | None = None
    checked: PredictionFlag = ALL_FLAGS

    @classmethod
    def joined(cls, parts: Iterable["Predictions"]) -> "Predictions":
        """Return the predictions of one model for several lots of stars as one; at least one."""
        first, *others = parts
        every = (first, *others)
        uncertainties = [part.uncertainties for part in every if part.uncertainties is not None]
        return cls(
            np.concatenate([part.ids for part in every]),
            np.concatenate([part.labels for part in every]),
            first.names,
            first.units,
            np.concatenate([part.flags for part in every]),
            np.concatenate(uncertainties) if uncertainties else None,
            first.checked,
        )

    def write(self, out: str | os.PathLike[str]) -> None:
        """Write a table, atomically: CSV, ECSV, FITS, Parquet or .npy by the suffix of the file.

        Its columns are ``id``, the labels, their uncertainties where there are any (``e_teff`` is
        that of ``teff``), and ``flag``. Devices and pipes, such as ``/dev/stdout``, are written
        to as they are.

        Raises
        ------
        OptionError
            If the suffix is not that of a format, or FITS cannot hold a name or a unit.
        ExtraMissingError
            If pyarrow, for Parquet, is not installed.
        """
        with writing_table(Path(out), self.layout(len(self.ids))) as table:
            table.write(self.table_columns())

    def layout(self, n_stars: int) -> TableLayout:
        """Return the layout of a table of predictions like these."""
        labels = list(zip(self.names, self.units, strict=True))
        columns = [TableColumn("id", "i8")]
        columns += [TableColumn(name, "f8", unit) for name, unit in labels]
        if self.uncertainties is not None:
            columns += [TableColumn(ERROR_PREFIX + name, "f8", unit) for name, unit in labels]
        columns.append(TableColumn(FLAG_COLUMN, "i4"))
        return TableLayout(tuple(columns), n_stars, flag_lines(self.checked))

    def table_columns(self) -> list[npt.NDArray[np.int64 | np.int32 | np.float64]]:
        """Return the values of each column of the layout."""
        values = [self.labels] if self.uncertainties is None else [self.labels, self.uncertainties]
        return [self.ids, *np.hstack(values).T, self.flags]
