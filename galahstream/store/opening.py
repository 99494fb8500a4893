"""Explain errors of the operating system while a store is opened, which say nothing of damage."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from galahstream.errors import StoreFormatError
from galahstream.system.access import access_reason


@contextmanager
def explain_open_errors(path: Path) -> Iterator[None]:
    """Replace errors of the operating system by ones that say what it reported and the cure.

    Raises
    ------
    StoreFormatError
        If a file is locked, may not be read, or cannot be opened for another reason
        that has nothing to do with what it holds.
    """
    try:
        yield
    except OSError as error:
        # Readers of a format may have taken the system's error for damage.
        reported = error.__cause__ if isinstance(error, StoreFormatError) else error
        reason = access_reason(reported)
        if reason is None:
            raise
        name = getattr(reported, "filename", None) or path
        msg = f"{name} cannot be opened: {reason}"
        raise StoreFormatError(msg) from error
