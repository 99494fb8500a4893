"""What selecting stars of a catalogue did: stars that each cut removed, and flags that are set."""

from dataclasses import dataclass
from functools import partial

from galahstream import validation
from galahstream.validation import checked

_text = partial(validation.text, max_length=1024)


@dataclass(frozen=True)
class Cut:
    """A condition that stars had to meet.

    Attributes
    ----------
    condition : str
        The condition, as text for people.
    removed : int
        Number of stars that it removed from those that the cuts before it left.
    unknown : int
        How many of these were removed because a value that decides is missing.
    """

    condition: str = checked(_text)
    removed: int = checked(validation.integer)
    unknown: int = checked(validation.integer, default=0)


@dataclass(frozen=True)
class FlagCount:
    """The number of stars that have a bit of a catalogue's flag set.

    Attributes
    ----------
    column : str
        The flag, ``"flag_sp"`` for example.
    bit : int
        Value of the bit, a power of two.
    meaning : str
        What the release means by it.
    stars : int
    """

    column: str = checked(_text)
    bit: int = checked(partial(validation.integer, minimum=1))
    meaning: str = checked(_text)
    stars: int = checked(validation.integer)
