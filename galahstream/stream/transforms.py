"""Transforms of flux and labels on the way to the network.

Examples
--------
>>> import numpy as np
>>> flux = np.array([[1.0, 0.1, np.nan]], dtype=np.float32)
>>> [f"{value:.4f}" for value in LogFlux(floor=0.2, fill=1.0)(flux)[0]]
['0.0000', '-1.6094', '0.0000']
>>> score = ZScore(mean=[5500.0], std=[500.0])
>>> score(np.array([[6000.0]]))
array([[1.]], dtype=float32)
>>> score.inverse(np.array([[1.0]]))
array([[6000.]])
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError, OptionError
from galahstream.survey.units import stated_unit
from galahstream.validation import check_choice

FluxTransform: TypeAlias = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]] | None
"""A transform takes and returns float32 flux of shape (..., L); None leaves flux as it is."""

FitRows: TypeAlias = Literal["train", "all"]
"""Rows that a `ZScore` is fitted on."""

# Four rows of 16,384 float32 stay in the second-level cache during three passes over them.
_BLOCK_BYTES = 256 * 1024
_Values = TypeVar("_Values")


@dataclass(frozen=True)
class LogFlux:
    """Natural logarithm of the flux, with a floor: log(max(flux, floor)).

    Parameters
    ----------
    floor : float
        Above 0. Smaller flux, zero and negative flux included, is replaced by it.
    fill : float
        Replaces pixels that are not finite; by default 1, the continuum.

    Raises
    ------
    OptionError
        If one of them is not a positive number that float32 holds with full precision.
    """

    floor: float = 0.2
    fill: float = 1.0

    def __post_init__(self) -> None:
        limits = np.finfo(np.float32)
        for name in ("floor", "fill"):
            value = getattr(self, name)
            plain = float(value) if isinstance(value, Real) else np.nan
            if not limits.tiny <= plain <= limits.max:
                msg = (
                    f"LogFlux {name} {value!r} cannot be used; expected a number from "
                    f"{limits.tiny:.2g} to {limits.max:.2g}"
                )
                raise OptionError(msg)
            object.__setattr__(self, name, plain)

    @cached_property
    def limits(self) -> tuple[np.float32, np.float32]:
        """Floor and fill as float32."""
        return np.float32(self.floor), np.float32(self.fill)

    def __call__(self, flux: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the logarithm of flux of shape (..., L) as a new float32 array."""
        with np.errstate(over="ignore", under="ignore"):  # float64 beyond float32
            copy = np.array(flux, dtype=np.float32, order="C")
        return self.apply_in_place(copy)

    def apply_in_place(self, flux: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Replace C-ordered float32 flux by its logarithm, and return it."""
        pixels = flux.reshape(-1)
        size = _BLOCK_BYTES // flux.itemsize
        # Infinities of both signs are added; logarithms can be close to 0.
        with np.errstate(invalid="ignore", under="ignore"):
            for start in range(0, pixels.size, size):
                block = pixels[start : start + size]
                # A single sum detects non-finite pixels: it is non-finite if any pixel is.
                if not np.isfinite(block.sum(dtype=np.float64)):
                    block[~np.isfinite(block)] = self.fill
                np.maximum(block, np.float32(self.floor), out=block)
                np.log(block, out=block)
        return flux


class ZScore:
    """Labels as (value - mean) / std, with standard deviations of ddof 0.

    Parameters
    ----------
    fit_on : {"train", "all"}
        Rows that a dataset fits mean and std on.
    mean, std : sequence of float, optional
        Given values, one per label, instead of a fit.

    Raises
    ------
    OptionError
        If `fit_on` is not one of these, or mean and std cannot be used.
    """

    def __init__(
        self,
        fit_on: FitRows = "train",
        *,
        mean: Sequence[float] | npt.NDArray[Any] | None = None,
        std: Sequence[float] | npt.NDArray[Any] | None = None,
    ) -> None:
        check_choice("ZScore fit_on", fit_on, get_args(FitRows))
        if (mean is None) != (std is None):
            msg = "ZScore was given one of mean and std; expected both or neither"
            raise OptionError(msg)
        unit = stated_unit(mean) or stated_unit(std)
        if unit is not None:
            msg = (
                f"ZScore was given values in {unit!r}; expected numbers in the units of the labels"
            )
            raise OptionError(msg)
        self.fit_on = fit_on
        self.mean: npt.NDArray[np.float64] | None = None
        self.std: npt.NDArray[np.float64] | None = None
        if mean is not None and std is not None:
            self._set(np.array(mean, dtype=np.float64), np.array(std, dtype=np.float64))

    def __repr__(self) -> str:
        if self.mean is None or self.std is None:
            return f"ZScore(fit_on={self.fit_on!r})"
        return f"ZScore(mean={self.mean.tolist()}, std={self.std.tolist()})"

    @property
    def is_fitted(self) -> bool:
        """Whether mean and std are known."""
        return self.mean is not None

    def fitted(self, labels: npt.NDArray[np.float64], names: Sequence[str]) -> "ZScore":
        """Return a new score with mean and std of labels, shape (n, K), ignoring missing values.

        Raises
        ------
        LabelError
            If a label has no value, or the same value in every row.
        """
        if len(labels) == 0:
            msg = (
                f"there is no star with labels in {self.fit_on!r} to fit the ZScore on; give it "
                f"fit_on='all' or mean and std, or target_transform=None"
            )
            raise LabelError(msg)
        mean, std = np.empty(len(names)), np.empty(len(names))
        for k, name in enumerate(names):
            values = labels[:, k][np.isfinite(labels[:, k])]
            if len(values) == 0:
                msg = f"label {name!r} has no value in the rows to fit on; choose other labels"
                raise LabelError(msg)
            with np.errstate(under="ignore"):
                mean[k], std[k] = values.mean(), values.std()
            if values.min() == values.max():
                msg = (
                    f"label {name!r} is {values[0]:g} in each of {len(values)} rows; a constant "
                    f"label cannot be learnt: choose other labels"
                )
                raise LabelError(msg)
        score = ZScore(self.fit_on)
        score._set(mean, std)
        return score

    def __call__(self, labels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return labels of shape (..., K) in units of their standard deviation, as float32."""
        mean, std = self._parameters()
        with np.errstate(over="ignore", under="ignore"):  # values that float32 cannot hold
            return ((np.asarray(labels, dtype=np.float64) - mean) / std).astype(np.float32)

    def scale_errors(self, errors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return 1 σ errors of labels, shape (..., K), divided by std, as float32."""
        _, std = self._parameters()
        with np.errstate(over="ignore", under="ignore"):
            return (np.asarray(errors, dtype=np.float64) / std).astype(np.float32)

    def inverse_errors(self, errors: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return scaled 1 σ errors of shape (..., K) in the labels' own units."""
        _, std = self._parameters()
        return np.asarray(errors, dtype=np.float64) * std

    def inverse(self, scores: _Values) -> _Values:
        """Return scores of shape (..., K) in the labels' own units: a tensor for a tensor."""
        mean, std = self._parameters()
        if isinstance(scores, np.ndarray):
            return scores * std + mean  # type: ignore[return-value]
        tensor: Any = scores
        # Not float64: MPS has none.
        return tensor * tensor.new_tensor(std) + tensor.new_tensor(mean)  # type: ignore[no-any-return]

    def _parameters(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        if self.mean is None or self.std is None:
            msg = "this ZScore is not fitted; give mean and std, or use a dataset's own"
            raise OptionError(msg)
        return self.mean, self.std

    def _set(self, mean: npt.NDArray[np.float64], std: npt.NDArray[np.float64]) -> None:
        usable = mean.shape == std.shape and bool(np.isfinite(mean).all() and (std > 0).all())
        if not usable:
            msg = (
                f"ZScore mean {mean} and std {std} cannot be used; expected finite means and "
                f"standard deviations above 0, one of each per label"
            )
            raise OptionError(msg)
        self.mean, self.std = mean, std
