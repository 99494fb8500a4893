"""GALAH's releases as catalogues show them: flag_sp, and the cuts that each release recommends.

Sources: Buder et al. 2021, MNRAS 506, 150 (DR3), and Buder et al. 2025 (DR4).

Examples
--------
>>> from galahstream.survey.flags import release_of
>>> release_of(["sobject_id", "teff", "snr_px_ccd3"]).name
'DR4'
>>> release_of(["sobject_id", "teff"]) is None
True
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError
from galahstream.survey.selection import FlagCount

FLAG_COLUMN = "flag_sp"
"""The column of the quality flag of a star's parameters."""

GROUP_COLUMNS = ("star_id", "tmass_id", "gaiadr3_source_id")
"""Columns that tell which observations are of one star, the best first."""

VELOCITY_COLUMNS = ("rv_comp_1", "rv_com")
"""Columns of the radial velocity in km/s, the best first: catalogue, then reduction table."""


@dataclass(frozen=True)
class Release:
    """A data release, as its catalogue shows it.

    Attributes
    ----------
    name : str
    marks : frozenset of str
        Columns that only this release has, in lower case.
    flags : mapping of int to str
        Meaning of each bit of flag_sp; 0 is good.
    recommended : tuple of str
        Conditions that the release recommends.
    """

    name: str
    marks: frozenset[str]
    flags: Mapping[int, str]
    recommended: tuple[str, ...]


DR3 = Release(
    "DR3",
    frozenset(("snr_c2_iraf", "snr_c3_iraf", "rv_galah", "star_id", "dr3_source_id")),
    {
        1: "astrometry",
        2: "broadening",
        4: "SNR below 10",
        8: "reduction",
        16: "emission",
        32: "binary, by its spectrum",
        64: "binary or pre-main-sequence",
        128: "chi squared",
        256: "iron lines",
        512: "no convergence",
        1024: "limit of the model grid",
    },
    ("flag_sp == 0", "flag_fe_h == 0", "snr_c3_iraf > 30"),
)

# flag_fe_h is not among DR4's cuts: its authors advise against it.
DR4 = Release(
    "DR4",
    frozenset(("snr_px_ccd3", "rv_comp_1", "gaiadr3_source_id")),
    {
        1: "emission",
        2: "camera missing",
        4: "single-lined binary",
        8: "double-lined binary",
        16: "chi squared",
        32: "v sin i",
        64: "microturbulence",
        128: "triple star",
        256: "Teff",
        512: "log g",
        1024: "[Fe/H]",
        2048: "low SNR",
        4096: "no convergence",
        8192: "outside of the model grid",
        16384: "no result",
    },
    ("flag_sp == 0", "snr_px_ccd3 > 30"),
)


def release_of(columns: Iterable[str]) -> Release | None:
    """Return the release that a catalogue with these columns is of; None for any other."""
    names = {column.casefold() for column in columns}
    found = [release for release in (DR3, DR4) if release.marks & names]
    return found[0] if len(found) == 1 else None


def recommended_conditions(columns: Iterable[str], name: str) -> tuple[str, ...]:
    """Return the conditions that the release of a catalogue recommends.

    Parameters
    ----------
    columns : iterable of str
        The catalogue's columns, which tell its release.
    name : str
        What messages call the catalogue.

    Raises
    ------
    OptionError
        If the catalogue is not of DR3 or DR4, or lacks a column of the conditions.
    """
    names = list(columns)
    release = release_of(names)
    if release is None:
        msg = (
            f"{name}: its columns are not those of GALAH DR3 ({', '.join(sorted(DR3.marks))}) or "
            f"DR4 ({', '.join(sorted(DR4.marks))}), whose recommended cuts are known; give cuts "
            f"of your own with where= (--where)"
        )
        raise OptionError(msg)
    known = {column.casefold() for column in names}
    missing = [rule for rule in release.recommended if rule.split()[0] not in known]
    if missing:
        msg = (
            f"{name}: GALAH {release.name} recommends {' and '.join(release.recommended)}, and "
            f"the catalogue has no column for {' and '.join(missing)}; give cuts of your own "
            f"with where= (--where)"
        )
        raise OptionError(msg)
    return release.recommended


def count_flags(values: npt.NDArray[np.integer[Any]], release: Release) -> tuple[FlagCount, ...]:
    """Return how many stars have each bit of flag_sp, without the bits that no star has.

    Parameters
    ----------
    values : ndarray of int, shape (n,)
        flag_sp of the stars.
    release : Release
        Bits that it does not define are counted too, as unknown.
    """
    values = values[values > 0]  # a negative value has no bits of its own
    used = int(np.bitwise_or.reduce(values)) if len(values) else 0
    bits = (1 << power for power in range(used.bit_length()))
    return tuple(
        FlagCount(
            FLAG_COLUMN,
            bit,
            release.flags.get(bit, f"unknown in {release.name}"),
            int(np.count_nonzero(values & bit)),
        )
        for bit in bits
        if used & bit
    )
