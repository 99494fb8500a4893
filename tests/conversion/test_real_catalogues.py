"""The catalogues and tables of the survey itself, joined to real and synthetic stars."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import galahstream as gs
from galahstream.errors import LabelError, OptionError
from galahstream.sources.catalogue import Catalogue
from galahstream.sources.galah_fits import FitsSource
from galahstream.sources.matching import match_stars
from galahstream.store import Store
from tests.sources.tables import write_table

VESTA = 210115002201239


def convert(source: Any, tmp_path: Path, **options: Any) -> Store:
    return gs.convert(source, tmp_path / "store", split=(1, 0, 0), progress=False, **options)


def spectra_of(ids: Any) -> tuple[Any, Any]:
    """Return synthetic spectra of stars with these ids."""
    ids = np.asarray(ids, dtype=np.int64)
    return np.ones((len(ids), 8), dtype=np.float32), {"sobject_id": ids}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def test_dr3_stars_get_the_labels_that_were_computed_for_them(
    real_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("astropy")
    path = real_data / "galah_dr3_labels.csv"
    store = convert(real_data / "galah_dr3", tmp_path, catalogue=path, on_bad="skip")
    expected = {int(row["sobject_id"]): row for row in rows_of(path)}
    assert len(store) + len(store.manifest.skipped) == 9
    for row, star in enumerate(store.ids.tolist()):
        for name, values in store.labels.items():
            assert values[row] == float(expected[star][name])
    assert store.label_units == {"teff": "K", "logg": "dex", "fe_h": "dex"}


def test_cuts_on_the_catalogue_of_m67_are_those_counted_by_hand(
    real_data: Path, tmp_path: Path
) -> None:
    path = real_data / "galah_dr3_m67_catalogue.csv"
    rows = rows_of(path)
    ids = [int(row["sobject_id"]) for row in rows]
    good = [row for row in rows if row["flag_sp"] == "0"]
    iron = [row for row in good if row["flag_fe_h"] == "0"]
    bright = [row for row in iron if row["snr_c2_iraf"] and float(row["snr_c2_iraf"]) > 30]
    assert len(rows) == 813
    store = convert(
        spectra_of([*ids, 1, 2]),
        tmp_path,
        catalogue=path,
        where="flag_sp == 0 and flag_fe_h == 0 and snr_c2_iraf > 30",
    )
    assert sorted(store.ids.tolist()) == sorted(int(row["sobject_id"]) for row in bright)
    assert [cut.removed for cut in store.manifest.cuts] == [
        len(rows) + 2 - len(good),
        len(good) - len(iron),
        len(iron) - len(bright),
    ]
    assert store.manifest.groups == "tmass_id"
    teff = {int(row["sobject_id"]): float(row["teff"]) for row in bright}
    assert [teff[star] for star in store.ids.tolist()] == store.labels["teff"].tolist()
    assert "e_teff" in store.labels


def test_the_extract_of_m67_lacks_what_the_recommended_cuts_need(
    real_data: Path, tmp_path: Path
) -> None:
    path = real_data / "galah_dr3_m67_catalogue.csv"
    with pytest.raises(OptionError, match=r"GALAH DR3 .* no column for snr_c3_iraf > 30"):
        convert(spectra_of([131217003901002]), tmp_path, catalogue=path, select="recommended")


def test_the_table_of_the_reduction_joins_its_stars(real_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("astropy")
    table = real_data / "galah_dr4" / "dr6.0_sample.fits"
    spectra = tmp_path / "spectra"
    spectra.mkdir()
    for path in (real_data / "galah_dr4").glob("2101150*.fits"):
        (spectra / path.name).symlink_to(path)
    labels = {"teff": "teff_r", "logg": "logg_r", "fe_h": "fe_h_r", "rv": "rv_com"}
    store = convert(spectra, tmp_path, catalogue=table, labels=labels)
    row = store.ids.tolist().index(VESTA)
    assert len(store) == 2
    assert round(store.labels["teff"][row]) == 5655
    assert round(store.labels["logg"][row], 2) == 4.31
    assert round(store.labels["fe_h"][row], 2) == 0.02
    assert "e_rv" in store.labels
    source, catalogue = FitsSource(spectra), Catalogue(table)
    by_id = match_stars(source, catalogue, "sobject_id")
    is_vesta = source.ids == VESTA  # which has neither of the other ids
    for join in ("tmass_id", "gaiadr3_source_id"):
        found = match_stars(source, catalogue, join).catalogue_rows
        assert found[~is_vesta].tolist() == by_id.catalogue_rows[~is_vesta].tolist()
        assert found[is_vesta].tolist() == [-1]
    with pytest.raises(LabelError, match="'snr': not one real number per star"):
        catalogue.numbers("snr")
    with pytest.raises(LabelError, match="'cfg_file': text"):
        catalogue.numbers("cfg_file")


def test_labels_of_dr4_survive_each_format(real_data: Path, tmp_path: Path) -> None:
    with np.load(real_data / "galah_dr4_labels.npz") as file:
        ids, labels = file["sobject_id"], file["labels"]
    assert len(ids) == 7087
    flags = np.where(labels[:, 0] > 6000, 256, 0).astype(np.int32)
    columns = {
        "sobject_id": ids.astype(np.int64),
        "teff": labels[:, 0],
        "logg": labels[:, 1],
        "fe_h": labels[:, 2],
        "flag_sp": flags,
        "snr_px_ccd3": np.where(np.arange(7087) % 3 == 0, 20.0, 50.0),
    }
    catalogue = write_table(tmp_path / "catalogue", columns, "fits")
    store = convert(spectra_of(ids), tmp_path, catalogue=catalogue, select="recommended")
    good = (flags == 0) & (np.arange(7087) % 3 != 0)
    assert np.array_equal(np.sort(store.ids), np.sort(ids[good]))
    assert [cut.removed for cut in store.manifest.cuts] == [
        int(np.count_nonzero(flags)),
        int(np.count_nonzero((flags == 0) & ~good)),
    ]
    order = np.argsort(ids[good])
    stored = np.argsort(store.ids)
    assert np.array_equal(store.labels["teff"][stored], labels[good, 0].astype(np.float64)[order])


def test_benchmark_stars_are_grouped_by_name_and_two_hyphens_are_a_missing_value(
    real_data: Path, tmp_path: Path
) -> None:
    rows = rows_of(real_data / "galah_benchmark_stars.csv")
    ids = [int(row["sobject_id"]) for row in rows]
    store = gs.convert(
        spectra_of(ids),
        tmp_path / "store",
        catalogue=real_data / "galah_benchmark_stars.csv",
        groups="name",
        progress=False,
    )
    teff = np.array([np.nan if row["teff"] == "--" else float(row["teff"]) for row in rows])
    assert np.count_nonzero(np.isnan(teff)) == 2  # mu Ara and HD 140283
    assert np.array_equal(store.labels["teff"], teff[store.source_row], equal_nan=True)
    names = np.array([row["name"] for row in rows])[store.source_row]
    for name in ("18 Sco", "mu Leo", "HD 84937", "ksi Hya", "eta Boo"):
        assert np.count_nonzero(names == name) > 1
        assert len(set(store.split[names == name].tolist())) == 1
