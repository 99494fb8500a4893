"""Create matplotlib figures without a screen, and write them atomically."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from galahstream.errors import ExtraMissingError, OptionError
from galahstream.system.atomic import atomic_write, is_special_file

FigureFormat: TypeAlias = Literal["png", "pdf", "svg"]
"""The formats of figures, which are also the suffixes of their files."""

_DPI = 120


def has_matplotlib() -> bool:
    """Return whether figures can be drawn."""
    return find_spec("matplotlib") is not None


def new_figure(width: float, height: float) -> Any:
    """Return an empty matplotlib figure that needs no window.

    Parameters
    ----------
    width, height : float
        Size in inches.

    Raises
    ------
    ExtraMissingError
        If matplotlib is not installed.
    """
    if not has_matplotlib():
        msg = "plots need matplotlib: pip install 'galahstream[plots]'"
        raise ExtraMissingError(msg)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def figure_format(out: Path) -> FigureFormat:
    """Return the format of a figure from the suffix of its file.

    Devices and pipes without a suffix get PNG.

    Raises
    ------
    OptionError
        If the suffix is not that of a format.
    """
    suffix = out.suffix.lower().removeprefix(".")
    if not suffix and is_special_file(out):
        return "png"
    for name in get_args(FigureFormat):
        if suffix == name:
            return name  # type: ignore[no-any-return]
    endings = ", ".join(f".{name}" for name in get_args(FigureFormat))
    msg = f"{out}: the format of a plot is chosen by the suffix; expected one of {endings}"
    raise OptionError(msg)


def save_figure(figure: Any, out: Path) -> None:
    """Write a figure atomically, in the format of the suffix.

    Raises
    ------
    OptionError
        If the suffix is not that of a format.
    """
    kind = figure_format(out)
    with atomic_write(out) as temporary:
        figure.savefig(temporary, format=kind, dpi=_DPI)
