"""The labels of a dataset: which columns, which rows have them, and how they are scaled."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError
from galahstream.store import SpectraStore
from galahstream.stream.transforms import ZScore
from galahstream.survey.units import same_unit

Missing: TypeAlias = Literal["raise", "drop", "mask"]
"""Treatment of rows of which a selected label is missing."""

ERROR_PREFIX = "e_"
"""The error of the label ``teff`` is the column ``e_teff``: 1 σ, in the unit of the label."""

_Labels: TypeAlias = npt.NDArray[np.float64]
_Rows: TypeAlias = npt.NDArray[np.int64]


class LabelTable:
    """Some label columns of a store, with the errors of the labels if they are asked for.

    Parameters
    ----------
    store : SpectraStore
    labels : str, sequence of str, or None
        Columns of the store; none of them with None, or if the store has no labels.
    with_errors : bool
        Take the errors of the labels too. A label without an error is then missing.

    Raises
    ------
    LabelError
        If the store lacks a column, a column is named twice, or an error has another unit than
        its label.

    Attributes
    ----------
    names : tuple of str
        The columns.
    """

    def __init__(
        self,
        store: SpectraStore,
        labels: str | Sequence[str] | npt.NDArray[np.str_] | None,
        *,
        with_errors: bool = False,
    ) -> None:
        self._store = store
        self.names = _chosen_names(store, labels)
        self.error_names = tuple(ERROR_PREFIX + name for name in self.names) if with_errors else ()
        for name, error_name in zip(self.names, self.error_names, strict=bool(with_errors)):
            if error_name not in store.labels:
                msg = (
                    f"{store.path}: label {name!r} has no errors, which would be the column "
                    f"{error_name!r}; convert it too (labels=, --labels), or train without errors "
                    f"of labels (label_errors=False, without --label-errors)"
                )
                raise LabelError(msg)
            unit, error_unit = store.label_units[name], store.label_units[error_name]
            if unit and error_unit and not same_unit(unit, error_unit):
                msg = (
                    f"{store.path}: {error_name!r} is in {error_unit} and {name!r} in {unit}; "
                    f"convert the errors to {unit}, or correct the name of their unit (labels=, "
                    f"--labels '{error_name}[{unit}]')"
                )
                raise LabelError(msg)

    def values(self, rows: _Rows) -> _Labels:
        """Return labels in their own units, shape (n, K), NaN where one is missing."""
        labels = self._columns(self.names, rows)
        is_missing = ~np.isfinite(labels)
        if self.error_names:
            is_missing |= ~np.isfinite(self._columns(self.error_names, rows))
        return np.where(is_missing, np.nan, labels)

    def errors(self, rows: _Rows) -> _Labels:
        """Return the 1 σ errors of labels in their own units, shape (n, K), NaN where unknown.

        Raises
        ------
        LabelError
            If an error is negative.
        """
        errors = self._columns(self.error_names, rows)
        if (errors < 0).any():
            row, column = (int(index[0]) for index in np.nonzero(errors < 0))
            msg = (
                f"{self._store.path}: {self.error_names[column]!r} of row {rows[row]} (star "
                f"{self._store.ids[rows[row]]}) is {errors[row, column]:g}; expected an error "
                f"of at least 0: convert again with such values as missing ones "
                f"(missing_values=, --missing-values)"
            )
            raise LabelError(msg)
        return np.where(np.isfinite(errors), errors, np.nan)

    def select(self, rows: _Rows, missing: Missing, where: str) -> _Rows:
        """Return the rows that are used.

        Parameters
        ----------
        rows : ndarray of int64
        missing : {"raise", "drop", "mask"}
            Raise an error if a label is missing, drop each row that lacks one, or drop those
            that lack all of them.
        where : str
            Name of the rows in messages.

        Raises
        ------
        LabelError
            If a label is missing that may not be, a label of all rows is missing, or an error
            is negative.
        """
        if self.error_names:
            self.errors(rows)  # raises an error for a negative one
        is_missing = np.isnan(self.values(rows))
        if not is_missing.any():
            return rows
        self._check_columns(is_missing, where)
        if missing == "drop":
            return rows[~is_missing.any(axis=1)]
        if missing == "mask":
            return rows[~is_missing.all(axis=1)]
        row, column = (int(index[0]) for index in np.nonzero(is_missing))
        what = f"{self.names[column]!r}" + (" or its error" if self.error_names else "")
        msg = (
            f"{self._store.path}: {int(is_missing.any(axis=1).sum())} rows of {where!r} lack a "
            f"label, the first is row {rows[row]} (star {self._store.ids[rows[row]]}), {what}; "
            f"skip them with missing='drop' (--missing drop), or use the labels that they have "
            f"with missing='mask' (--missing mask)"
        )
        raise LabelError(msg)

    def fit(self, score: ZScore | None, missing: Missing) -> ZScore | None:
        """Return a score that is fitted on the rows that it names, or None without labels.

        With ``"mask"`` each label counts all rows that have it, otherwise those that have all.
        """
        if not self.names or score is None or score.is_fitted:
            return score
        rows = np.arange(len(self._store))[self._store.rows_of(score.fit_on)]
        labels = self.values(rows)
        self._check_columns(np.isnan(labels), score.fit_on)
        is_used = np.isfinite(labels)
        used = is_used.any(axis=1) if missing == "mask" else is_used.all(axis=1)
        return score.fitted(labels[used], self.names)

    def _columns(self, names: Sequence[str], rows: _Rows) -> _Labels:
        columns = [self._store.labels[name][rows] for name in names]
        return np.stack(columns, axis=-1) if columns else np.empty((len(rows), 0))

    def _check_columns(self, is_missing: npt.NDArray[np.bool_], where: str) -> None:
        """Raise an error that names a label which no row has."""
        if not len(is_missing) or not is_missing.all(axis=0).any():
            return
        column = int(np.flatnonzero(is_missing.all(axis=0))[0])
        what = "has no value" if not self.error_names else "has no value with an error"
        msg = (
            f"{self._store.path}: label {self.names[column]!r} {what} in the {len(is_missing):,} "
            f"rows of {where!r}; choose other labels (labels=, --labels)"
        )
        raise LabelError(msg)


def scaled_arrays(
    labels: _Labels, errors: _Labels | None, score: ZScore | None
) -> tuple[npt.NDArray[np.float32], ...]:
    """Return labels, and errors if there are any, as they are in batches, each (n, K)."""
    if score is None:
        return tuple(array.astype(np.float32) for array in (labels, errors) if array is not None)
    scaled = score(labels)
    return (scaled,) if errors is None else (scaled, score.scale_errors(errors))


def _chosen_names(
    store: SpectraStore, labels: str | Sequence[str] | npt.NDArray[Any] | None
) -> tuple[str, ...]:
    if labels is None or not store.labels:
        return ()
    plain = labels.tolist() if isinstance(labels, np.ndarray) else labels
    names = (plain,) if isinstance(plain, str) else tuple(plain)
    for name in names:
        if name not in store.labels:
            msg = (
                f"{store.path}: no label {name!r}; the store has {', '.join(store.labels)}: "
                f"choose among them (labels=, --labels)"
            )
            raise LabelError(msg)
    if len(set(names)) != len(names):
        msg = f"the labels {', '.join(names)} name a label twice; give each once"
        raise LabelError(msg)
    return tuple(str(name) for name in names)
