"""A resampled source: the contract, its numbers, and what it refuses."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import OptionError, WavelengthError
from galahstream.sources.base import Source, Spectra
from galahstream.sources.hdf5 import Hdf5Source
from galahstream.sources.memory import MemorySource
from galahstream.sources.resampled import Resampled
from galahstream.survey.grids import Grid, resolve_grid
from galahstream.survey.provenance import Provenance
from galahstream.survey.resampling import SPEED_OF_LIGHT, Resampler, Segment
from tests.sources.contract import SourceContract, read_all
from tests.sources.files import FLUX, IDS, N_STARS, WAVELENGTH, table_hdf5

GRID = resolve_grid(np.arange(5010.0, 5090.0, 1.7))
TWO_CAMERAS = np.concatenate([5000 + np.arange(20.0), 6000 + 2 * np.arange(20.0)])


class Survey(Source):
    """Stars with ids and errors on a grid of two cameras."""

    name, n_pixels, ids = "survey", FLUX.shape[1], IDS
    wavelength = TWO_CAMERAS
    has_errors = True
    error = (np.abs(FLUX) / 20).astype(np.float32)

    def __init__(self, frame: str | None = "observed") -> None:
        self._frame = frame

    @property
    def provenance(self) -> Provenance:
        return Provenance(survey="GALAH", release="DR4", frame=self._frame)

    def __len__(self) -> int:
        return len(FLUX)

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        for flux, _ in self.iter_spectra(block_rows, first_row):
            yield flux

    def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        for row in range(first_row, len(self), block_rows):
            rows = slice(row, row + block_rows)
            yield Spectra(FLUX[rows], self.error[rows])


SHIFTED = resolve_grid(np.concatenate([5002 + 0.7 * np.arange(20), 6005 + 1.3 * np.arange(15)]))
VELOCITIES = np.linspace(-60, 60, N_STARS)


class TestResampled(SourceContract):
    @pytest.fixture(params=["given grid", "published grid", "velocities", "linear"])
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> Source:
        if request.param == "velocities":
            return Resampled(Survey(), SHIFTED, velocities=VELOCITIES)
        if request.param == "linear":
            return Resampled(Survey(), SHIFTED, "linear")
        grid = GRID if request.param == "given grid" else resolve_grid("galah-cnn")
        return Resampled(Hdf5Source(table_hdf5(tmp_path / "one.h5")), grid)


@pytest.mark.parametrize("velocities", [None, VELOCITIES])
def test_each_star_is_what_the_resampler_makes_of_it(
    velocities: npt.NDArray[np.float64] | None,
) -> None:
    survey = Survey()
    source = Resampled(survey, SHIFTED, velocities=velocities)
    resampler = Resampler(SHIFTED.wavelength)
    assert source.has_errors
    row = 5
    for flux, error in source.iter_spectra(4, first_row=5):
        assert error is not None
        assert flux.dtype == error.dtype == np.float32
        for found_flux, found_error in zip(flux, error, strict=True):
            segments = [
                Segment(TWO_CAMERAS[part], FLUX[row, part], survey.error[row, part])
                for part in (slice(0, 20), slice(20, 40))
            ]
            velocity = 0.0 if velocities is None else float(velocities[row])
            expected = resampler.resample(segments, velocity)
            assert found_flux.tobytes() == expected.flux.tobytes()
            assert expected.error is not None
            assert found_error.tobytes() == expected.error.tobytes()
            row += 1
    assert row == N_STARS
    assert np.isfinite(read_all(source, 7)[0]).any()


def test_flux_alone_is_that_with_errors() -> None:
    source = Resampled(Survey(), SHIFTED)
    with_errors = np.concatenate([flux for flux, _ in source.iter_spectra(6)])
    assert read_all(source, 6).tobytes() == with_errors.tobytes()


def test_its_provenance_names_grid_method_and_frame() -> None:
    grid = resolve_grid("hermes")
    assert Resampled(Survey(), grid).provenance == Provenance(
        survey="GALAH",
        release="DR4",
        frame="observed",
        grid="hermes",
        resampling="flux-conserving",
    )
    source = Resampled(Survey(None), GRID, "linear", VELOCITIES)
    assert source.provenance.frame == "rest"
    assert source.provenance.resampling == "linear"
    assert source.provenance.grid == GRID.name


def test_whatever_changes_the_pixels_changes_the_fingerprint() -> None:
    sources = [
        Resampled(Survey(), GRID),
        Resampled(Survey(), SHIFTED),
        Resampled(Survey(), GRID, "linear"),
        Resampled(Survey(), GRID, velocities=VELOCITIES),
        Resampled(Survey(), GRID, velocities=-VELOCITIES),
    ]
    assert len({source.fingerprint for source in sources}) == len(sources)
    assert Resampled(Survey(), GRID).fingerprint == sources[0].fingerprint


def test_a_store_of_it_says_what_was_done(tmp_path: Path) -> None:
    store = convert(Resampled(Survey(), SHIFTED, velocities=VELOCITIES), tmp_path / "store")
    assert store.wavelength.tolist() == SHIFTED.wavelength.tolist()
    assert not store.wavelength_is_nominal
    found = store.manifest.provenance
    assert (found.release, found.frame, found.grid, found.resampling) == (
        "DR4",
        "rest",
        SHIFTED.name,
        "flux-conserving",
    )


def test_unknown_wavelengths_are_refused() -> None:
    with pytest.raises(WavelengthError, match=r"flux array: the wavelengths .* not known"):
        Resampled(MemorySource(FLUX), GRID)


def test_wavelengths_that_are_not_a_grid_are_refused_by_the_source() -> None:
    survey = Survey()
    survey.wavelength = np.full(40, np.nan)
    with pytest.raises(WavelengthError, match="survey: its wavelength"):
        Resampled(survey, GRID)


@pytest.mark.parametrize("value", [np.nan, np.inf, -SPEED_OF_LIGHT])
def test_a_star_without_a_velocity_is_named(value: float) -> None:
    velocities = VELOCITIES.copy()
    velocities[[3, 9]] = value
    with pytest.raises(OptionError, match=rf"star {IDS[3]} in row 3 .* 2 of 23 stars"):
        Resampled(Survey(), GRID, velocities=velocities)


def test_each_star_needs_one_velocity() -> None:
    with pytest.raises(OptionError, match=r"shape \(22,\); expected one in km/s for each"):
        Resampled(Survey(), GRID, velocities=VELOCITIES[1:])


def test_spectra_at_rest_are_not_shifted_again() -> None:
    assert Resampled(Survey("rest"), GRID).provenance.frame == "rest"
    with pytest.raises(OptionError, match="rest frame already"):
        Resampled(Survey("rest"), GRID, velocities=VELOCITIES)


def test_a_grid_elsewhere_has_no_flux() -> None:
    assert np.isnan(read_all(Resampled(Survey(), Grid("red", WAVELENGTH + 2000)), 5)).all()
