"""Spectra in memory become the same source as in files, and what does not fit is explained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from astropy import units

import galahstream as gs
from galahstream.errors import (
    BadSpectraError,
    GalahStreamError,
    LabelError,
    OptionError,
    SourceShapeError,
)
from galahstream.sources.memory import MemorySource
from galahstream.sources.open import open_source
from tests.sources.contract import read_all
from tests.sources.files import FLUX, IDS, LABELS, LARGE, N_STARS


@pytest.mark.parametrize(
    "flux",
    [
        FLUX, FLUX.astype(">f8"), np.asfortranarray(FLUX), np.repeat(FLUX, 2, axis=0)[::2],
        torch.from_numpy(FLUX), np.ma.MaskedArray(FLUX),
    ],
    ids=["float32", "big-endian float64", "Fortran", "strided", "tensor", "nothing masked"],
)  # fmt: skip
def test_flux_of_any_layout_is_read_exactly(flux: np.ndarray) -> None:
    for source in (open_source(flux), open_source((flux, LABELS)), open_source((flux, None))):
        assert read_all(source, 7).tobytes() == FLUX.tobytes()
        assert source.fingerprint == MemorySource(FLUX).fingerprint


def test_a_memory_map_is_not_copied_and_names_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "spectra.npy", FLUX)
    mapped = np.load(tmp_path / "spectra.npy", mmap_mode="r")
    source = MemorySource(mapped)
    assert np.shares_memory(source._flux, mapped)
    assert source.files == (tmp_path / "spectra.npy",)


def test_a_mapping_is_read_like_the_datasets_of_a_file() -> None:
    names = np.array(["star"] * N_STARS)
    columns = {"teff": LABELS[:, 0], "large": LARGE, "sobject_id": IDS}
    source = MemorySource(FLUX, columns)
    assert source.label_names == ("teff",)
    assert source.label_units == ("K",)
    assert np.array_equal(source.ids, IDS)
    assert np.array_equal(source.read_column("large"), LARGE)
    renamed = MemorySource(FLUX, {**columns, "name": names}, ["t[km/s]=teff"])
    assert (renamed.label_names, renamed.label_units) == (("t",), ("km/s",))


@pytest.mark.parametrize(
    ("flux", "labels", "choice", "match"),
    [
        (FLUX[0], None, None, "flux array: an array of shape"),
        (FLUX[:0], None, None, "none of them 0"),
        (FLUX.astype(object), None, None, "flux of dtype object"),
        (FLUX.astype(str), None, None, "flux of dtype <U"),
        (FLUX.astype(complex), None, None, "flux of dtype complex128"),
        (FLUX > 1, None, None, "flux of dtype bool"),
        ([[1, 2], [3]], None, None, "cannot read a list as an array"),
        (torch.ones(2, 3, requires_grad=True), None, None, r"detach\(\)"),
        (np.ma.masked_less(FLUX, 1), None, None, "flux array: some values are masked"),
        (FLUX, np.ma.masked_less(LABELS, 0), None, "labels array: some values are masked"),
        (FLUX, LABELS[1:], None, "labels array has 22 rows and the spectra have 23"),
        (FLUX, LABELS[:, 0], ["teff"], r"shape \(stars, columns\)"),
        (FLUX, LABELS.astype(str), None, "labels need numbers"),
        (FLUX, LABELS.astype(complex), None, "labels need numbers"),
        (FLUX, LABELS[:, :3], None, "name yours in their order"),
        (FLUX, LABELS[:, :3], ["teff", "logg"], "no label column 'teff'"),
        (FLUX, None, ["teff"], "only spectra"),
        (FLUX, {"teff": LABELS[1:, 0]}, None, "column 'teff'.*each of the 23 spectra"),
        (FLUX, {"name": np.array(["a"] * N_STARS)}, None, "column 'name'.*real number"),
        (FLUX, {"teff": LABELS[:, 0] * 1j}, None, "column 'teff'.*real number"),
        (FLUX, {"teff": LABELS[:, 0]}, ["logg"], "no column 'logg'; the mapping has teff"),
        (FLUX, {"ids": LABELS[:, 0]}, None, "column 'ids'.*expected one integer"),
        (FLUX, {"teff": LARGE}, ["teff"], None),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_explained(
    flux: object, labels: object, choice: list[str] | None, match: str | None
) -> None:
    with pytest.raises(GalahStreamError, match=match):
        MemorySource(flux, labels, choice).read_labels()


def test_values_beyond_float32_are_named() -> None:
    with pytest.raises(GalahStreamError, match="row 1, pixel 0 is too large"):
        list(MemorySource([[1.0, 1.0], [1e300, 1.0]]).iter_blocks(2))


def test_a_pair_of_a_path_and_an_array_is_refused() -> None:
    with pytest.raises(OptionError, match="two arrays"):
        open_source((Path("spectra.npy"), LABELS))  # type: ignore[arg-type]


def test_an_empty_spectrum_is_named_by_its_row(tmp_path: Path) -> None:
    flux = np.ones((30, 4))
    flux[5] = np.nan
    with pytest.raises(BadSpectraError, match="flux array: the spectrum of row 5"):
        gs.convert(flux, tmp_path / "store")


def test_a_choice_needs_known_columns() -> None:
    with pytest.raises(LabelError, match="no column 'snr'"):
        MemorySource(FLUX, {"teff": LABELS[:, 0]}, {"teff": "snr"})


def test_units_of_the_columns_of_a_mapping_are_kept() -> None:
    columns = {"teff": units.Quantity(LABELS[:, 0], "kK"), "logg": LABELS[:, 1]}
    source = MemorySource(FLUX, columns)
    assert source.label_units == ("kK", "dex")
    assert np.array_equal(source.read_column("teff"), LABELS[:, 0], equal_nan=True)
    assert MemorySource(FLUX, columns, ["teff[K]"]).label_units == ("K",)


@pytest.mark.parametrize("unit", ["adu", "erg / (s cm2 AA)", "%"])
def test_flux_in_other_units_than_the_continuum_is_rejected(unit: str) -> None:
    with pytest.raises(SourceShapeError, match="flux array: its unit is"):
        MemorySource(units.Quantity(FLUX, unit))


def test_flux_without_dimension_is_relative_flux() -> None:
    assert read_all(MemorySource(units.Quantity(FLUX)), 5).tobytes() == FLUX.tobytes()


def test_one_unit_for_all_columns_is_rejected() -> None:
    with pytest.raises(LabelError, match="'K', and each column has its own"):
        MemorySource(FLUX, units.Quantity(LABELS, "K"))
