"""How worker processes start, and values that must not cross a fork."""

import multiprocessing
import os
from collections.abc import Callable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


def safe_start_method() -> str:
    """Return the fastest method of starting a process that does not fork this one.

    A forked child inherits locks that are held by threads which it does not have.
    """
    methods = multiprocessing.get_all_start_methods()
    return "forkserver" if "forkserver" in methods else "spawn"


class PerProcess(Generic[_Value]):
    """A value that each process makes for itself on first use, such as a file handle.

    A forked child inherits the value of its parent and must not use it: the two
    would share file positions and caches.
    """

    def __init__(self) -> None:
        # Process and value together: another thread sees both or neither.
        self._owned: tuple[int, _Value] | None = None

    def get(self, make: Callable[[], _Value]) -> _Value:
        """Return the value of this process, made by `make` if there is none yet.

        Two threads that come first at the same time may both make one; the later stays.
        """
        owned = self._owned
        if owned is None or owned[0] != os.getpid():
            owned = self._owned = os.getpid(), make()
        return owned[1]

    def peek(self) -> _Value | None:
        """Return the value if this process made one, else None."""
        owned = self._owned
        return owned[1] if owned is not None and owned[0] == os.getpid() else None

    def pop(self) -> _Value | None:
        """Forget the value; return it if this process made it, else None."""
        value = self.peek()
        self._owned = None
        return value
