"""Windows: which pixels of a spectrum are in use.

A window is a camera, a range in Å, several of them, a mask, or a selection with a name.
Several cameras and ranges give each of their pixels once, by increasing wavelength,
however they overlap and in whatever order they are given. A camera is what a store has
within 10 Å of the camera's nominal wavelengths. A camera or a range may reach beyond the
wavelengths of a store, but at least one pixel must be inside each.

Examples
--------
>>> from galahstream.survey.wavelength import nominal_grid
>>> from galahstream.survey.windows import window_pixels
>>> grid = nominal_grid()
>>> window_pixels(grid, "red")[[0, -1]].tolist()
[8192, 12287]
>>> len(window_pixels(grid, ["blue", (6552.8, 6572.8)]))  # and 10 Å on both sides of Hα
4413
>>> len(window_pixels(grid, "no-tellurics"))
14889
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from galahstream.errors import WavelengthError
from galahstream.survey.units import in_angstrom, stated_unit
from galahstream.survey.wavelength import CAMERAS
from galahstream.validation import FieldError, checked, from_mapping, integer, sequence, shown

OXYGEN_A_BAND = (7590.0, 7700.0)
"""Å; between them oxygen of the Earth's atmosphere absorbs a quarter of the infrared camera."""

GALAH_CNN_RANGES = ((4710.0, 4910.0), (5640.0, 5880.0), (6475.0, 6745.0), (7700.0, 7895.0))
"""Å; what the network of GALAH's reduction pipeline reads of each camera."""

_NO_TELLURICS, _GALAH_CNN = "no-tellurics", "galah-cnn"
SELECTIONS = (_NO_TELLURICS, _GALAH_CNN)
"""Names of windows that are not cameras."""

# Published grids reach up to 9 Å beyond the nominal ones; the next camera is 700 Å away.
_CAMERA_MARGIN = 10.0
# Named selections and published grids have the same ends; a grid in float32 is off by 0.0003 Å.
_ROUNDING = 5e-4
_MAX_PIXELS = 2**31
_SHOWN_RUNS = 3
_CAMERA_NAMES = ", ".join(camera.name for camera in CAMERAS)
_OTHERS = (
    f"a camera ({_CAMERA_NAMES}), several cameras and ranges in a list, a mask of one bool per "
    f"pixel, {' or '.join(SELECTIONS)} (window=, --window)"
)


@dataclass(frozen=True)
class PixelMask:
    """A mask of pixels as plain values, which files can hold and settings can compare.

    Attributes
    ----------
    n_pixels : int
        Pixels of a spectrum, L.
    edges : tuple of int
        First pixel and end of each run of selected pixels, in turn.
    """

    n_pixels: int = checked(partial(integer, minimum=1, maximum=_MAX_PIXELS))
    edges: tuple[int, ...] = checked(
        partial(sequence, check=integer, minimum=2, maximum=_MAX_PIXELS)
    )

    def __post_init__(self) -> None:
        edges = np.array((-1, *self.edges))
        if edges.size % 2 == 0 or not (np.diff(edges) > 0).all() or edges[-1] > self.n_pixels:
            reason = f"found {shown(self.edges)}, expected increasing pairs of 0 to {self.n_pixels}"
            raise FieldError("edges", reason)

    def __repr__(self) -> str:
        runs = [f"{first}:{end}" for first, end in self.spans[:_SHOWN_RUNS].tolist()]
        more = ", ..." if len(self.spans) > _SHOWN_RUNS else ""
        return f"<mask of {len(self.pixels)} of {self.n_pixels} pixels: {', '.join(runs)}{more}>"

    @classmethod
    def of_array(cls, mask: npt.ArrayLike) -> "PixelMask":
        """Return the mask of a boolean array, shape (L,), in which masked values are False.

        Raises
        ------
        WavelengthError
            If it has another shape or selects nothing.
        """
        is_masked = isinstance(mask, np.ma.MaskedArray)
        selected = np.ma.filled(mask, False) if is_masked else np.asarray(mask)
        if selected.ndim != 1 or not selected.any():
            msg = (
                f"window: a mask of shape {selected.shape} with {np.count_nonzero(selected)} "
                f"selected pixels; expected one bool per pixel, shape (L,), some of them True"
            )
            raise WavelengthError(msg)
        edges = pixel_spans(np.flatnonzero(selected)).ravel().tolist()
        return cls(len(selected), tuple(edges))

    @property
    def spans(self) -> npt.NDArray[np.int64]:
        """First pixel and end of each run of selected pixels, shape (K, 2)."""
        return np.array(self.edges, dtype=np.int64).reshape(-1, 2)

    @property
    def pixels(self) -> npt.NDArray[np.int64]:
        """The selected pixels, shape (n,), increasing."""
        return np.concatenate([np.arange(first, end) for first, end in self.spans.tolist()])


