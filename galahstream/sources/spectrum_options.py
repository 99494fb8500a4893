"""What a user may ask of the spectra of a source: frame, grid, errors, missing cameras."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy.typing as npt

from galahstream.errors import OptionError
from galahstream.sources.galah_layout import Frame
from galahstream.sources.npy import NpyFile
from galahstream.survey.grids import GRIDS, Grid, resolve_grid
from galahstream.survey.resampling import Resampling
from galahstream.validation import check_choice, shown

GridChoice: TypeAlias = str | os.PathLike[str] | npt.ArrayLike
"""The name of a published grid, a .npy file of wavelengths, or the wavelengths in Å."""

MissingCamera: TypeAlias = Literal["nan", "skip", "raise"]
"""What to do with stars that lack the file of a camera."""


@dataclass(frozen=True)
class SpectrumOptions:
    """What spectra are to be like.

    Parameters
    ----------
    frame : {"observed", "rest"}, optional
        Frame of the wavelengths; that of the files by default.
    grid : str, path-like or array_like, shape (L,), optional
        The wavelengths that spectra are resampled onto: a name in
        :data:`galahstream.survey.grids.GRIDS`, a .npy file, or values in Å. Default: the
        pixels of the files.
    resampling : {"flux-conserving", "linear"}
        See :mod:`galahstream.survey.resampling`.
    errors : bool
        Read the error of each pixel too.
    missing_camera : {"nan", "skip", "raise"}
        Whether the pixels of a camera that a star lacks are NaN, the star is skipped, or
        an error raised.

    Attributes
    ----------
    target : Grid or None
        The grid that was chosen.

    Raises
    ------
    OptionError, WavelengthError
        If a value cannot be used.
    SourceMissingError, SourceFormatError, SourceAccessError
        If the file of the grid cannot be read.
    """

    frame: Frame | None = None
    grid: GridChoice | None = field(default=None, compare=False)
    resampling: Resampling = "flux-conserving"
    errors: bool = False
    missing_camera: MissingCamera = "nan"
    target: Grid | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.frame is not None:
            check_choice("frame", self.frame, get_args(Frame))
        check_choice("resampling", self.resampling, get_args(Resampling))
        check_choice("missing_camera", self.missing_camera, get_args(MissingCamera))
        object.__setattr__(self, "errors", bool(self.errors))
        object.__setattr__(self, "target", None if self.grid is None else _grid(self.grid))

    @property
    def grid_name(self) -> str | None:
        """The name of the grid; the digest of one without a name; None without a grid."""
        return None if self.target is None else self.target.name

    @property
    def is_default(self) -> bool:
        """Whether spectra are to be as their source has them."""
        return self.target is None and self == SpectrumOptions()


def _grid(choice: GridChoice) -> Grid:
    if isinstance(choice, str) and choice in GRIDS:
        return resolve_grid(choice)
    if isinstance(choice, str | os.PathLike):
        path = Path(choice)
        if isinstance(choice, str) and path.suffix != ".npy":
            msg = (
                f"grid {shown(choice)} is not known; expected {', '.join(GRIDS)}, a .npy file, or "
                f"wavelengths in Å (grid=, --grid)"
            )
            raise OptionError(msg)
        return resolve_grid(NpyFile(path).mapped())
    return resolve_grid(choice)
