"""Errors of predicted labels, in the labels' own units."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from galahstream.validation import checked, number_or_nan, text


@dataclass(frozen=True)
class LabelMetrics:
    """Errors of one label over n stars, in the unit of the label; `r2` has no unit.

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
        1 - sum (predicted - true)² / sum (true - mean of true)²; NaN for a label
        that does not vary.
    """

    name: str = checked(text)
    unit: str = checked(text)
    rmse: float = checked(number_or_nan)
    mae: float = checked(number_or_nan)
    bias: float = checked(number_or_nan)
    r2: float = checked(number_or_nan)

    @property
    def caption(self) -> str:
        """The errors in one line, for pictures."""
        return f"RMSE {self.rmse:.3g} {self.unit}, bias {self.bias:+.2g}, R² {self.r2:.3f}"


def label_metrics(
    predicted: npt.NDArray[np.float64],
    true: npt.NDArray[np.float64],
    names: tuple[str, ...],
    units: tuple[str, ...],
) -> tuple[LabelMetrics, ...]:
    """Return the errors of each label.

    Parameters
    ----------
    predicted, true : ndarray, shape (n, K), float64
        Values in the units of the labels.
    names, units : tuple of str
        Names and units of the K labels.
    """
    return tuple(
        _metrics(predicted[:, column], true[:, column], name, unit)
        for column, (name, unit) in enumerate(zip(names, units, strict=True))
    )


def _metrics(
    predicted: npt.NDArray[np.float64], true: npt.NDArray[np.float64], name: str, unit: str
) -> LabelMetrics:
    error = predicted - true
    variation = float(np.sum((true - true.mean()) ** 2))
    return LabelMetrics(
        name=name,
        unit=unit,
        rmse=float(np.sqrt(np.mean(error**2))),
        mae=float(np.mean(np.abs(error))),
        bias=float(np.mean(error)),
        r2=1 - float(np.sum(error**2)) / variation if variation > 0 else float("nan"),
    )
