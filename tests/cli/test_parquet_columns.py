"""Columns of Parquet files on the command line: of flux, wavelengths and inverse variances."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galahstream.cli.main import main
from galahstream.store import open_store
from tests.sources.files import FLUX, WAVELENGTH
from tests.sources.parquet_files import ERROR, IVAR, columns, lists, spectrum, write_parquet
from tests.store.contract import damage

COLUMNS = ["--flux-column", "sky.f", "--wavelength-column", "sky.w", "--ivar-column", "sky.i"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a table whose spectra have names of their own."""
    grids = np.tile(WAVELENGTH, (len(FLUX), 1))
    sky: Any = spectrum(f=lists(FLUX), w=lists(grids), i=lists(IVAR))
    table = {**columns(), "sky": sky}
    del table["spectrum"]
    return write_parquet(tmp_path / "all.parquet", table)


def test_named_columns_become_flux_wavelengths_and_errors(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "store"
    assert main(["convert", str(source), str(path), *COLUMNS, "--errors"]) == 0
    with open_store(path) as store:
        assert np.array_equal(store.flux[:], FLUX[store.source_row], equal_nan=True)
        assert np.array_equal(store.wavelength, WAVELENGTH)
        assert store.error is not None
        expected = ERROR[store.source_row].astype(np.float16).astype(np.float32)
        assert np.array_equal(store.error[:], expected, equal_nan=True)


def test_a_store_of_named_columns_is_repaired_with_their_names(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "store"
    assert main(["convert", str(source), str(path), *COLUMNS, "--errors"]) == 0
    intact = (path / "flux.npy").read_bytes()
    damage(path, 0)
    assert main(["verify", str(path), "--repair", str(source)]) == 1
    assert "name the one with the flux (flux_column=, --flux-column)" in capsys.readouterr().err
    assert main(["verify", str(path), "--repair", str(source), *COLUMNS]) == 0
    assert (path / "flux.npy").read_bytes() == intact


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "name the one with the flux (flux_column=, --flux-column)"),
        (["--flux-column", "sky.g"], "'sky.g' is not there"),
        (["--flux-column", "teff"], "'teff' is float; expected a list of numbers per star"),
        (COLUMNS[:2], "name it (ivar_column=, --ivar-column), or convert without errors"),
        ([*COLUMNS[:3], "sky"], "(wavelength_column=, --wavelength-column)"),
    ],
)
def test_columns_that_are_not_there_are_named(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    assert main(["convert", str(source), str(tmp_path / "store"), *given, "--errors"]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [["--catalogue", "cat.csv"], ["--join", "tmass_id"], ["--flux-column", "flux"]]
)
def test_options_of_a_repair_are_refused_without_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert main(["verify", str(tmp_path), *option]) == 1
    assert f"{option[0]} is for --repair SOURCE" in capsys.readouterr().err
