"""Ids of stars in other catalogues, from the headers of GALAH's DR4 files."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.errors import SourceFormatError
from galahstream.sources.base import OnBad
from galahstream.sources.fits_file import FitsFile, read_fits

HEADER_IDS = {"tmass_id": "2MASS_ID", "gaiadr3_source_id": "GAIA_ID"}
"""Keywords of a star's ids by the names of the catalogue's columns; DR3 files have neither."""


def read_header_ids(
    paths: Iterable[Path], name: str, on_bad: OnBad = "raise"
) -> npt.NDArray[np.str_]:
    """Return an id of each star as text, from one file per star; empty where there is none.

    Parameters
    ----------
    paths : iterable of Path
        One file of each star.
    name : str
        A name of `HEADER_IDS`.
    on_bad : {"raise", "skip"}
        With ``"skip"``, there is no id in a damaged file, which is named when the star is read.

    Raises
    ------
    SourceFormatError
        If a file is damaged, and `on_bad` is ``"raise"``.
    SourceAccessError, ExtraMissingError
        If a file cannot be read.
    """
    take = partial(_header_id, keyword=HEADER_IDS[name])
    found = []
    for path in paths:
        try:
            found.append(read_fits(path, take))
        except SourceFormatError:
            if on_bad == "raise":
                raise
            found.append("")
    return np.array(found, dtype=np.str_)


def _header_id(file: FitsFile, keyword: str) -> str:
    value = file.value(0, keyword)
    return "" if value is None else str(value).strip()
