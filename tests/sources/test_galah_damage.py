"""Damaged, unfinished and misnamed files of stars: an error, or a star that is skipped by name."""

import errno
import gzip
import os
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import (
    BadSpectraError,
    SourceAccessError,
    SourceFormatError,
    SourceShapeError,
)
from galahstream.sources.base import OnBad
from galahstream.sources.galah_fits import FitsSource
from tests.sources.files import STAR, write_star, write_star_as

fits = pytest.importorskip("astropy.io.fits")


def _truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _without_end(content: bytes) -> bytes:
    return content[:-1]


def _changed(content: bytes) -> bytes:
    changed = bytearray(content)
    for position in range(len(content) // 2, len(content) // 2 + 9):
        changed[position] ^= 0xFF
    return bytes(changed)


def _of_other_layout(content: bytes) -> bytes:
    file = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones(4096))]).writeto(file)
    return file.getvalue()


def _of_two_axes(content: bytes) -> bytes:
    file = BytesIO()
    image = fits.ImageHDU(np.ones((2, 4096)), name="normalized")
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(file)
    return file.getvalue()


def _of_a_table(content: bytes) -> bytes:
    file = BytesIO()
    table = fits.BinTableHDU.from_columns([fits.Column("flux", "E", array=np.ones(4096))])
    table.name = "normalized"
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(file)
    return file.getvalue()


def _of_scale(card: bytes) -> Callable[[bytes], bytes]:
    def scaled(content: bytes) -> bytes:
        image = fits.ImageHDU(np.ones(4096, np.float32), name="normalized")
        image.scale("int16", bscale=0.001, bzero=1)
        file = BytesIO()
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(file)
        header, keyword, rest = file.getvalue().rpartition(card[:8])
        return header + card.ljust(30) + rest[30 - len(keyword) :]

    return scaled


def _tiles_truncated(content: bytes) -> bytes:
    flux = np.random.default_rng(3).normal(1, 0.1, 4096).astype(np.float32)
    file = BytesIO()
    tiles = fits.CompImageHDU(flux, name="normalized", compression_type="GZIP_2", quantize_level=0)
    fits.HDUList([fits.PrimaryHDU(), tiles]).writeto(file)
    return file.getvalue()[:-8000]


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "text": (".fits", lambda _: b"<html>502 Bad Gateway</html>"),
    "empty": (".fits", lambda _: b""),
    "zeros": (".fits", lambda content: bytes(len(content))),
    "pointer": (".fits", lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
    "zip": (".fits", lambda _: b"PK\x03\x04" + bytes(5000)),
    "header alone": (".fits", lambda content: content[:2880]),
    "half": (".fits", _truncated),
    "other layout": (".fits", _of_other_layout),
    "two axes": (".fits", _of_two_axes),
    "table": (".fits", _of_a_table),
    "half of tiles": (".fits.fz", _tiles_truncated),
    "scale of text": (".fits", _of_scale(b"BSCALE  = 'abc'")),
    "scale without value": (".fits", _of_scale(b"BSCALE  =")),
    "zero point that is true": (".fits", _of_scale(b"BZERO   = " + b"T".rjust(20))),
    "lost keyword": (".fits", lambda content: content.replace(b"BITPIX", b"BITPI ")),
} | {
    f"{suffix} {change.__name__}": (suffix, change)
    for suffix in (".fits.gz", ".fits.bz2", ".fits.xz")
    for change in (_truncated, _without_end, _changed)
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("layout", ["dr3", "dr4->f8"])
def test_a_damaged_file_is_an_error_or_its_star_is_skipped_by_name(
    tmp_path: Path, kind: str, layout: str
) -> None:
    suffix, damage = DAMAGE[kind]
    folder = tmp_path / "in"
    write_star_as(folder, STAR, layout, suffix)
    path = folder / f"{STAR}3{suffix}"
    path.write_bytes(damage(path.read_bytes()))
    wanted = write_star(folder, STAR + 1, layout)
    with pytest.raises(
        SourceFormatError, match=f"1 of 2 stars.*{STAR}: {path.name}.*on_bad='skip'"
    ):
        FitsSource(folder)
    store = convert(folder, tmp_path / "store", on_bad="skip")
    assert store.ids.tolist() == [STAR + 1]
    assert np.array_equal(store.flux[0], wanted.astype(np.float32))
    ((star, reason),) = store.manifest.skipped
    assert star == STAR
    assert reason.startswith(path.name)
    assert str(tmp_path) not in reason


@pytest.mark.slow
def test_all_bad_files_of_all_stars_are_named_at_once(tmp_path: Path) -> None:
    for star in range(STAR, STAR + 15):
        write_star(tmp_path, star, "dr4->f4", cameras="1", pixels=4096 + (star > STAR + 1))
    (tmp_path / f"{STAR}1.fits").write_bytes(b"")
    with pytest.raises(SourceFormatError, match=r"14 of 15 stars.*and 4 more; copy") as caught:
        FitsSource(tmp_path)
    assert f"{STAR}1.fits" in str(caught.value)
    write_star(tmp_path, STAR + 40, "dr4->f4", cameras="34", pixels=4100)
    source = FitsSource(tmp_path, "skip")
    assert source.ids.tolist() == [STAR + 1]
    assert len(source.skipped) == 15
    assert f"{STAR + 40}3.fits (red camera) has 4100 pixels" in source.skipped[-1].reason
    assert f"{STAR + 40}4.fits (infrared camera) has 4100 pixels" in source.skipped[-1].reason


@pytest.mark.parametrize("on_bad", ["raise", "skip"])
def test_a_folder_of_damaged_stars_alone_is_rejected(tmp_path: Path, on_bad: OnBad) -> None:
    write_star(tmp_path, STAR, "dr3", pixels=4000)
    with pytest.raises(BadSpectraError, match=f"none of its 1 stars.*{STAR}1.fits"):
        FitsSource(tmp_path, on_bad)
    (tmp_path / f"{STAR + 1}1.fits").write_bytes(b"")
    with pytest.raises(SourceFormatError, match=f"none of its 2 stars.*{STAR + 1}1.fits"):
        FitsSource(tmp_path, on_bad)


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EMFILE, errno.EIO, errno.ENOENT, errno.EHOSTDOWN]
)
def test_a_file_that_may_not_be_read_is_never_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write_star(tmp_path, STAR, "dr3")
    write_star(tmp_path, STAR + 1, "dr3")

    def refuse(path: Path, mode: str) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SourceAccessError, match=f"{STAR}1.fits cannot be read"):
        FitsSource(tmp_path, "skip")