Range: TypeAlias = tuple[float, float]
"""A range (low, high) in Å; both ends are included."""

PlainWindow: TypeAlias = str | Range | tuple[str | Range, ...] | PixelMask | None
"""A window as plain values, as datasets, settings and files hold it; None for every pixel."""

Window: TypeAlias = (
    PlainWindow
    | Sequence[float]
    | Sequence[bool]
    | Sequence[str | Sequence[float] | npt.NDArray[Any]]
    | npt.NDArray[Any]
)
"""A window as users give it: ranges may be lists or arrays too, also with a unit."""


def check_window(window: Window) -> PlainWindow:
    """Return a window as plain Python values.

    Parameters
    ----------
    window : str, (float, float), sequence of them, mask, PixelMask or None
        A camera (``"blue"``, ``"green"``, ``"red"``, ``"infrared"``); a range in Å, or
        in the unit that it states; several cameras and ranges; one bool per pixel;
        ``"no-tellurics"``, all but the oxygen A band; ``"galah-cnn"``, what the network of
        GALAH's reduction pipeline reads of each camera; or None for every pixel.

    Raises
    ------
    WavelengthError
        If it is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> from galahstream.survey.windows import check_window
    >>> check_window(np.array([6550, 6580]))
    (6550.0, 6580.0)
    >>> check_window(["red", [4850, 4870]])
    ('red', (4850.0, 4870.0))
    >>> check_window(np.arange(64) % 32 < 8)
    <mask of 16 of 64 pixels: 0:8, 32:40>
    """
    if window is None or isinstance(window, PixelMask):
        return window
    if isinstance(window, str):
        return str(window) if window in SELECTIONS else _camera_name(window)
    if _is_mask(window):
        return PixelMask.of_array(cast(npt.ArrayLike, window))
    # The items of an array do not always state its unit.
    values: Any = window if isinstance(window, list | tuple) else in_angstrom(window, "window")
    if not _is_several(values):
        return _plain_range(values)
    if len(values) == 1:
        return check_window(values[0])
    return tuple(_camera_name(x) if isinstance(x, str) else _plain_range(x) for x in values)


def window_from_file(value: object) -> PlainWindow:
    """Return the window of a run that a file holds, after checking it.

    Raises
    ------
    ValueError
        If it cannot be a window.
    """
    if isinstance(value, dict):
        return from_mapping(PixelMask, value)
    if not isinstance(value, str | list | tuple):
        raise _unknown_window(value)
    return check_window(value)


def window_pixels(
    wavelength: npt.NDArray[np.float64], window: Window, name: str = "this store"
) -> npt.NDArray[np.int64]:
    """Return the pixels of a window.

    Parameters
    ----------
    wavelength : ndarray, shape (L,), float64
        Increasing wavelengths in Å; all NaN if they are unknown.
    window : str, (float, float), sequence of them, mask, PixelMask or None
        See :func:`check_window`.
    name : str
        What messages call the store.

    Returns
    -------
    ndarray, shape (n,), int64
        At least one, increasing, each once.

    Raises
    ------
    WavelengthError
        If the window cannot be used, the wavelengths it needs are not known, the mask has
        another length than the spectra, or a camera or range has no pixel.
    """
    plain = check_window(window)
    if plain is None:
        return np.arange(len(wavelength))
    if isinstance(plain, PixelMask):
        _check_length(plain, len(wavelength), name)
        return plain.pixels
    if not np.isfinite(wavelength).all():
        msg = (
            f"window {plain!r}: the wavelengths of {name} are not known; convert again with "
            f"a wavelength grid (--wavelength grid.npy), or use no window"
        )
        raise WavelengthError(msg)
    if plain == _NO_TELLURICS:
        return _pixels_without(OXYGEN_A_BAND, wavelength, name)
    selected = np.zeros(len(wavelength), dtype=np.bool_)
    for part, (low, high) in _named_ranges(plain):
        start = int(np.searchsorted(wavelength, low, side="left"))
        stop = int(np.searchsorted(wavelength, high, side="right"))
        if start == stop:
            raise _empty_window(part, (low, high), wavelength, name)
        selected[start:stop] = True
    return np.flatnonzero(selected)


