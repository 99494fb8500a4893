"""Where spectra come from, and what was done to them before they were stored."""

from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, get_args

from galahstream import validation
from galahstream.validation import checked, optional

VelocityOrigin: TypeAlias = Literal["catalogue", "files"]

_name = partial(validation.text, max_length=256)


@dataclass(frozen=True)
class Provenance:
    """Where spectra come from; None for what their source does not say.

    Attributes
    ----------
    survey, release : str or None
        ``"GALAH"`` and ``"DR4"``, for example.
    reader : str or None
        The class that read them.
    frame : str or None
        ``"observed"``, or ``"rest"`` for wavelengths without the star's velocity.
    grid : str or None
        Name of the common wavelength grid they were resampled onto, or its digest.
    resampling : str or None
        How they were resampled; None if their pixels are those of the files.
    velocities : {"catalogue", "files"} or None
        Where the velocities come from that spectra were shifted to rest with: a catalogue, for
        stars that it has, or the files; None if they were not shifted.
    """

    survey: str | None = checked(optional(_name), default=None)
    release: str | None = checked(optional(_name), default=None)
    reader: str | None = checked(optional(_name), default=None)
    frame: str | None = checked(optional(_name), default=None)
    grid: str | None = checked(optional(_name), default=None)
    resampling: str | None = checked(optional(_name), default=None)
    velocities: VelocityOrigin | None = checked(
        optional(partial(validation.one_of, allowed=get_args(VelocityOrigin))), default=None
    )