@pytest.mark.parametrize("change", [_truncated, _of_two_axes, lambda _: b""])
def test_a_file_that_is_damaged_after_opening_is_an_error_that_names_it(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    write_star(tmp_path, STAR, "dr4->f4")
    source = FitsSource(tmp_path, "skip")
    path = tmp_path / f"{STAR}2.fits"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(SourceFormatError, match=f"{path.name}.*copy the file again"):
        list(source.iter_blocks(1))


def test_a_file_of_another_size_after_opening_is_an_error_that_names_it(tmp_path: Path) -> None:
    write_star(tmp_path, STAR, "dr3")
    source = FitsSource(tmp_path)
    write_star(tmp_path / "other", STAR, "dr3", pixels=4111)
    (tmp_path / "other" / f"{STAR}2.fits").replace(tmp_path / f"{STAR}2.fits")
    with pytest.raises(SourceFormatError, match=f"{STAR}2.fits: it changed"):
        list(source.iter_blocks(1))
    (tmp_path / f"{STAR}1.fits").unlink()
    with pytest.raises(SourceAccessError, match=f"{STAR}1.fits cannot be read"):
        list(source.iter_blocks(1))


def test_flux_that_float32_cannot_hold_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    parts = [fits.PrimaryHDU(), fits.ImageHDU(np.full(4096, 1e300), name="normalized")]
    fits.HDUList(parts).writeto(tmp_path / f"{STAR}4.fits")
    with pytest.raises(SourceShapeError, match=f"{STAR}4.fits.*move it out of the folder"):
        list(FitsSource(tmp_path, "skip").iter_blocks(1))


@pytest.mark.parametrize(
    "name", [f"{STAR}4.fits.part", f"{STAR}4 (1).fits", f"{STAR}9.fits", f"{STAR}_copy.fits.gz"]
)
def test_a_star_that_lacks_what_an_unused_file_may_hold_is_skipped(
    tmp_path: Path, name: str
) -> None:
    write_star(tmp_path, STAR, "dr3", cameras="123")
    write_star(tmp_path, STAR + 1, "dr3")
    (tmp_path / name).write_bytes(b"SIMPLE")
    with pytest.raises(SourceFormatError, match=re.escape(name)):
        FitsSource(tmp_path)
    source = FitsSource(tmp_path, "skip")
    assert source.ids.tolist() == [STAR + 1]
    assert [star.star_id for star in source.skipped] == [STAR]
    assert name in source.skipped[0].reason
    assert not source.notes


def test_unused_files_beside_complete_stars_are_named_in_a_note(tmp_path: Path) -> None:
    write_star(tmp_path, STAR, "dr3")
    names = [f"{STAR}3.fits.part", f"{STAR}3 (1).fits", "123.fits"]
    for name in (*names, "allstar.fits", "README"):
        (tmp_path / name).touch()
    with pytest.raises(SourceFormatError, match=r"\(3\).*123.fits"):
        FitsSource(tmp_path)
    source = FitsSource(tmp_path, "skip")
    assert source.ids.tolist() == [STAR]
    assert not source.skipped
    unused, others = source.notes
    assert all(name in unused for name in ("(3)", *names))
    assert "allstar.fits" in others
    assert "README" not in unused + others


@pytest.mark.parametrize("on_bad", ["raise", "skip"])
def test_a_folder_of_unfinished_downloads_alone_is_rejected(tmp_path: Path, on_bad: OnBad) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (f"{STAR}1.fits.part", "123.fits"):
        (folder / name).touch()
        with pytest.raises(SourceFormatError, match=re.escape(name)):
            convert(folder, tmp_path / "store", on_bad=on_bad)


def test_a_star_with_two_files_of_a_camera_is_an_error_or_skipped_by_name(tmp_path: Path) -> None:
    write_star(tmp_path, STAR, "dr3")
    write_star(tmp_path, STAR + 1, "dr3")
    path = tmp_path / f"{STAR}2.fits"
    path.with_suffix(".fits.gz").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(BadSpectraError, match=f"{STAR}2.fits and {STAR}2.fits.gz.*on_bad='skip'"):
        FitsSource(tmp_path)
    source = FitsSource(tmp_path, "skip")
    assert source.ids.tolist() == [STAR + 1]
    ((star, reason),) = [(skipped.star_id, skipped.reason) for skipped in source.skipped]
    assert star == STAR
    assert f"{STAR}2.fits and {STAR}2.fits.gz: two files of one camera" in reason


def test_a_star_in_two_nights_is_an_error_or_skipped_by_name(tmp_path: Path) -> None:
    for night in ("131123", "131124"):
        write_star(tmp_path / night, STAR, "dr3")
        write_star(tmp_path / night, STAR + int(night), "dr3", cameras="12")
    with pytest.raises(BadSpectraError, match=f"131123/{STAR}1.fits and 131124/{STAR}1.fits"):
        FitsSource(tmp_path)
    source = FitsSource(tmp_path, "skip")
    assert source.ids.tolist() == [STAR + 131123, STAR + 131124]
    (skipped,) = source.skipped
    assert skipped.star_id == STAR
    assert f"131123/{STAR}1.fits and 131124/{STAR}1.fits" in skipped.reason


def test_a_star_that_cannot_be_used_is_named_with_the_folder_of_its_files(tmp_path: Path) -> None:
    write_star(tmp_path / "131123", STAR, "dr3", cameras="1")
    write_star(tmp_path / "131124", STAR + 1, "dr3", pixels=4095, cameras="2")
    write_star(tmp_path / "131125", STAR + 2, "dr3", cameras="3")
    (tmp_path / "131125" / f"{STAR + 2}3.fits").write_bytes(b"SIMPLE")
    reasons = [skipped.reason for skipped in FitsSource(tmp_path, "skip").skipped]
    assert len(reasons) == 2
    assert reasons[0].startswith(f"131124/{STAR + 1}2.fits (green camera) has 4095 pixels")
    assert reasons[1].startswith(f"131125/{STAR + 2}3.fits")


@pytest.mark.parametrize("on_bad", ["raise", "skip"])
def test_a_folder_of_stars_that_are_all_there_twice_is_rejected(
    tmp_path: Path, on_bad: OnBad
) -> None:
    for night in ("131123", "131124"):
        write_star(tmp_path / night, STAR, "dr3", cameras="1")
    with pytest.raises(BadSpectraError, match=f"131123/{STAR}1.fits and 131124/{STAR}1.fits"):
        FitsSource(tmp_path, on_bad)


def test_a_file_that_was_written_again_after_opening_is_an_error_that_names_it(
    tmp_path: Path,
) -> None:
    write_star(tmp_path / "131123", STAR, "dr3")
    source = FitsSource(tmp_path)
    list(source.iter_blocks(1))
    os.utime(tmp_path / "131123" / f"{STAR}3.fits", ns=(1, 1))
    with pytest.raises(SourceFormatError, match=f"131123/{STAR}3.fits: it changed.*--no-resume"):
        list(source.iter_blocks(1))
