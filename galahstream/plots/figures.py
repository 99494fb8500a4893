"""Figures without a screen: made by matplotlib, written whole."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from galahstream.errors import ExtraMissingError
from galahstream.system.atomic import atomic_write


def has_matplotlib() -> bool:
    """Return whether pictures can be made."""
    return find_spec("matplotlib") is not None


def new_figure(width: float, height: float) -> Any:
    """Return an empty matplotlib figure, in inches, that needs no window.

    Raises
    ------
    ExtraMissingError
        Without matplotlib.
    """
    if not has_matplotlib():
        msg = "pictures need matplotlib: pip install 'galahstream[plots]'"
        raise ExtraMissingError(msg)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, out: Path) -> None:
    """Write a figure as PNG, atomic_write the file whole."""
    with atomic_write(out) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
