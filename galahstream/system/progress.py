"""The progress bar shown during long work."""

from contextlib import AbstractContextManager
from typing import Protocol

from tqdm.auto import tqdm


class ProgressBar(AbstractContextManager["ProgressBar"], Protocol):
    """A progress bar, used as a context manager."""

    def update(self, n: int = 1) -> bool | None:
        """Report `n` more units of work as done."""

    def set_postfix(self, *, refresh: bool = True, **values: object) -> None:
        """Show values behind the bar."""


def progress_bar(
    total: int | None,
    description: str,
    *,
    unit: str = " stars",
    initial: int = 0,
    enabled: bool = True,
    scaled: bool = False,
) -> ProgressBar:
    """Return a progress bar that is drawn on terminals only, and only after one second.

    Parameters
    ----------
    total : int or None
        Amount of work, in `unit`; None if it is not known.
    description : str
        Text in front of the bar.
    unit : str
        Text behind the count of finished work.
    initial : int
        Work that was done by an earlier run.
    enabled : bool
        False never draws the bar.
    scaled : bool
        Show large numbers as 1.2k, 3.4M and so on.

    Examples
    --------
    >>> with progress_bar(8914, "verifying") as bar:
    ...     _ = bar.update(64)
    """
    bar: ProgressBar = tqdm(
        total=total,
        initial=initial,
        desc=description,
        unit=unit,
        delay=1,
        unit_scale=scaled,
        disable=None if enabled else True,
    )
    return bar
