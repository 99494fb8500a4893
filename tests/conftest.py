"""Real files that the tests read: small surveys in which every pixel is known."""

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from galahstream.conversion.convert import convert
from galahstream.sources.base import Spectra
from galahstream.sources.npy import NpyPairSource
from galahstream.store import Store

# Worker processes then start in a tenth of a second instead of importing torch and numba first.
multiprocessing.set_forkserver_preload(
    [
        "galahstream.stream.workers.processes",
        "galahstream.stream.selection",
        "galahstream.stream.kernels.numba",
    ]
)

N_STARS, N_PIXELS = 60, 64
REAL_DATA = Path(
    os.environ.get("GALAHSTREAM_REAL_DATA", Path(__file__).parents[1].parent / "shared" / "data")
)


@dataclass(frozen=True)
class Pair:
    folder: Path
    spectra: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float32]

    @property
    def with_errors(self) -> "PairWithErrors":
        """The pair as a source with errors, which are in no file."""
        return PairWithErrors(self)


class PairWithErrors(NpyPairSource):
    has_errors = True

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair.folder / "spectra.npy", pair.folder / "labels.npy")
        self._errors = pair.errors

    def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        for flux in self.iter_blocks(block_rows, first_row):
            yield Spectra(flux, self._errors[first_row : first_row + len(flux)])
            first_row += len(flux)


def make_pair(folder: Path, stars: int = N_STARS, pixels: int = N_PIXELS, seed: int = 0) -> Pair:
    """Write a pair whose labels can be learnt from its spectra, with a few unusual pixels."""
    generator = np.random.default_rng(seed)
    labels = generator.normal(size=(stars, 8))
    labels[:, 4] = 5500 + 400 * labels[:, 4]
    phase = np.linspace(0, 3, pixels)
    flux = 1 - 0.3 * np.exp(-((phase - (labels[:, 4:5] - 5000) / 700) ** 2))
    spectra = (flux + 0.01 * generator.normal(size=flux.shape)).astype(np.float32)
    spectra[3, 5], spectra[4, 6], spectra[5, 7], spectra[6, 8] = np.nan, np.inf, -0.5, 0.0
    errors = np.random.default_rng(seed + 1).uniform(0.005, 0.02, flux.shape).astype(np.float32)
    # Unknown, in each of the ways that a source may say so, and beyond float16 at both ends.
    errors[3, 7], errors[4, 1], errors[5, 7], errors[6, 8] = np.nan, np.inf, -0.01, 0.0
    errors[5, 1], errors[6, 2] = 7e4, 1e-9
    folder.mkdir()
    np.save(folder / "spectra.npy", spectra)
    np.save(folder / "labels.npy", labels)
    return Pair(folder, spectra, labels, errors)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path / "raw")


@pytest.fixture(
    params=[
        {"format": "npy"},
        {"format": "hdf5"},
        {"format": "hdf5", "chunk_rows": 7},
        {"format": "hdf5", "chunk_rows": 7, "compression": "gzip"},
    ],
    ids=["npy", "hdf5", "hdf5-chunks", "hdf5-gzip"],
)
def store(request: pytest.FixtureRequest, pair: Pair, tmp_path: Path) -> Store:
    name = "store" if request.param["format"] == "npy" else "store.h5"
    return convert(pair.folder, tmp_path / name, **request.param)


@pytest.fixture
def npy_store(pair: Pair, tmp_path: Path) -> Store:
    return convert(pair.folder, tmp_path / "store")


@pytest.fixture
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data in {REAL_DATA}; set GALAHSTREAM_REAL_DATA to its folder")
    return REAL_DATA


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train without pictures, which take most of the time of runs on a small survey."""
    monkeypatch.setattr("galahstream.plots.figures.has_matplotlib", lambda: False)
