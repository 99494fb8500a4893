"""Files with the structure of GALAH's, and the real ones where they are at hand."""

from pathlib import Path

import numpy as np
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import (
    BadSpectraError,
    ExtraMissingError,
    GalahStreamError,
    SourceFormatError,
    SourceMissingError,
)
from galahstream.sources.galah_fits import FitsSource
from tests.sources.files import STAR, write_star

fits = pytest.importorskip("astropy.io.fits")


@pytest.mark.parametrize("layout", ["dr3", "dr4->f4", "dr4->f8"])
def test_four_cameras_are_laid_end_to_end_value_for_value(tmp_path: Path, layout: str) -> None:
    wanted = {star: write_star(tmp_path / "in", star, layout) for star in (STAR, STAR + 5)}
    store = convert(tmp_path / "in", tmp_path / "store")
    assert sorted(store.ids) == [STAR, STAR + 5]
    for row, star in enumerate(store.ids):
        assert np.array_equal(store.flux[row], wanted[int(star)].astype(np.float32))
    assert store.wavelength_is_nominal
    assert not store.labels


def test_a_missing_camera_is_nan(tmp_path: Path) -> None:
    write_star(tmp_path / "in", STAR, "dr3", cameras="123")
    (flux,) = FitsSource(tmp_path / "in").iter_blocks(9)
    assert np.isnan(flux[0, 12288:]).all()
    assert np.isfinite(flux[0, :12288]).all()


def test_other_pixel_counts_are_refused_or_skipped_by_name(tmp_path: Path) -> None:
    write_star(tmp_path / "in", STAR, "dr3")
    write_star(tmp_path / "in", STAR + 1, "dr3", pixels=4111)
    with pytest.raises(BadSpectraError, match=f"{STAR + 1}.*4111 pixels"):
        FitsSource(tmp_path / "in")
    source = FitsSource(tmp_path / "in", on_bad="skip")
    assert source.ids.tolist() == [STAR]
    assert [star.star_id for star in source.skipped] == [STAR + 1]


@pytest.mark.parametrize("size", [0, 100, 8000, 20000])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, size: int) -> None:
    write_star(tmp_path / "in", STAR, "dr4->f4")
    path = tmp_path / "in" / f"{STAR}2.fits"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SourceFormatError, match=f"{STAR}2"):
        list(FitsSource(tmp_path / "in").iter_blocks(1))


def test_a_file_of_another_layout_is_refused_by_name(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.zeros(4096)).writeto(tmp_path / f"{STAR}1.fits")
    with pytest.raises(SourceFormatError, match=f"{STAR}1"):
        FitsSource(tmp_path)


def test_folders_without_stars_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceFormatError, match="sobject_id"):
        FitsSource(tmp_path)
    with pytest.raises(SourceMissingError):
        FitsSource(tmp_path / "nowhere")


def test_without_astropy_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_star(tmp_path / "in", STAR, "dr3")
    monkeypatch.setitem(__import__("sys").modules, "astropy.io.fits", None)
    with pytest.raises(ExtraMissingError, match=r"galahstream\[fits\]"):
        FitsSource(tmp_path / "in")


def test_the_real_stars_convert_value_for_value(real_data: Path, tmp_path: Path) -> None:
    for release, kept, skipped in (("galah_dr3", 4, 5), ("galah_dr4", 2, 0)):
        store = convert(real_data / release, tmp_path / release, on_bad="skip")
        assert (len(store), len(store.manifest.skipped)) == (kept, skipped)
        for row, star in enumerate(store.ids):
            path = real_data / release / f"{star}2.fits"
            with fits.open(path) as file:
                wanted = file[4].data if release == "galah_dr3" else file["normalized"].data
            assert np.array_equal(store.flux[row][4096:8192], wanted.astype(np.float32))


@pytest.mark.parametrize("word", [b"NAXIS1", b"BITPIX", b"XTENSION", b"NAXIS "])
def test_a_file_that_lacks_a_word_of_its_headers_is_refused_or_read(
    tmp_path: Path, word: bytes
) -> None:
    path = tmp_path / "1311020029010121.fits"
    parts = [fits.PrimaryHDU(), *(fits.ImageHDU(np.ones(4096, np.float32)) for _ in range(4))]
    fits.HDUList(parts).writeto(path)
    path.write_bytes(path.read_bytes().replace(word, b"NOTHING_"[: len(word)]))
    with pytest.raises(GalahStreamError, match=path.name):
        next(FitsSource(tmp_path).iter_blocks(1))


@pytest.mark.parametrize("bitpix", [8, -32])
def test_a_spectrum_that_is_not_in_an_image_extension_is_refused(
    tmp_path: Path, bitpix: int
) -> None:
    path = tmp_path / "1311020029010121.fits"
    flux = np.ones(4096, np.uint8 if bitpix == 8 else np.float32)
    parts = [fits.PrimaryHDU(), *(fits.ImageHDU(flux) for _ in range(4))]
    fits.HDUList(parts).writeto(path)
    path.write_bytes(path.read_bytes().replace(b"'IMAGE   '", b"'IMA?E   '"))
    with pytest.raises(GalahStreamError, match=path.name):
        next(FitsSource(tmp_path).iter_blocks(1))
