"""Errors of predicted labels, in the labels' own units, and how good their uncertainties are."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from galahstream.validation import (
    checked,
    integer,
    number,
    number_or_nan,
    optional,
    record,
    sequence,
    text,
)

SNR_EDGES = (0.0, 25.0, 50.0, 100.0, 200.0, math.inf)
"""Edges of the bins of signal to noise; each bin contains its lower edge."""

GIANT_LOGG = 3.5
"""Stars of smaller log g are giants, the others dwarfs (subgiants included), by our definition."""

CALIBRATION_BINS = 10
"""Bins of equal width of the calibration histogram, from 0 to 1."""

_MAD_TO_SIGMA = 1.4826
_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class UncertaintyMetrics:
    """How well predicted uncertainties σ describe the errors of one label; no units.

    Attributes
    ----------
    pull_mean, pull_std : float
        Of the pulls (predicted - true) / σ: 0 and 1 where the uncertainties are right.
    coverage_68, coverage_95 : float
        Fractions of the stars within 1 σ and 2 σ: 0.6827 and 0.9545 where they are right.
    calibration : tuple of int
        Number of stars by where the true value is in the predicted distribution, Φ(-pull), in
        `CALIBRATION_BINS` bins from 0 to 1: equal numbers where the uncertainties are right.
    """

    pull_mean: float = checked(number_or_nan)
    pull_std: float = checked(number_or_nan)
    coverage_68: float = checked(number_or_nan)
    coverage_95: float = checked(number_or_nan)
    calibration: tuple[int, ...] = checked(
        partial(sequence, check=integer, minimum=CALIBRATION_BINS, maximum=CALIBRATION_BINS)
    )


@dataclass(frozen=True)
class LabelMetrics:
    """Errors of one label over n stars that have it, in its unit; NaN where n is 0.

    Attributes
    ----------
    name, unit : str
    rmse : float
        Root mean square of predicted - true.
    mae : float
        Mean absolute value of predicted - true.
    bias : float
        Mean of predicted - true.
    r2 : float
        1 - sum (predicted - true)² / sum (true - mean of true)², without unit; NaN for a label
        that does not vary.
    n : int or None
        Number of stars; None in files of early versions.
    scatter : float
        1.4826 times the median of |error - median of the errors|: the standard deviation of
        normal errors, whatever a few outliers are; NaN in files of early versions.
    information_limit : float or None
        The smallest error that the noise of the spectra allows; not known yet.
    uncertainty : UncertaintyMetrics or None
        None for a network that predicts no uncertainties.
    """

    name: str = checked(text)
    unit: str = checked(text)
    rmse: float = checked(number_or_nan)
    mae: float = checked(number_or_nan)
    bias: float = checked(number_or_nan)
    r2: float = checked(number_or_nan)
    n: int | None = checked(optional(integer), default=None)
    scatter: float = checked(number_or_nan, default=math.nan)
    information_limit: float | None = checked(optional(number), default=None)
    uncertainty: UncertaintyMetrics | None = checked(
        optional(record(UncertaintyMetrics)), default=None
    )

    @property
    def caption(self) -> str:
        """The errors in one line, for pictures."""
        return f"RMSE {self.rmse:.3g} {self.unit}, bias {self.bias:+.2g}, R² {self.r2:.3f}"


@dataclass(frozen=True)
class GroupMetrics:
    """Errors over some of the stars.

    Attributes
    ----------
    by : str
        The label by which stars are grouped, as ``"snr"`` or ``"logg"``.
    group : str
        Which of its groups: ``"25 to 50"``, ``"dwarfs"``.
    n_stars : int
    labels : tuple of LabelMetrics
    """

    by: str
    group: str
    n_stars: int
    labels: tuple[LabelMetrics, ...]


def label_metrics(
    predicted: _Values,
    true: _Values,
    names: tuple[str, ...],
    units: tuple[str, ...],
    sigma: _Values | None = None,
) -> tuple[LabelMetrics, ...]:
    """Return the errors of each label.

    Parameters
    ----------
    predicted, true : ndarray, shape (n, K), float64
        Values in the units of the labels; NaN in `true` where a label is missing.
    names, units : tuple of str
        Names and units of the K labels.
    sigma : ndarray, shape (n, K), float64, optional
        Expected standard deviations of predicted - true: the predicted uncertainty, and where
        they are known, the errors of the true labels added in quadrature.
    """
    return tuple(
        _metrics(
            predicted[:, column],
            true[:, column],
            name,
            unit,
            None if sigma is None else sigma[:, column],
        )
        for column, (name, unit) in enumerate(zip(names, units, strict=True))
    )


def group_metrics(
    predicted: _Values,
    true: _Values,
    names: tuple[str, ...],
    units: tuple[str, ...],
    sigma: _Values | None,
    groups: Sequence[tuple[str, _Values]],
) -> tuple[GroupMetrics, ...]:
    """Return the errors of the labels in groups of stars; groups without stars are omitted.

    Parameters
    ----------
    predicted, true, names, units, sigma
        As for :func:`label_metrics`.
    groups : sequence of (str, ndarray of shape (n,))
        A column ``logg``, or one whose name begins with ``snr``, and its values, NaN where they
        are not known: such stars are in none of its groups.
    """
    return tuple(
        GroupMetrics(
            by,
            group,
            int(chosen.sum()),
            label_metrics(
                predicted[chosen],
                true[chosen],
                names,
                units,
                None if sigma is None else sigma[chosen],
            ),
        )
        for by, values in groups
        for group, chosen in _members(by, values)
        if chosen.any()
    )


def _members(by: str, values: _Values) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    if by == "logg":
        yield "dwarfs", values >= GIANT_LOGG
        yield "giants", values < GIANT_LOGG
        return
    for low, high in pairwise(SNR_EDGES):
        name = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} and more"
        yield name, (values >= low) & (values < high)


def _metrics(
    predicted: _Values, true: _Values, name: str, unit: str, sigma: _Values | None
) -> LabelMetrics:
    present = np.isfinite(true)
    predicted, true = predicted[present], true[present]
    if not len(true):
        nan = math.nan
        return LabelMetrics(name, unit, rmse=nan, mae=nan, bias=nan, r2=nan, n=0)
    error = predicted - true
    variation = float(np.sum((true - true.mean()) ** 2))
    return LabelMetrics(
        name=name,
        unit=unit,
        rmse=float(np.sqrt(np.mean(error**2))),
        mae=float(np.mean(np.abs(error))),
        bias=float(np.mean(error)),
        r2=1 - float(np.sum(error**2)) / variation if variation > 0 else math.nan,
        n=len(error),
        scatter=float(_MAD_TO_SIGMA * np.median(np.abs(error - np.median(error)))),
        uncertainty=None if sigma is None else _uncertainty_metrics(error / sigma[present]),
    )


def _uncertainty_metrics(pulls: _Values) -> UncertaintyMetrics:
    distances = np.abs(pulls)
    position = torch.special.ndtr(torch.from_numpy(-pulls)).numpy()
    counts, _ = np.histogram(position, bins=CALIBRATION_BINS, range=(0, 1))
    return UncertaintyMetrics(
        pull_mean=float(pulls.mean()),
        pull_std=float(pulls.std()),
        coverage_68=float(np.mean(distances <= 1)),
        coverage_95=float(np.mean(distances <= 2)),
        calibration=tuple(counts.tolist()),
    )
