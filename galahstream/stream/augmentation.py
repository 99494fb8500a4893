"""Augmentation: random changes of training spectra, new in every epoch.

All of them act on the flux as it is stored, before the transform of a dataset takes its
logarithm, and always in the order of nature, whatever order they are given in: the star
moves, its light becomes noisy, pixels are lost. Each has a text form, which is also what
the command line takes:

>>> augmentation = Compose(AddNoise(20, 200), ShiftVelocity(2), MaskPixels(0.02))
>>> print(augmentation)
velocity=2,noise=20:200,mask=0.02
>>> check_augmentation("noise=20:200,velocity=2,mask=0.02") == augmentation
True
"""

import math
from dataclasses import dataclass
from numbers import Real
from typing import TypeAlias, get_args

from galahstream.errors import OptionError
from galahstream.validation import shown

_SNR_LIMITS = (1.0, 1e6)
_MAX_VELOCITY = 1000.0
_KNOWN = (
    "noise=LOW:HIGH (SNR per pixel), velocity=MAXIMUM (km/s) and mask=FRACTION, each at most once "
    "and joined by commas, as in noise=20:200,velocity=2,mask=0.02 (augment=, --augment)"
)


@dataclass(frozen=True)
class ShiftVelocity:
    """Shift each spectrum by a random Doppler velocity.

    The velocity is drawn uniformly from -`maximum` to `maximum`; if it is above 0, lines move
    to longer wavelengths. The flux is interpolated linearly between neighbouring pixels of the
    store's grid, which smooths it slightly. No pixel takes flux from across a gap, between
    cameras or parts of a window: at both ends of each part the flux of its last pixel is
    repeated. A pixel next to a missing one may become missing.

    Parameters
    ----------
    maximum : float
        In km/s; above 0, at most 1000.

    Raises
    ------
    OptionError
        If it is not such a number.
    """

    maximum: float

    def __post_init__(self) -> None:
        maximum = _plain(self.maximum)
        if not 0 < maximum <= _MAX_VELOCITY:
            msg = (
                f"ShiftVelocity maximum {shown(self.maximum)} cannot be used; expected a number "
                f"of km/s above 0 and up to {_MAX_VELOCITY:g} (augment=, --augment)"
            )
            raise OptionError(msg)
        object.__setattr__(self, "maximum", maximum)

    def __str__(self) -> str:
        return f"velocity={_text(self.maximum)}"


@dataclass(frozen=True)
class AddNoise:
    """Add Gaussian noise to each spectrum, of a signal-to-noise ratio that is drawn per spectrum.

    The standard deviation is 1 / SNR in every pixel: SNR is that of the continuum, where flux
    is 1. Its logarithm is drawn uniformly, so that 20 to 40 is as frequent as 100 to 200. The
    noise comes on top of what the spectrum has.

    Parameters
    ----------
    snr_low, snr_high : float
        Range of SNR per pixel; from 1 to 10⁶.

    Raises
    ------
    OptionError
        If they are not such numbers, or the lower one is not the first.

    Notes
    -----
    :mod:`galahstream.stream.draws` says where the numbers come from and how random they are.
    """

    snr_low: float
    snr_high: float

    def __post_init__(self) -> None:
        lowest, highest = _SNR_LIMITS
        low, high = _plain(self.snr_low), _plain(self.snr_high)
        if not lowest <= low <= high <= highest:
            msg = (
                f"AddNoise SNR {shown(self.snr_low)} to {shown(self.snr_high)} cannot be used; "
                f"expected two numbers from {lowest:g} to {highest:g}, the lower one first "
                f"(augment=, --augment)"
            )
            raise OptionError(msg)
        object.__setattr__(self, "snr_low", low)
        object.__setattr__(self, "snr_high", high)

    def __str__(self) -> str:
        return f"noise={_text(self.snr_low)}:{_text(self.snr_high)}"


