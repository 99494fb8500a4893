"""What becomes of flux and labels on the way to the network.

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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError, OptionError

# Four rows of 16,384 float32 stay in the second-level cache while three passes go over them.
_BLOCK_BYTES = 256 * 1024
_Values = TypeVar("_Values")


@dataclass(frozen=True)
class LogFlux:
    """Natural logarithm of the flux, with a floor: log(max(flux, floor)).

    Parameters
    ----------
    floor : float
        Flux below it, zero and negative flux among it, is read as this; above 0.
    fill : float
        What a pixel that is not finite is read as: the continuum at 1 by default.
    """

    floor: float = 0.2
    fill: float = 1.0

    def __post_init__(self) -> None:
        limits = np.finfo(np.float32)
        for name, value in (("floor", self.floor), ("fill", self.fill)):
            if not limits.tiny <= value <= limits.max:
                msg = (
                    f"LogFlux {name} {value!r} cannot be used; expected a number above 0 that "
                    f"float32 holds in full, {limits.tiny:.2g} to {limits.max:.2g}"
                )
                raise OptionError(msg)

    @cached_property
    def limits(self) -> tuple[np.float32, np.float32]:
        """Floor and fill as the kernels take them."""
        return np.float32(self.floor), np.float32(self.fill)

    def __call__(self, flux: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the logarithm of flux of shape (..., L) as a new float32 array."""
        return self.apply_in_place(np.array(flux, dtype=np.float32, order="C"))

    def apply_in_place(self, flux: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Replace C-ordered float32 flux by its logarithm, and return it."""
        pixels = flux.reshape(-1)
        size = _BLOCK_BYTES // flux.itemsize
        for start in range(0, pixels.size, size):
            block = pixels[start : start + size]
            # One sum tells whether any pixel is not finite: it then is not either.
            with np.errstate(invalid="ignore"):  # infinities of both signs
                total = block.sum(dtype=np.float64)
            if not np.isfinite(total):
                block[~np.isfinite(block)] = self.fill
            np.maximum(block, np.float32(self.floor), out=block)
            np.log(block, out=block)
        return flux


class ZScore:
    """Labels as (value - mean) / std, with standard deviations of ddof 0.

    Parameters
    ----------
    fit_on : {"train", "all"}
        Rows that mean and std are taken from, when a dataset fits it.
    mean, std : sequence of float, optional
        Given values, one a label, instead of a fit.
    """

    def __init__(
        self,
        fit_on: str = "train",
        *,
        mean: Sequence[float] | npt.NDArray[Any] | None = None,
        std: Sequence[float] | npt.NDArray[Any] | None = None,
    ) -> None:
        if fit_on not in ("train", "all"):
            msg = f"ZScore fit_on {fit_on!r} is not known; expected 'train' or 'all'"
            raise OptionError(msg)
        if (mean is None) != (std is None):
            msg = "ZScore was given one of mean and std; expected both or neither"
            raise OptionError(msg)
        self.fit_on = fit_on
        self.mean: npt.NDArray[np.float64] | None = None
        self.std: npt.NDArray[np.float64] | None = None
        if mean is not None and std is not None:
            self._set(np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64))

    def __repr__(self) -> str:
        if self.mean is None or self.std is None:
            return f"ZScore(fit_on={self.fit_on!r})"
        return f"ZScore(mean={self.mean.tolist()}, std={self.std.tolist()})"

    @property
    def is_fitted(self) -> bool:
        """Whether mean and std are known."""
        return self.mean is not None

    def fitted(self, labels: npt.NDArray[np.float64], names: Sequence[str]) -> "ZScore":
        """Return a score with mean and std of labels, shape (n, K); missing values do not count.

        Raises
        ------
        LabelError
            If a label has no value, or the same value in every row.
        """
        mean, std = np.empty(len(names)), np.empty(len(names))
        for number, name in enumerate(names):
            values = labels[:, number][np.isfinite(labels[:, number])]
            if len(values) == 0:
                msg = f"label {name!r} has no value in the rows to fit on; choose other labels"
                raise LabelError(msg)
            mean[number], std[number] = values.mean(), values.std()
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
        """Return labels of shape (..., K) in units of their spread, as float32."""
        mean, std = self._parameters()
        return ((np.asarray(labels, dtype=np.float64) - mean) / std).astype(np.float32)

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
            msg = "this ZScore knows no mean and std yet; give them, or take a dataset's own"
            raise OptionError(msg)
        return self.mean, self.std

    def _set(self, mean: npt.NDArray[np.float64], std: npt.NDArray[np.float64]) -> None:
        usable = mean.shape == std.shape and bool(np.isfinite(mean).all() and (std > 0).all())
        if not usable:
            msg = f"ZScore mean {mean} and std {std}: expected finite means, and spreads above 0"
            raise OptionError(msg)
        self.mean, self.std = mean, std
