"""The check of counts that many options share."""

from galahstream.errors import OptionError


def check_count(name: str, value: object, *, least: int) -> None:
    """Raise `OptionError` where an option is no whole number from `least` up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        msg = f"{name} {value!r} cannot be used; expected a whole number from {least} up"
        raise OptionError(msg)
