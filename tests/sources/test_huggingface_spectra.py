"""Spectra of the hub in another frame, on a grid and with errors are those of local files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import BadSpectraError, OptionError
from galahstream.store import Store
from tests.sources.files import STAR, write_calibrated_star
from tests.sources.hub_server import ADDRESS, Hub, contents
from tests.sources.parquet_files import ERROR, columns, write_parquet

pytest.importorskip("huggingface_hub")

REST: dict[str, Any] = {"frame": "rest", "grid": "hermes", "errors": True}


@pytest.fixture
def stars(hub: Hub, tmp_path: Path) -> Path:
    folder = tmp_path / "stars"
    for number, cameras in enumerate(("1234", "124", "1234")):
        write_calibrated_star(folder, STAR + number, "DR4", np.sin, 30.0, cameras=cameras)
    hub.commit(contents(folder, "night/"))
    return folder


def assert_same(found: Store, expected: Store) -> None:
    assert np.array_equal(found.flux[:], expected.flux[:], equal_nan=True)
    assert np.array_equal(found.ids, expected.ids)
    assert found.provenance.frame == expected.provenance.frame
    assert found.provenance.grid == expected.provenance.grid
    assert (found.error is None) == (expected.error is None)
    if found.error is not None and expected.error is not None:
        assert np.array_equal(found.error[:], expected.error[:], equal_nan=True)


@pytest.mark.parametrize(
    "options", [REST, {"grid": "galah-cnn"}, {**REST, "missing_camera": "skip"}, {"errors": True}]
)
def test_star_files_become_what_local_ones_become(
    stars: Path, tmp_path: Path, options: Mapping[str, Any]
) -> None:
    assert_same(
        convert(f"{ADDRESS}/night", tmp_path / "hub", **options),
        convert(stars, tmp_path / "local", **options),
    )


def test_velocities_of_a_catalogue_and_its_cuts_count_for_star_files(
    stars: Path, tmp_path: Path
) -> None:
    catalogue = tmp_path / "cat.csv"
    rows = [f"{STAR + i},{5000 + i},4,0,{-20 * i}" for i in range(3)]
    catalogue.write_text("\n".join(["sobject_id,teff,logg,fe_h,rv_comp_1", *rows]))
    options = {**REST, "catalogue": catalogue, "where": "teff > 5000", "split": (0, 0, 1)}
    found = convert(f"{ADDRESS}/night", tmp_path / "hub", **options)
    assert_same(found, convert(stars, tmp_path / "local", **options))
    assert found.provenance.velocities == "catalogue"


def test_a_star_that_lacks_a_camera_is_named(stars: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSpectraError, match=f"{STAR + 1}: no file of the red camera"):
        convert(f"{ADDRESS}/night", tmp_path / "store", missing_camera="raise")


def test_parquet_files_become_what_local_ones_become(hub: Hub, tmp_path: Path) -> None:
    write_parquet(tmp_path / "files" / "all.parquet", columns())
    hub.commit(contents(tmp_path / "files"))
    found = convert(ADDRESS, tmp_path / "hub", errors=True)
    assert_same(found, convert(tmp_path / "files", tmp_path / "local", errors=True))
    assert found.error is not None
    expected = ERROR[found.source_row].astype(np.float16)
    assert np.array_equal(found.error[:], expected.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("options", [{"missing_camera": "skip"}, {"frame": "rest"}])
def test_what_only_star_files_can_give_is_refused_of_others(
    hub: Hub, hub_pair: dict[str, bytes], tmp_path: Path, options: Mapping[str, Any]
) -> None:
    hub.commit(hub_pair)
    with pytest.raises(OptionError, match="folders of GALAH's FITS files"):
        convert(ADDRESS, tmp_path / "store", **options)


@pytest.mark.parametrize("option", ["flux_column", "wavelength_column", "ivar_column"])
def test_columns_are_for_parquet_files_only(
    hub: Hub, hub_pair: dict[str, bytes], tmp_path: Path, option: str
) -> None:
    hub.commit(hub_pair)
    given: dict[str, Any] = {option: "flux"}
    with pytest.raises(OptionError, match=f"{option} is for Parquet files"):
        convert(ADDRESS, tmp_path / "store", **given)
    with pytest.raises(OptionError, match=f"{option} is for Parquet files"):
        convert(np.ones((4, 64), dtype=np.float32), tmp_path / "store", **given)
    assert not (tmp_path / "store").exists()
