"""Frame, grid and errors of any source, and repair of stores that were made with them."""

from pathlib import Path

import numpy as np
import pytest

import galahstream as gs
from galahstream.conversion.repair import repair
from galahstream.errors import OptionError, WavelengthError
from galahstream.sources.memory import MemorySource
from tests.conftest import Pair
from tests.sources.files import write_calibrated_star

GRID = 4800 + 0.05 * np.arange(40)


@pytest.fixture
def observed() -> MemorySource:
    class Observed(MemorySource):
        wavelength = GRID  # type: ignore[assignment]

    generator = np.random.default_rng(3)
    flux = generator.uniform(0.5, 1.5, (12, 40)).astype(np.float32)
    return Observed(flux, {"teff": np.linspace(4500, 6500, 12)})


def test_any_source_with_wavelengths_is_resampled(observed: MemorySource, tmp_path: Path) -> None:
    coarse = GRID[4:36:2] + 0.025
    store = gs.convert(observed, tmp_path / "store", grid=coarse)
    assert store.n_pixels == len(coarse)
    assert np.array_equal(store.wavelength, coarse)
    assert store.provenance.resampling == "flux-conserving"
    flux = next(observed.iter_blocks(12))[store.source_row]
    expected = flux[:, 4:36].reshape(12, -1, 2).mean(axis=2)
    assert np.allclose(store.flux[:], expected, atol=1e-6)


def test_spectra_of_unknown_wavelengths_cannot_be_resampled(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(WavelengthError, match="not known"):
        gs.convert(pair.folder, tmp_path / "store", grid="hermes")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"errors": True}, "no errors of its pixels"),
        ({"missing_camera": "skip"}, "missing_camera"),
        ({"frame": "rest"}, "does not say the frame"),
    ],
)
def test_what_a_source_cannot_give_is_an_error(
    pair: Pair, tmp_path: Path, options: dict[str, object], reason: str
) -> None:
    with pytest.raises(OptionError, match=reason):
        gs.convert(pair.folder, tmp_path / "store", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("grid", ["hermes", None])
def test_a_store_of_star_files_is_repaired_on_its_grid_with_its_errors(
    tmp_path: Path, grid: str | None
) -> None:
    for number in range(3):
        write_calibrated_star(
            tmp_path / "in",
            131_123_003_001_100 + number,
            "DR3",
            lambda wavelength: 1 - 0.1 * np.sin(wavelength),
            relative_error=np.full(4096, 0.01),
        )
    store = gs.convert(tmp_path / "in", tmp_path / "store", grid=grid, errors=True)
    bytes_of = {
        name: (tmp_path / "store" / name).read_bytes() for name in ("flux.npy", "error.npy")
    }
    for name, content in bytes_of.items():
        damaged = bytearray(content)
        damaged[-20_000] ^= 1
        (tmp_path / "store" / name).write_bytes(damaged)
    del store
    assert repair(tmp_path / "store", tmp_path / "in").tolist() == [2]
    for name, content in bytes_of.items():
        assert (tmp_path / "store" / name).read_bytes() == content
