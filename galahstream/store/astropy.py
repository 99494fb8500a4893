"""Stars of a store as objects of astropy and specutils, with units."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.errors import ExtraMissingError, WavelengthError
from galahstream.store.protocol import SpectraStore
from galahstream.survey.splits import SPLIT_NAMES
from galahstream.survey.units import ascii_unit


def spectrum_of(store: SpectraStore, row: int) -> Any:
    """Return the spectrum of a row as a `specutils.Spectrum`.

    Raises
    ------
    ExtraMissingError
        If specutils is not installed.
    WavelengthError
        If the wavelengths of the store are not known.
    """
    specutils = _package("specutils", "a spectrum", "spectrum")
    units = import_module("astropy.units")
    uncertainties = import_module("astropy.nddata")
    if not np.isfinite(store.wavelength).all():
        msg = (
            f"{store.path}: its wavelengths are not known, and a spectrum needs them; convert with "
            f"them (wavelength=, --wavelength)"
        )
        raise WavelengthError(msg)
    flux = store.flux[row]
    error = None if store.error is None else store.error[row]
    return specutils.Spectrum(
        flux=flux * units.dimensionless_unscaled,
        spectral_axis=store.wavelength * units.AA,
        uncertainty=None if error is None else uncertainties.StdDevUncertainty(error),
        mask=~np.isfinite(flux),
        meta=_meta(store, row),
    )


def table_of(store: SpectraStore, split: npt.NDArray[np.uint8]) -> Any:
    """Return ids, splits and labels of all stars as an astropy `QTable`.

    Raises
    ------
    ExtraMissingError
        If astropy is not installed.
    """
    tables = _package("astropy.table", "a table", "fits")
    table, units = tables.QTable(), import_module("astropy.units")
    table["id"] = store.ids
    table["split"] = np.array(SPLIT_NAMES)[split]
    for name, values in store.labels.items():
        text = store.label_units[name]
        unit = units.Unit(ascii_unit(text), parse_strict="silent")
        if isinstance(unit, units.UnrecognizedUnit):  # any text of a user, which is kept as such
            table[name] = tables.Column(values, description=f"in {text}")
        else:
            table[name] = values * unit
    table.meta = {"store": str(store.path), **_provenance(store)}
    return table


def _meta(store: SpectraStore, row: int) -> dict[str, Any]:
    labels = {name: float(values[row]) for name, values in store.labels.items()}
    return {
        "id": int(store.ids[row]),
        "labels": labels,
        "label_units": dict(store.label_units),
        "wavelength_is_nominal": store.wavelength_is_nominal,
        "store": str(store.path),
        **_provenance(store),
    }


def _provenance(store: SpectraStore) -> Mapping[str, Any]:
    return {name: value for name, value in asdict(store.provenance).items() if value is not None}


def _package(module: str, what: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        msg = f"{what} needs {package}: pip install 'galahstream[{extra}]'"
        raise ExtraMissingError(msg) from error
