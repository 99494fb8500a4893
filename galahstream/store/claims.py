"""Checks of values that a file claims: a hostile one can claim anything of any type and size.

Each function returns the value as its type, or raises ``ValueError`` with what
was expected; whoever reads the file adds its name and what to do.
"""

import math
import sys
from collections.abc import Callable
from typing import Any, TypeVar

_Value = TypeVar("_Value")

_LONGEST_TEXT = 1024
_LONGEST_FOUND = 60


def whole(value: Any, least: int = 0, most: int = 2**63 - 1) -> int:
    """Return a whole number within limits."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _unlike(value, f"a whole number from {least} to {most}")
    return value


def number(value: Any, above: float = -math.inf) -> float:
    """Return a finite number above a limit."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # A whole number can be larger than any float.
    if not is_number or not above < value <= sys.float_info.max or not -sys.float_info.max <= value:
        raise _unlike(value, "a finite number" + (f" above {above:g}" if above > -math.inf else ""))
    return float(value)


def text(value: Any, longest: int = _LONGEST_TEXT) -> str:
    """Return a printable text of limited length."""
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise _unlike(value, f"printable text of at most {longest} characters")
    return value


def one_of(value: Any, *allowed: str) -> str:
    """Return one of a few words."""
    if not isinstance(value, str) or value not in allowed:
        raise _unlike(value, f"one of {', '.join(allowed)}")
    return value


def items(
    value: Any, check: Callable[[Any], _Value], *, least: int = 0, most: int
) -> tuple[_Value, ...]:
    """Return a list or tuple of so many values, each checked."""
    if not isinstance(value, list | tuple) or not least <= len(value) <= most:
        raise _unlike(value, f"a list of {least} to {most} values")
    return tuple(check(item) for item in value)


def fields(value: Any, *names: str) -> dict[str, Any]:
    """Return an object that has these fields and no others."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise _unlike(value, f"an object with the fields {', '.join(names)}")
    return value


def or_none(check: Callable[[Any], _Value]) -> Callable[[Any], _Value | None]:
    """Return a check that lets None through."""
    return lambda value: None if value is None else check(value)


def _unlike(value: Any, expected: str) -> ValueError:
    try:
        found = repr(value)
    except ValueError:  # a whole number of more digits than Python prints
        found = "a number of thousands of digits"
    if len(found) > _LONGEST_FOUND:
        found = found[:_LONGEST_FOUND] + "..."
    return ValueError(f"found {found}, expected {expected}")
