"""How well labels are predicted, in their own units."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class LabelMetrics:
    """Errors of one label over n stars, in its unit; `r2` has none.

    R² = 1 - sum (predicted - true)² / sum (true - mean of true)²; NaN for a
    label that does not vary. `bias` is the mean of predicted - true.
    """

    name: str
    unit: str
    rmse: float
    mae: float
    bias: float
    r2: float

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
        In the labels' own units.
    names, units : tuple of str
        Of the K labels.
    """
    found = []
    for number, (name, unit) in enumerate(zip(names, units, strict=True)):
        error = predicted[:, number] - true[:, number]
        spread = float(np.sum((true[:, number] - true[:, number].mean()) ** 2))
        found.append(
            LabelMetrics(
                name=name,
                unit=unit,
                rmse=float(np.sqrt(np.mean(error**2))),
                mae=float(np.mean(np.abs(error))),
                bias=float(np.mean(error)),
                r2=1 - float(np.sum(error**2)) / spread if spread > 0 else float("nan"),
            )
        )
    return tuple(found)
