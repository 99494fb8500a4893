"""Checks of arguments, and of what a file claims about itself.

The ``check_…`` functions are for arguments: they return the value as a plain
Python object, so that NumPy scalars can be used wherever Python numbers can, or
raise `OptionError`.

The others are for values read from a file, which a hostile author may have
chosen freely: they return the value with its type, or raise ``ValueError`` with
what was expected. The reader of the file adds its name and what to do.
"""

import math
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from galahstream.errors import OptionError

_Value = TypeVar("_Value")

MAX_SEED = 2**63 - 1
"""The largest seed that manifests, model files and checkpoints can hold."""

MAX_TEXT_LENGTH = 1024
_MAX_SHOWN_LENGTH = 60


def check_count(name: str, value: object, *, minimum: int) -> int:
    """Return an integer option as ``int``.

    Raises
    ------
    OptionError
        If it is not an integer, or smaller than `minimum`.
    """
    try:
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        count = None
    if isinstance(value, bool) or count is None or count < minimum:
        msg = f"{name} {value!r} cannot be used; expected an integer of at least {minimum}"
        raise OptionError(msg)
    return count


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raise `OptionError` if an option is not one of the allowed words."""
    if value not in allowed:
        msg = f"{name} {value!r} is not known; expected {' or '.join(allowed)}"
        raise OptionError(msg)


def integer(value: Any, minimum: int = 0, maximum: int = 2**63 - 1) -> int:
    """Return an integer within limits."""
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise _unexpected(value, f"an integer from {minimum} to {maximum}")
    return value


def number(value: Any, above: float = -math.inf) -> float:
    """Return a finite number above a limit."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # An integer can be larger than any float.
    if not is_number or not above < value <= sys.float_info.max or not -sys.float_info.max <= value:
        limit = f" above {above:g}" if above > -math.inf else ""
        raise _unexpected(value, "a finite number" + limit)
    return float(value)


def text(value: Any, max_length: int = MAX_TEXT_LENGTH) -> str:
    """Return a printable text of limited length."""
    if not isinstance(value, str) or len(value) > max_length or not value.isprintable():
        raise _unexpected(value, f"printable text of at most {max_length} characters")
    return value


def one_of(value: Any, *allowed: str) -> str:
    """Return one of a few words."""
    if not isinstance(value, str) or value not in allowed:
        raise _unexpected(value, f"one of {', '.join(allowed)}")
    return value


def sequence(
    value: Any, check: Callable[[Any], _Value], *, minimum: int = 0, maximum: int
) -> tuple[_Value, ...]:
    """Return a list or tuple of limited length as a tuple, each value checked."""
    if not isinstance(value, list | tuple) or not minimum <= len(value) <= maximum:
        raise _unexpected(value, f"a list of {minimum} to {maximum} values")
    return tuple(check(item) for item in value)


def mapping(value: Any, *names: str) -> dict[str, Any]:
    """Return an object that has exactly these fields."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise _unexpected(value, f"an object with the fields {', '.join(names)}")
    return value


def optional(check: Callable[[Any], _Value]) -> Callable[[Any], _Value | None]:
    """Return a check that accepts None too."""
    return lambda value: None if value is None else check(value)


def _unexpected(value: Any, expected: str) -> ValueError:
    try:
        found = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        found = "a number of thousands of digits"
    if len(found) > _MAX_SHOWN_LENGTH:
        found = found[:_MAX_SHOWN_LENGTH] + "..."
    return ValueError(f"found {found}, expected {expected}")
