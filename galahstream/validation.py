"""Checks of arguments, and of values read from a file.

The ``check_…`` functions are for arguments: they return the value as a plain
Python object, so that NumPy scalars can be used wherever Python numbers can, or
raise `OptionError`.

The others are for values read from a file, which a hostile author may have
chosen freely: they return the value with its type, or raise ``ValueError`` with
what was expected. The reader of the file adds its name and what to do.

Examples
--------
A dataclass carries the check of each field, and is built from a mapping that
comes from a file:

>>> from dataclasses import dataclass
>>> from galahstream import validation
>>> @dataclass(frozen=True)
... class Star:
...     id: int = validation.checked(validation.integer)
...     name: str = validation.checked(validation.text, default="")
>>> validation.from_mapping(Star, {"id": 7})
Star(id=7, name='')
>>> validation.from_mapping(Star, {"id": "seven"})
Traceback (most recent call last):
    ...
galahstream.validation.FieldError: field 'id': found 'seven', expected an integer from 0 to ...
"""

import dataclasses
import math
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from galahstream.errors import OptionError

_Value = TypeVar("_Value")
Check: TypeAlias = Callable[[Any], _Value]
"""A check of one value: it returns the value with its type, or raises ``ValueError``."""

MAX_SEED = 2**63 - 1
"""The largest seed that manifests, model files and checkpoints can hold."""

MAX_TEXT_LENGTH = 1024
_MAX_SHOWN_LENGTH = 60
_CHECK = "galahstream check"


class FieldError(ValueError):
    """A field of a record is missing or has a value that cannot be.

    Attributes
    ----------
    field : str
        Name of the field; nested names are joined by dots, as in ``"labels.0.unit"``.
    reason : str
        What was found and what was expected.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"field {self.field!r}: {self.reason}"


def check_count(
    name: str, value: object, *, minimum: int, maximum: int | None = None, flag: str = ""
) -> int:
    """Return an integer option as ``int``; `flag` is its spelling on the command line.

    Raises
    ------
    OptionError
        If it is not an integer, smaller than `minimum`, or larger than `maximum`.
    """
    try:
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        count = None
    is_count = not isinstance(value, bool) and count is not None and count >= minimum
    if count is None or not is_count or (maximum is not None and count > maximum):
        limits = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        spelled = f" ({name}=, {flag})" if flag else ""
        msg = f"{name} {shown(value)} cannot be used; expected an integer {limits}{spelled}"
        raise OptionError(msg)
    return count


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raise `OptionError` if an option is not one of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        msg = f"{name} {shown(value)} is not known; expected {' or '.join(allowed)}"
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
    if float(value) != value:
        raise _unexpected(value, "a number that 64 bits of floating point hold exactly")
    return float(value)


def number_or_nan(value: Any) -> float:
    """Return a number, NaN and infinities included."""
    if isinstance(value, float) and not math.isfinite(value):
        return value
    return number(value)


def boolean(value: Any) -> bool:
    """Return True or False."""
    if not isinstance(value, bool):
        raise _unexpected(value, "true or false")
    return value


def text(value: Any, max_length: int = MAX_TEXT_LENGTH) -> str:
    """Return a printable text of limited length."""
    if not isinstance(value, str) or len(value) > max_length or not value.isprintable():
        raise _unexpected(value, f"printable text of at most {max_length} characters")
    return value


def one_of(value: Any, allowed: Sequence[str]) -> str:
    """Return one of a few words."""
    if not isinstance(value, str) or value not in allowed:
        raise _unexpected(value, f"one of {', '.join(allowed)}")
    return value


def sequence(
    value: Any, check: Check[_Value], *, minimum: int = 0, maximum: int
) -> tuple[_Value, ...]:
    """Return a list or tuple of limited length as a tuple, each value checked."""
    if not isinstance(value, list | tuple) or not minimum <= len(value) <= maximum:
        raise _unexpected(value, f"a list of {minimum} to {maximum} values")
    checked_values = []
    for index, item in enumerate(value):
        try:
            checked_values.append(check(item))
        except FieldError as error:
            raise FieldError(f"{index}.{error.field}", error.reason) from error
    return tuple(checked_values)


def mapping(value: Any, *names: str) -> dict[str, Any]:
    """Return an object that has exactly these fields."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise _unexpected(value, f"an object with the fields {', '.join(names)}")
    return value


def optional(check: Check[_Value]) -> Check[_Value | None]:
    """Return a check that accepts None too."""
    return lambda value: None if value is None else check(value)


def record(cls: type[_Value]) -> Check[_Value]:
    """Return a check that builds a dataclass of checked fields from a mapping."""
    return lambda value: from_mapping(cls, value)


def checked(check: Check[Any], default: Any = dataclasses.MISSING) -> Any:
    """Return a dataclass field whose value :func:`from_mapping` checks.

    Parameters
    ----------
    check : callable
        One of the checks of this module, or a function like them.
    default : optional
        Value of the field where the mapping has none.

    Returns
    -------
    dataclasses.Field
    """
    return dataclasses.field(default=default, metadata={_CHECK: check})


def from_mapping(cls: type[_Value], value: Any, *, ignore_unknown: bool = False) -> _Value:
    """Build a dataclass from a mapping that comes from a file.

    Each field is made with :func:`checked`. A check across several fields belongs
    into ``__post_init__``, which raises `FieldError` or another ``ValueError``.

    Parameters
    ----------
    cls : type
        The dataclass.
    value
        The mapping, of any type: a hostile author may have chosen it.
    ignore_unknown : bool
        Accept fields that the dataclass does not have.

    Raises
    ------
    FieldError
        If a field is missing, unknown, or its value fails its check.
    ValueError
        If `value` is not a mapping.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if not isinstance(value, dict):
        raise _unexpected(value, f"an object with the fields {', '.join(fields)}")
    unknown = [name for name in value if name not in fields]
    if unknown and not ignore_unknown:
        reason = f"it is not known, expected {', '.join(fields)}"
        raise FieldError(str(unknown[0])[:_MAX_SHOWN_LENGTH], reason)
    values = {}
    for name, field in fields.items():
        if name in value:
            values[name] = _checked_value(name, field.metadata[_CHECK], value[name])
        elif field.default is dataclasses.MISSING:
            raise FieldError(name, "it is missing")
    return cls(**values)


def _checked_value(name: str, check: Check[Any], value: Any) -> Any:
    try:
        return check(value)
    except FieldError as error:
        raise FieldError(f"{name}.{error.field}", error.reason) from error
    except ValueError as error:
        raise FieldError(name, str(error)) from error


def shown(value: object) -> str:
    """Return a value as messages show it: its repr, shortened."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= _MAX_SHOWN_LENGTH else text[:_MAX_SHOWN_LENGTH] + "..."


def _unexpected(value: Any, expected: str) -> ValueError:
    return ValueError(f"found {shown(value)}, expected {expected}")
