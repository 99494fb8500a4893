"""Names, units and columns of labels, as users write them and as stores keep them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from galahstream.errors import LabelError
from galahstream.survey.units import same_unit

KNOWN_LABELS = {
    "mass": "M☉",
    "age": "Gyr",
    "l_bol": "L☉",
    "dist": "pc",
    "teff": "K",
    "logg": "dex",
    "fe_h": "dex",
    "snr": "",
}
"""The eight label columns of the published set in their order, with units, under GALAH's names."""

DEFAULT_LABELS = ("teff", "logg", "fe_h")
"""The labels that a network learns by default: effective temperature, gravity, metallicity."""

LabelChoice: TypeAlias = str | Sequence[str] | Mapping[str, str | int] | None
"""Labels as ``"teff"``, ``["teff", "feh[dex]=FE_H"]`` or ``{"teff": "T_EFF"}``; None for all."""

# The published set spells some columns in its own way; stores carry GALAH's names.
_OTHER_SPELLINGS = {"t_eff": "teff", "log_g": "logg", "SNR": "snr", "logL": "logl"}
_PATTERN = re.compile(r"^(?P<name>\w+)(?:\[(?P<unit>[^\]]*)\])?(?:=(?P<column>.+))?$")


@dataclass(frozen=True)
class LabelColumnChoice:
    """One column to convert: its name and unit in the store, and its column in the source."""

    name: str
    unit: str
    column: str


def galah_name(column: str) -> str:
    """Return GALAH's name for a column of the published set; other names are returned as given."""
    return _OTHER_SPELLINGS.get(column, column)


def chosen_labels(
    choice: LabelChoice,
    columns: Iterable[str],
    stated_units: Mapping[str, str] = MappingProxyType({}),
) -> tuple[LabelColumnChoice, ...]:
    """Return the columns to convert.

    Parameters
    ----------
    choice : str, sequence of str, mapping or None
        Entries are ``name`` or ``name=column``, both with an optional ``[unit]``
        after the name. A text is one entry. None takes every column of the source.
    columns : iterable of str
        Names of the source's columns.
    stated_units : mapping of str to str
        Units that the source itself states, by column. A unit in `choice` replaces
        one of them; one of them replaces the usual unit of a known label.

    Returns
    -------
    tuple of LabelColumnChoice

    Raises
    ------
    LabelError
        If an entry cannot be read, or a name is given twice.
    """
    entries: list[tuple[str, str | None, str]]
    if choice is None:
        entries = [(galah_name(column), None, column) for column in columns]
    elif isinstance(choice, Mapping):
        entries = [(*_parse_entry(name)[:2], str(column)) for name, column in choice.items()]
    else:
        # A text is a sequence too, of its letters.
        entries = [
            _parse_entry(entry) for entry in ([choice] if isinstance(choice, str) else choice)
        ]
    names = [name for name, _, _ in entries]
    for name in names:
        if names.count(name) > 1:
            msg = f"label {name!r} is named twice in {', '.join(names)}; give each name once"
            raise LabelError(msg)
    return tuple(
        LabelColumnChoice(
            name, _unit(name, stated_units.get(column)) if unit is None else unit, column
        )
        for name, unit, column in entries
    )


def _unit(name: str, stated: str | None) -> str:
    """Return the unit of a label: what its source states, spelled as stores spell it."""
    usual = KNOWN_LABELS.get(name, "")
    return usual if not stated or same_unit(stated, usual) else stated


def _parse_entry(entry: object) -> tuple[str, str | None, str]:
    match = _PATTERN.match(entry.strip()) if isinstance(entry, str) else None
    if match is None:
        msg = (
            f"label {entry!r} cannot be read; expected a name, or name=column, with an optional "
            f"unit: teff, teff=T_EFF, 'teff[K]=0'"
        )
        raise LabelError(msg)
    return match["name"], match["unit"], match["column"] or match["name"]
