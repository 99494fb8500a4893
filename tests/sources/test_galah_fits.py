"""Files with the structure of GALAH's, and the real ones where they are at hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
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
from galahstream.store.layout import FormatName
from tests.sources.files import COMPRESS, STAR, write_star, write_star_as

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
    with pytest.raises(BadSpectraError, match=f"{STAR + 1}.*4111 pixels.*--grid"):
        convert(tmp_path / "in", tmp_path / "store")
    store = convert(tmp_path / "in", tmp_path / "store", on_bad="skip")
    assert store.ids.tolist() == [STAR]
    assert [star for star, _ in store.manifest.skipped] == [STAR + 1]


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


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_plain_files_need_no_astropy_and_for_others_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    wanted = write_star_as(tmp_path, STAR, "dr3", suffix)
    write_packed(tmp_path / f"{STAR + 1}1.fits.fz", 5)
    monkeypatch.setitem(__import__("sys").modules, "astropy.io.fits", None)
    blocks = FitsSource(tmp_path, "skip").iter_blocks(1)
    assert np.array_equal(next(blocks)[0], wanted.astype(np.float32))
    with pytest.raises(ExtraMissingError, match=rf"{STAR + 1}1.*galahstream\[fits\]"):
        next(blocks)


@pytest.mark.slow
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


def write_tiles(path: Path, layout: str, **options: object) -> npt.NDArray[np.float32]:
    """Write a file whose normalised spectrum is compressed in tiles, and return its flux."""
    flux = np.random.default_rng(3).normal(1, 0.1, 4096).astype(np.float32)
    tiles = fits.CompImageHDU(flux, name="normalized", **options)
    others = [fits.ImageHDU(np.zeros(4096, ">f4")) for _ in range(3)]
    parts = [*others, tiles] if layout == "dr3" else [tiles, *others]
    fits.HDUList([fits.PrimaryHDU(flux), *parts]).writeto(path)
    return flux


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["dr3", "dr4->f4"])
@pytest.mark.parametrize(
    "suffix", [".fits.gz", ".fits.bz2", ".fits.xz", ".FITS", ".FITS.GZ", ".fit", ".fts", ".Fit.Bz2"]
)
def test_files_of_every_suffix_are_read_value_for_value(
    tmp_path: Path, layout: str, suffix: str
) -> None:
    wanted = write_star_as(tmp_path / "in", STAR, layout, suffix)
    store = convert(tmp_path / "in", tmp_path / "store")
    assert store.ids.tolist() == [STAR]
    assert np.array_equal(store.flux[0], wanted.astype(np.float32))
    assert not store.manifest.notes


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz", ".fits.fz"])
@pytest.mark.parametrize("compress", [bytes, *COMPRESS.values()])
def test_what_a_file_holds_decides_how_it_is_read_and_not_its_name(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    wanted = write_star_as(tmp_path / "in", STAR, "dr3", ".fits")
    path = tmp_path / "in" / f"{STAR}2.fits"
    content = compress(path.read_bytes())
    path.unlink()
    path.with_suffix(suffix).write_bytes(content)
    (flux,) = FitsSource(tmp_path / "in").iter_blocks(1)
    assert np.array_equal(flux[0], wanted.astype(np.float32))


@pytest.mark.parametrize("layout", ["dr3", "dr4"])
@pytest.mark.parametrize("name", [f"{STAR}2.fits.fz", f"{STAR}2.fits"])
def test_a_spectrum_that_is_compressed_in_tiles_is_read(
    tmp_path: Path, layout: str, name: str
) -> None:
    wanted = write_tiles(tmp_path / name, layout, compression_type="GZIP_2", quantize_level=0)
    (flux,) = FitsSource(tmp_path).iter_blocks(1)
    assert np.array_equal(flux[0, 4096:8192], wanted)


def write_packed(path: Path, n_images: int) -> None:
    """Write a file like those of fpack, whose images are all 1, 2, 3 and so on."""
    images = (np.full(4096, number, np.float32) for number in range(1, n_images + 1))
    fits.HDUList([fits.PrimaryHDU(), *map(fits.CompImageHDU, images)]).writeto(path)


def test_a_dr3_file_of_fpack_is_read_and_one_without_its_spectrum_is_rejected(
    tmp_path: Path,
) -> None:
    write_packed(tmp_path / f"{STAR}1.fits.fz", 5)
    (flux,) = FitsSource(tmp_path).iter_blocks(1)
    assert np.array_equal(flux[0, :4096], np.full(4096, 5, np.float32))
    write_packed(tmp_path / f"{STAR}2.fits.fz", 4)
    with pytest.raises(SourceFormatError, match=f"{STAR}2.fits.fz: extensions"):
        list(FitsSource(tmp_path).iter_blocks(1))


def test_scaled_integers_are_read(tmp_path: Path) -> None:
    image = fits.ImageHDU(np.full(4096, 1.5, np.float32), name="normalized")
    image.scale("int16", bscale=0.001, bzero=1)
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / f"{STAR}1.fits")
    (flux,) = FitsSource(tmp_path).iter_blocks(1)
    assert np.allclose(flux[0, :4096], 1.5)


@pytest.mark.slow
def test_stars_that_lack_a_camera_are_counted_by_camera(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for star, cameras in enumerate(["1234", "123", "13", "1234", "123"], STAR):
        write_star(folder, star, "dr4->f4", cameras=cameras)
    note = "stars that lack a camera, whose pixels are NaN: 3 of 5 (green 1, infrared 3)"
    assert FitsSource(folder).notes == (note,)
    write_star(folder, STAR + 9, "dr4->f4", pixels=4000)
    note = note.replace("of 5", "of 6")
    for dest in ("store", "store.h5"):
        format_name: FormatName = "hdf5" if dest.endswith("h5") else "npy"
        store = convert(folder, tmp_path / dest, on_bad="skip", format=format_name)
        assert store.manifest.notes == (note,)
        assert store.info()["notes"] == [note]
