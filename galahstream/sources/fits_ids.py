"""Ids of stars in other catalogues, from the headers of GALAH's DR4 files."""

import warnings
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.errors import ExtraMissingError, SourceFormatError
from galahstream.sources.base import explain_access_errors

HEADER_IDS = {"tmass_id": "2MASS_ID", "gaiadr3_source_id": "GAIA_ID"}
"""Keywords of a star's ids by the names of the catalogue's columns; DR3 files have neither."""


def read_header_ids(paths: Iterable[Path], name: str) -> npt.NDArray[np.str_]:
    """Return an id of each star as text, from one file per star; empty where there is none.

    Only the first header of each file is read.

    Parameters
    ----------
    paths : iterable of Path
        One file of each star.
    name : str
        A name of `HEADER_IDS`.

    Raises
    ------
    ExtraMissingError
        If astropy is not installed.
    SourceFormatError, SourceAccessError
        If a file is damaged or cannot be read.
    """
    try:
        fits = import_module("astropy.io.fits")
    except ImportError as error:
        msg = "reading FITS files needs astropy: pip install 'galahstream[fits]'"
        raise ExtraMissingError(msg) from error
    found = []
    for path in paths:
        try:
            with (
                explain_access_errors(path),
                warnings.catch_warnings(action="ignore"),
                fits.open(path, memmap=False, lazy_load_hdus=True) as extensions,
            ):
                found.append(str(extensions[0].header.get(HEADER_IDS[name], "")).strip())
        except OSError as error:
            msg = f"{path}: not a FITS file, or a damaged one ({error}); copy the file again"
            raise SourceFormatError(msg) from error
    return np.array(found, dtype=np.str_)
