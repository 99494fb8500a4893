"""The progress bar of long work."""

from typing import Any

from tqdm.auto import tqdm


def progress_bar(
    total: int, description: str, *, unit: str = " stars", initial: int = 0, enabled: bool = True
) -> Any:
    """Return a bar to use as a context manager and to move on with ``update(n)``.

    It is drawn on a terminal alone, and only if the work takes longer than a second.

    Parameters
    ----------
    total : int
        Amount of work, in `unit`.
    description : str
        Text in front of the bar.
    unit : str
    initial : int
        Work that was done before.
    enabled : bool
        False draws nothing.
    """
    return tqdm(
        total=total,
        initial=initial,
        desc=description,
        unit=unit,
        delay=1,
        disable=None if enabled else True,
    )