@dataclass(frozen=True)
class MaskPixels:
    """Make random pixels missing: NaN, which :class:`~galahstream.LogFlux` reads as its `fill`.

    Parameters
    ----------
    fraction : float
        Probability that a pixel becomes missing, above 0 and below 1, to within 1/65,536.

    Raises
    ------
    OptionError
        If it is not such a number.
    """

    fraction: float

    def __post_init__(self) -> None:
        fraction = _plain(self.fraction)
        if not 0 < fraction < 1:
            msg = (
                f"MaskPixels fraction {shown(self.fraction)} cannot be used; expected a number "
                f"above 0 and below 1 (augment=, --augment)"
            )
            raise OptionError(msg)
        object.__setattr__(self, "fraction", fraction)

    def __str__(self) -> str:
        return f"mask={_text(self.fraction)}"


AugmentationStep: TypeAlias = ShiftVelocity | AddNoise | MaskPixels
"""A single augmentation, in the order in which they are applied."""

_STEPS: tuple[type[AugmentationStep], ...] = get_args(AugmentationStep)


@dataclass(frozen=True, init=False, repr=False)
class Compose:
    """Several augmentations, each of another kind.

    Parameters
    ----------
    *steps : ShiftVelocity, AddNoise, MaskPixels or Compose
        In any order: they are applied in that of nature.

    Attributes
    ----------
    steps : tuple of ShiftVelocity, AddNoise or MaskPixels
        In the order in which they are applied.

    Raises
    ------
    OptionError
        If there are none, one is of another type, or two are of one kind.

    Examples
    --------
    >>> Compose(MaskPixels(0.02), AddNoise(20, 200))
    Compose(AddNoise(snr_low=20.0, snr_high=200.0), MaskPixels(fraction=0.02))
    """

    steps: tuple[AugmentationStep, ...]

    def __init__(self, *steps: "AugmentationStep | Compose") -> None:
        flat = [one for step in steps for one in _steps_of(step)]
        kinds = [type(step) for step in flat]
        if not flat or len(set(kinds)) < len(kinds):
            names = ", ".join(map(repr, flat)) or "nothing"
            msg = f"Compose of {names} cannot be used; expected {_KNOWN}"
            raise OptionError(msg)
        object.__setattr__(self, "steps", tuple(sorted(flat, key=lambda s: _STEPS.index(type(s)))))

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.steps))})"

    def __str__(self) -> str:
        return ",".join(map(str, self.steps))


Augmentation: TypeAlias = AugmentationStep | Compose
"""What a loader applies to spectra."""


def check_augmentation(augment: object) -> Augmentation | None:
    """Return an augmentation, its text form, or None as an object or None.

    Raises
    ------
    OptionError
        If it is none of these, or the text names an augmentation that is not known, holds a
        bad number, or names one twice.
    """
    if augment is None:
        return None
    if isinstance(augment, Augmentation):
        return augment
    if not isinstance(augment, str):
        msg = f"augmentation {shown(augment)} cannot be used; expected {_KNOWN}"
        raise OptionError(msg)
    steps = [_parse_step(part) for part in augment.split(",")]
    return steps[0] if len(steps) == 1 else Compose(*steps)


def _parse_step(part: str) -> AugmentationStep:
    name, equals, value = part.strip().partition("=")
    numbers = [_number(one) for one in value.split(":")]
    if equals and name == "noise" and len(numbers) == 2:
        return AddNoise(*numbers)
    if equals and name == "velocity" and len(numbers) == 1:
        return ShiftVelocity(*numbers)
    if equals and name == "mask" and len(numbers) == 1:
        return MaskPixels(*numbers)
    msg = f"augmentation {shown(part)} is not known; expected {_KNOWN}"
    raise OptionError(msg)


def _steps_of(step: object) -> tuple[AugmentationStep, ...]:
    if isinstance(step, Compose):
        return step.steps
    if isinstance(step, _STEPS):
        return (step,)
    msg = f"augmentation {shown(step)} cannot be used; expected {_KNOWN}"
    raise OptionError(msg)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _plain(value: object) -> float:
    """Return a number as ``float``, and NaN for anything else."""
    try:
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def _text(value: float) -> str:
    """Return the shortest text from which the same number is read."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