def pixel_spans(pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return first pixel and end of each run of adjacent pixels, shape (K, 2).

    Parameters
    ----------
    pixels : ndarray, shape (n,), int64
        Increasing, at least one.
    """
    runs = np.flatnonzero(np.diff(pixels) != 1) + 1
    firsts, lasts = pixels[np.append(0, runs)], pixels[np.append(runs, len(pixels)) - 1]
    return np.stack((firsts, lasts + 1), axis=1)


def _is_mask(window: object) -> bool:
    if isinstance(window, list | tuple):
        return bool(window) and all(isinstance(value, bool | np.bool_) for value in window)
    # torch cannot be imported here: it calls the type by this name.
    return str(getattr(window, "dtype", "")) in ("bool", "torch.bool")


def _is_several(values: Any) -> bool:
    """Return whether values are several windows instead of the ends of a range."""
    try:
        items = list(values)
    except TypeError:
        return False
    return any(
        isinstance(item, str | list | tuple) or getattr(item, "ndim", 0) > 0 for item in items
    )


def _plain_range(window: Any) -> Range:
    try:
        edges = in_angstrom(list(window) if stated_unit(window) is None else window, "window")
        low, high = (float(edge) for edge in edges)
    except WavelengthError:
        raise
    except (TypeError, ValueError, OverflowError):
        low = high = float("nan")
    if not low < high:
        msg = f"window {shown(window)} is not a range; expected low < high in Å, or "
        raise WavelengthError(msg + _OTHERS)
    return low, high


def _camera_name(name: str) -> str:
    for camera in CAMERAS:
        if camera.name == name:
            return camera.name
    if name in SELECTIONS:
        others = " and ".join(repr(one) for one in SELECTIONS)
        msg = f"window {name!r} among several; {others} cannot be combined: give ranges in Å"
        raise WavelengthError(msg)
    raise _unknown_window(name)


def _unknown_window(window: object) -> WavelengthError:
    msg = f"window {shown(window)} is not known; expected a range (low, high) in Å, {_OTHERS}"
    return WavelengthError(msg)


def _check_length(mask: PixelMask, n_pixels: int, name: str) -> None:
    if mask.n_pixels != n_pixels:
        msg = (
            f"window: a mask of {mask.n_pixels} pixels, and the spectra of {name} have "
            f"{n_pixels}; give one bool per pixel (window=)"
        )
        raise WavelengthError(msg)


def _pixels_without(
    band: Range, wavelength: npt.NDArray[np.float64], name: str
) -> npt.NDArray[np.int64]:
    low, high = band
    pixels = np.flatnonzero((wavelength <= low + _ROUNDING) | (wavelength >= high - _ROUNDING))
    if len(pixels) == 0:
        msg = (
            f"window {_NO_TELLURICS!r}: every pixel of {name} is within {low:.2f} to {high:.2f} "
            f"Å, the oxygen A band; choose another window (window=, --window)"
        )
        raise WavelengthError(msg)
    return pixels


def _named_ranges(window: str | Range | tuple[str | Range, ...]) -> list[tuple[str | Range, Range]]:
    """Return each range of a window, with the part of the window that it stands for."""
    if window == _GALAH_CNN:
        return [(_GALAH_CNN, (low - _ROUNDING, high + _ROUNDING)) for low, high in GALAH_CNN_RANGES]
    is_one = isinstance(window, str) or isinstance(window[0], float)
    parts = cast("tuple[str | Range, ...]", (window,) if is_one else window)
    return [(part, _camera_range(part) if isinstance(part, str) else part) for part in parts]


def _camera_range(name: str) -> Range:
    (camera,) = (camera for camera in CAMERAS if camera.name == name)
    return camera.start - _CAMERA_MARGIN, camera.stop + _CAMERA_MARGIN


def _empty_window(
    part: str | Range, limits: Range, wavelength: npt.NDArray[np.float64], name: str
) -> WavelengthError:
    after = int(np.searchsorted(wavelength, limits[0]))
    covered = f"{name} covers {wavelength[0]:.2f} to {wavelength[-1]:.2f} Å"
    if 0 < after < len(wavelength):
        covered += f", but nothing from {wavelength[after - 1]:.2f} to {wavelength[after]:.2f} Å"
    msg = (
        f"window {part!r}: no pixel is within {limits[0]:.2f} to {limits[1]:.2f} Å; {covered}: "
        f"choose a window that it covers (window=, --window)"
    )
    return WavelengthError(msg)
