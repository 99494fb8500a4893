"""Real wavelengths of GALAH's files: calibrations, frames, grids, errors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import BadSpectraError, GalahStreamError, OptionError, SourceFormatError
from galahstream.sources.base import Spectra
from galahstream.sources.galah_fits import FitsSource
from galahstream.sources.galah_layout import Frame
from galahstream.sources.spectrum_options import SpectrumOptions
from galahstream.survey.grids import resolve_grid
from tests.sources.files import STAR, write_calibrated_star

Release = Literal["DR3", "DR4"]
RELEASES: tuple[Release, ...] = ("DR3", "DR4")
# Å: Ni I, Fe I and others, one in each camera.
LINES = (4783.43, 5857.45, 6643.63, 6677.99, 7800.0)
HERMES = resolve_grid("hermes").wavelength
VELOCITY = 63.0


def lines(wavelength: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return a spectrum with Gaussian lines."""
    depth = [0.5 * np.exp(-(((wavelength - line) / 0.15) ** 2)) for line in LINES]
    absorbed: npt.NDArray[np.float64] = np.sum(depth, axis=0)
    return 1 - absorbed


def flat(wavelength: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.ones_like(wavelength)


def negative(wavelength: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.full_like(wavelength, -0.5)


def read(folder: Path, on_bad: Literal["raise", "skip"] = "raise", **options: Any) -> Spectra:
    """Return all stars of a folder in one block."""
    source = FitsSource(folder, on_bad, SpectrumOptions(**{"grid": "hermes", **options}))
    (spectra,) = source.iter_spectra(len(source))
    return spectra


def centre(flux: npt.NDArray[np.float32], line: float) -> float:
    """Return the centre of a line, Å, weighted by its depth."""
    near = np.abs(HERMES - line) < 0.6
    depth = 1 - flux[near].astype(np.float64)
    return float((depth * HERMES[near]).sum() / depth.sum())


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("frame", ["observed", "rest", None])
@pytest.mark.parametrize("pixels", [4096, 4111])
def test_lines_are_where_the_frame_has_them(
    tmp_path: Path, release: Release, frame: Frame | None, pixels: int
) -> None:
    write_calibrated_star(tmp_path, STAR, release, lines, VELOCITY, pixels=pixels)
    (flux,) = read(tmp_path, frame=frame).flux
    is_at_rest = frame == "rest" or (frame is None and release == "DR3")
    for line in LINES:
        wanted = line if is_at_rest else line * (1 + VELOCITY / 299_792.458)
        assert centre(flux, wanted) == pytest.approx(wanted, abs=0.002)


@pytest.mark.parametrize("crpix", [None, 0, 0.0, 1, 2, -3.0])
def test_wavelengths_are_counted_from_the_reference_pixel(
    tmp_path: Path, crpix: float | None
) -> None:
    step = 0.046 * 1.0002
    shift = 0 if crpix is None or crpix == 0 else (crpix - 1) * step
    header = {"CRPIX1": crpix, "CRVAL1": 4713.5 + shift}
    write_calibrated_star(tmp_path, STAR, "DR4", lines, cameras="1", header=header)
    (flux,) = read(tmp_path).flux
    assert centre(flux, LINES[0]) == pytest.approx(LINES[0], abs=0.002)


def test_a_catalogue_velocity_goes_before_that_of_the_files(tmp_path: Path) -> None:
    for star in (STAR, STAR + 1, STAR + 2):
        write_calibrated_star(tmp_path, star, "DR4", lines, VELOCITY, header={"RVCOM": 500.0})
    source = FitsSource(tmp_path, options=SpectrumOptions(frame="rest", grid="hermes"))
    assert source.needs_velocities
    given = source.with_velocities([VELOCITY, np.nan, VELOCITY])
    (spectra,) = given.selected(np.array([1, 2])).iter_spectra(9)
    assert centre(spectra.flux[1], LINES[3]) == pytest.approx(LINES[3], abs=0.002)
    shifted = LINES[3] * (1 + VELOCITY / 299_792.458) / (1 + 500 / 299_792.458)
    assert centre(spectra.flux[0], shifted) == pytest.approx(shifted, abs=0.002)
    with pytest.raises(OptionError, match="3 stars"):
        source.with_velocities([1.0])


@pytest.mark.parametrize("header", [{"RVCOM_OK": 0}, {"RVCOM": None}, {"RVCOM": "None"}])
def test_a_star_without_a_velocity_is_named(tmp_path: Path, header: Mapping[str, object]) -> None:
    write_calibrated_star(tmp_path, STAR, "DR4", lines, VELOCITY, header=header)
    write_calibrated_star(tmp_path, STAR + 1, "DR4", lines, VELOCITY)
    with pytest.raises(BadSpectraError, match=f"star {STAR} .*no radial velocity.*--catalogue"):
        read(tmp_path, frame="rest")
    spectra = read(tmp_path, "skip", frame="rest")
    assert [unusable.row for unusable in spectra.unusable] == [0]
    assert not read(tmp_path, frame="observed").unusable


def test_a_velocity_that_no_star_has_is_named(tmp_path: Path) -> None:
    write_calibrated_star(tmp_path, STAR, "DR4", lines, header={"RVCOM": 999999.0})
    with pytest.raises(BadSpectraError, match="999999 km/s"):
        read(tmp_path, frame="rest")


@pytest.mark.parametrize(
    ("release", "changes", "error", "reason"),
    [
        ("DR3", {"header": {"SLITMASK": "IN"}}, BadSpectraError, "SLITMASK"),
        ("DR4", {"header": {"SLITMASK": "in  "}}, BadSpectraError, "SLITMASK"),
        ("DR3", {"header": {"CRVAL1": 4716.0}}, BadSpectraError, "CRVAL1 is 4716"),
        ("DR4", {"header": {"CDELT1": 0.0}}, BadSpectraError, "CDELT1 is 0"),
        ("DR4", {"header": {"CDELT1": -0.046}}, BadSpectraError, "CDELT1 is -0.046"),
        ("DR4", {"header": {"CDELT1": 0.0463}}, BadSpectraError, "calibration failed"),
        ("DR3", {"header": {"CRVAL1": "none"}}, SourceFormatError, "expected numbers"),
        ("DR4", {"header": {"CDELT1": None}}, SourceFormatError, "expected numbers"),
    ],
)
@pytest.mark.parametrize("grid", ["hermes", None])
def test_spectra_of_another_mode_or_without_a_calibration_are_named_with_or_without_a_grid(
    tmp_path: Path,
    release: Release,
    changes: dict[str, Any],
    error: type[GalahStreamError],
    reason: str,
    grid: str | None,
) -> None:
    folder = tmp_path / "in"
    write_calibrated_star(folder, STAR, release, flat, cameras="1", **changes)
    write_calibrated_star(folder, STAR + 1, release, flat)
    with pytest.raises(error, match=f"star {STAR} .*{STAR}1.fits.*{reason}.*on_bad='skip'"):
        read(folder, grid=grid)
    store = convert(folder, tmp_path / "store", grid=grid, on_bad="skip")
    assert store.ids.tolist() == [STAR + 1]
    ((star, found),) = store.manifest.skipped
    assert star == STAR
    assert found.startswith(f"{STAR}1.fits: ")
    assert reason in found


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rest_header": {"CRVAL1": None, "CDELT1": None}}, "no CRVAL1 and CDELT1"),
        ({"rest_header": {"CRVAL1": 5000.0}}, "calibration failed"),
        ({"rest_header": {"CDELT1": -0.046}}, "calibration failed"),
        ({"rest_header": {"CDELT1": 0.05}}, "calibration failed"),
    ],
)
def test_wavelengths_at_rest_of_dr3_are_checked_where_they_are_used(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    write_calibrated_star(tmp_path, STAR, "DR3", flat, cameras="1", **changes)
    with pytest.raises(GalahStreamError, match=f"{STAR}1.fits.*{reason}"):
        read(tmp_path)
    assert np.isfinite(read(tmp_path, frame="observed").flux).any()


def test_two_releases_in_one_folder_are_named(tmp_path: Path) -> None:
    write_calibrated_star(tmp_path, STAR, "DR3", flat)
    write_calibrated_star(tmp_path, STAR + 1, "DR4", flat)
    with pytest.raises(BadSpectraError, match=rf"{STAR + 1}1.fits is of DR4.*of DR3.*its own"):
        read(tmp_path)
    spectra = read(tmp_path, "skip")
    assert [unusable.row for unusable in spectra.unusable] == [1]


def test_a_dr3_file_without_its_normalised_spectrum_is_named(tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    write_calibrated_star(tmp_path, STAR, "DR3", flat)
    path = tmp_path / f"{STAR}2.fits"
    with fits.open(path) as file:
        fits.HDUList([extension.copy() for extension in file[:4]]).writeto(path, overwrite=True)
    with pytest.raises(SourceFormatError, match=f"{STAR}2.fits: extensions.*normalised"):
        read(tmp_path)


def test_a_frame_that_the_files_do_not_have_needs_a_grid(tmp_path: Path) -> None:
    write_calibrated_star(tmp_path / "DR3", STAR, "DR3", flat)
    write_calibrated_star(tmp_path / "DR4", STAR, "DR4", flat)
    for release, own, other in (("DR3", "rest", "observed"), ("DR4", "observed", "rest")):
        with pytest.raises(OptionError, match=f"{release} are in the {own} frame.*--grid"):
            read(tmp_path / release, grid=None, frame=other)
        assert read(tmp_path / release, grid=None, frame=own).flux.shape == (1, 16384)


def test_a_missing_camera_is_nan_on_a_grid(tmp_path: Path) -> None:
    write_calibrated_star(tmp_path, STAR, "DR3", flat, cameras="124", pixels=4100)
    (flux,) = read(tmp_path).flux
    has_flux = [bool(np.isfinite(camera).any()) for camera in flux.reshape(4, 4096)]
    assert has_flux == [True, True, False, True]


def test_missing_cameras_may_be_skipped_or_raise(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_calibrated_star(folder, STAR, "DR3", flat, cameras="124")
    write_calibrated_star(folder, STAR + 1, "DR3", flat)
    with pytest.raises(BadSpectraError, match=rf"1 of 2 stars.*{STAR}: no file of the red camera"):
        convert(folder, tmp_path / "raised", missing_camera="raise")
    store = convert(folder, tmp_path / "skipped", missing_camera="skip")
    assert store.ids.tolist() == [STAR + 1]
    assert store.manifest.skipped == ((STAR, "no file of the red camera"),)
    assert len(convert(folder, tmp_path / "kept")) == 2
    (folder / f"{STAR + 1}1.fits").unlink()
    with pytest.raises(BadSpectraError, match="2 of 2 stars lack a camera"):
        FitsSource(folder, options=SpectrumOptions(missing_camera="skip"))


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("grid", ["hermes", None])
def test_errors_are_relative_to_the_flux_and_unknown_where_they_are_wild(
    tmp_path: Path, release: Release, grid: str | None
) -> None:
    relative = np.full(4096, 0.02)
    relative[1000:1004] = [-0.5, 0.0, np.nan, 1e30]

    def negative(wavelength: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.full_like(wavelength, -0.5)

    write_calibrated_star(tmp_path, STAR, release, negative, cameras="1", relative_error=relative)
    spectra = read(tmp_path, grid=grid, errors=True)
    assert spectra.error is not None
    error = spectra.error[0, :4096]
    known = np.isfinite(error)
    n_unknown = int((~known[20:-20]).sum())
    if grid is None:
        assert n_unknown == 4
        assert np.allclose(error[known], 0.01)
    else:
        assert 4 <= n_unknown <= 6
        assert 0.006 < np.median(error[known]) <= 0.01
    assert np.isnan(spectra.error[0, 4096:]).all()
    assert read(tmp_path, grid=grid).error is None


@pytest.mark.parametrize("damage", ["removed", "of other size"])
def test_errors_that_are_missing_are_named(tmp_path: Path, damage: str) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    write_calibrated_star(tmp_path, STAR, "DR4", flat, cameras="1")
    path = tmp_path / f"{STAR}1.fits"
    with fits.open(path) as file:
        extensions = [extension.copy() for extension in file]
    if damage == "removed":
        del extensions[2]
    else:
        extensions[2].data = np.ones(9, ">f4")
    fits.HDUList(extensions).writeto(path, overwrite=True)
    with pytest.raises(SourceFormatError, match=f"{STAR}1.fits: .*error"):
        read(tmp_path, errors=True)
    assert not read(tmp_path).unusable


@pytest.mark.parametrize("release", RELEASES)
def test_a_store_says_where_its_spectra_come_from(tmp_path: Path, release: Release) -> None:
    write_calibrated_star(tmp_path / "in", STAR, release, lines, VELOCITY)
    write_calibrated_star(tmp_path / "in", STAR + 1, release, lines, VELOCITY)
    own = "rest" if release == "DR3" else "observed"
    found = convert(tmp_path / "in", tmp_path / "own").manifest.provenance
    assert (found.survey, found.release, found.frame) == ("GALAH", release, own)
    assert (found.grid, found.resampling, found.reader) == (None, None, "FitsSource")
    store = convert(
        tmp_path / "in", tmp_path / "grid", frame="rest", grid="galah-cnn", resampling="linear"
    )
    found = store.manifest.provenance
    assert (found.frame, found.grid, found.resampling) == ("rest", "galah-cnn", "linear")
    assert np.array_equal(store.wavelength, resolve_grid("galah-cnn").wavelength)
    assert not store.wavelength_is_nominal


def test_a_grid_may_be_a_file_or_an_array(tmp_path: Path) -> None:
    write_calibrated_star(tmp_path / "in", STAR, "DR3", lines)
    write_calibrated_star(tmp_path / "in", STAR + 1, "DR3", lines)
    wavelength = np.arange(6600.0, 6700.0, 0.07)
    np.save(tmp_path / "grid.npy", wavelength)
    grids: list[Any] = [wavelength, tmp_path / "grid.npy", str(tmp_path / "grid.npy")]
    stores = [
        convert(tmp_path / "in", tmp_path / f"store{number}", grid=grid)
        for number, grid in enumerate(grids)
    ]
    for store in stores:
        assert store.flux[0].tobytes() == stores[0].flux[0].tobytes()
        assert store.manifest.provenance == stores[0].manifest.provenance
    assert np.array_equal(stores[0].wavelength, wavelength)
    with pytest.raises(OptionError, match=r"'hermis' is not known; expected .*hermes"):
        convert(tmp_path / "in", tmp_path / "other", grid="hermis")
    with pytest.raises(OptionError, match="grid"):
        convert(tmp_path / "in", tmp_path / "other", grid="hermes", wavelength=wavelength)


@pytest.mark.slow
@pytest.mark.parametrize("release", ["galah_dr3", "galah_dr4"])
def test_lines_of_the_real_stars_are_at_rest(real_data: Path, tmp_path: Path, release: str) -> None:
    store = convert(
        real_data / release, tmp_path / "store", frame="rest", grid="hermes", errors=True
    )
    assert len(store) == (9 if release == "galah_dr3" else 2)
    offsets = []
    for flux in store.flux[:]:
        for line in (6677.99, 5857.45, 6643.63, 4783.43):
            near = np.flatnonzero(np.abs(HERMES - line) < 0.35)
            if np.isfinite(flux[near]).all():
                offsets.append(centre_of_minimum(flux, near) - line)
    assert abs(np.median(offsets)) < 0.03


def centre_of_minimum(flux: npt.NDArray[np.float32], near: npt.NDArray[np.intp]) -> float:
    """Return the minimum of the parabola through the deepest pixel and its neighbours, Å."""
    deepest = near[0] + int(np.argmin(flux[near]))
    left, middle, right = flux[deepest - 1 : deepest + 2].astype(np.float64)
    shift = 0.5 * (left - right) / (left - 2 * middle + right)
    return float(HERMES[deepest] + shift * (HERMES[deepest + 1] - HERMES[deepest]))
