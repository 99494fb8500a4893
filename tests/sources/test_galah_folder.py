"""Which files of a folder belong to a star, by their names alone."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from galahstream.errors import BadSpectraError, SourceFormatError, SourceMissingError
from galahstream.sources.base import OnBad
from galahstream.sources.galah_listing import find_star_files, is_fits_folder
from galahstream.sources.galah_names import FileNames
from tests.sources.files import STAR

SUFFIXES = (
    ".fits", ".fit", ".fts", ".FITS", ".Fits", ".fits.gz", ".FITS.GZ", ".fits.bz2", ".fits.xz",
    ".fits.fz", ".fit.gz",
)  # fmt: skip

LIKE_A_STAR = [
    f"{STAR}3.fits.part",
    f"{STAR}3.fits.crdownload",
    f"{STAR}3.fits.tmp",
    f"{STAR}3.fits.download",
    f"{STAR}3.fits~",
    f"{STAR}3.FITS.GZ.aria2",
    f".{STAR}3.fits.x8Kd2f",
    f"{STAR}3",
    f"{STAR}3.fits.Z",
    f"{STAR}3.fits.fz.gz",
    f"{STAR}3 (1).fits",
    f"{STAR}3_copy.fits",
    f"Copy of {STAR}3.fits",
    f"{STAR} (1).fits",
    f"{STAR}_copy.fits",
    f"{STAR}.fits",
    f"{STAR}0.fits",
    f"{STAR}5.fits",
    f"{STAR}9.fits.gz",
    f"{STAR}33.fits",
    f"{STAR // 10}.fits",
    "140209.FITS",
    "1.fits.gz.part",
]
NOT_LIKE_A_STAR = [
    "README",
    "notes.txt",
    f"._{STAR}3.fits",
    "20140209.txt",
    "labels.csv",
    ".DS_Store",
]
OTHER_FITS = [
    "galah_dr4_allstar_240705.fits",
    "dr6.0_sample.fits.gz",
    "x.fits.part",
    "A.FIT",
    "2MASS_1.fts",
]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_star_is_found_whatever_its_files_end_in(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"{STAR}2{suffix}")
    files = find_star_files(tmp_path)
    assert files.ids.tolist() == [STAR]
    assert files.has_camera.tolist() == [[False, True, False, False]]
    assert files.paths(0) == [(1, tmp_path / f"{STAR}2{suffix}")]
    assert not files.unused
    assert is_fits_folder(tmp_path)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    stars=st.dictionaries(
        st.tuples(st.integers(0, 10**15 - 1), st.integers(0, 3)),
        st.sampled_from(SUFFIXES),
        min_size=1,
    )
)
def test_every_file_of_a_star_is_found_once(
    tmp_path_factory: pytest.TempPathFactory, stars: dict[tuple[int, int], str]
) -> None:
    folder = tmp_path_factory.mktemp("stars")
    touch(folder, *(f"{star:015d}{camera + 1}{suffix}" for (star, camera), suffix in stars.items()))
    files = find_star_files(folder)
    assert np.all(np.diff(files.ids) > 0)
    found = {
        (int(star), camera): path
        for row, star in enumerate(files.ids)
        for camera, path in files.paths(row)
    }
    assert found.keys() == stars.keys()
    assert set(found.values()) == set(folder.iterdir())
    assert not files.unused
    assert not files.others


@pytest.mark.parametrize("name", LIKE_A_STAR)
def test_a_file_that_looks_like_a_star_is_named_and_not_used(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"{STAR}1.fits", name)
    files = find_star_files(tmp_path)
    assert files.unused == FileNames(1, (name,))
    assert files.ids.tolist() == [STAR]
    files.check_names("skip")
    with pytest.raises(SourceFormatError, match="on_bad='skip'") as caught:
        files.check_names("raise")
    assert name in str(caught.value)


@pytest.mark.parametrize("name", LIKE_A_STAR)
@pytest.mark.parametrize("on_bad", ["raise", "skip"])
def test_a_folder_of_misnamed_files_alone_is_one_of_stars(
    tmp_path: Path, name: str, on_bad: OnBad
) -> None:
    touch(tmp_path, name)
    assert is_fits_folder(tmp_path)
    with pytest.raises(SourceFormatError) as caught:
        find_star_files(tmp_path).check_names(on_bad)
    assert "on_bad" not in str(caught.value)


def test_a_folder_or_a_broken_link_that_is_named_like_a_star_is_not_used(tmp_path: Path) -> None:
    touch(tmp_path, f"{STAR}1.fits")
    (tmp_path / f"{STAR}2.fits").mkdir()
    (tmp_path / f"{STAR}3.fits").symlink_to(tmp_path / "nowhere")
    (tmp_path / f"{STAR}4.fits").symlink_to(tmp_path / f"{STAR}1.fits")
    files = find_star_files(tmp_path)
    assert files.unused.first == (f"{STAR}2.fits (not a file)", f"{STAR}3.fits (not a file)")
    assert files.has_camera.tolist() == [[True, False, False, True]]


def test_other_files_are_ignored_and_other_fits_files_named(tmp_path: Path) -> None:
    touch(tmp_path, f"{STAR}1.fits", *NOT_LIKE_A_STAR, *OTHER_FITS)
    files = find_star_files(tmp_path)
    assert not files.unused
    assert files.others == FileNames(len(OTHER_FITS), tuple(sorted(OTHER_FITS)))


@pytest.mark.parametrize("names", [[], NOT_LIKE_A_STAR, OTHER_FITS])
def test_a_folder_without_anything_like_a_star_is_rejected(
    tmp_path: Path, names: list[str]
) -> None:
    touch(tmp_path, *names)
    assert not is_fits_folder(tmp_path)
    with pytest.raises(SourceFormatError, match="sobject_id"):
        find_star_files(tmp_path)
    with pytest.raises(SourceMissingError, match="nowhere"):
        find_star_files(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("one", "other"), [(".fits", ".fits.gz"), (".FITS", ".fits"), (".fit", ".fits.fz")]
)
def test_two_files_of_one_camera_are_an_error_that_names_both(
    tmp_path: Path, one: str, other: str
) -> None:
    touch(tmp_path, f"{STAR}1{one}", f"{STAR}1{other}", f"{STAR}2{one}", f"{STAR + 1}1{other}")
    if len(list(tmp_path.iterdir())) < 4:
        pytest.skip("the file system does not tell upper from lower case")
    files = find_star_files(tmp_path)
    assert dict(files.doubles.items()).keys() == {STAR}
    files.check_names("skip")
    with pytest.raises(BadSpectraError, match="two files of one star and camera") as caught:
        files.check_names("raise")
    assert f"{STAR}1{one}" in str(caught.value)
    assert f"{STAR}1{other}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "cameras", "is_missed"),
    [
        (f"{STAR}3.fits.part", "1234", False),
        (f"{STAR}3.fits.part", "123", False),
        (f"{STAR}3.fits.part", "124", True),
        (f"{STAR}3.fits.part", "", True),
        (f"{STAR}_copy.fits", "1234", False),
        (f"{STAR}_copy.fits", "123", True),
        (f"{STAR}7.fits", "1234", False),
        (f"{STAR}7.fits", "234", True),
        (f"{STAR}33.fits", "12", False),
        ("140209.fits", "12", False),
    ],
)
def test_an_unused_file_is_missed_where_it_may_be_the_camera_that_a_star_lacks(
    tmp_path: Path, name: str, cameras: str, is_missed: bool
) -> None:
    touch(tmp_path, name, *(f"{STAR}{camera}.fits" for camera in cameras), f"{STAR + 1}1.fits")
    files = find_star_files(tmp_path)
    assert dict(files.missed.items()) == ({STAR: name} if is_missed else {})
    assert files.superfluous == (FileNames(0, ()) if is_missed else FileNames(1, (name,)))


def test_many_unused_files_are_counted_and_some_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, f"{STAR}1.fits", *(f"{STAR + number}2.fits.part" for number in range(25)))
    files = find_star_files(tmp_path)
    assert (files.unused.count, len(files.unused.first)) == (25, 10)
    with pytest.raises(SourceFormatError, match=r"\(25\): .* and 15 more;") as caught:
        files.check_names("raise")
    assert len(str(caught.value)) < 1000


def test_a_name_with_a_line_break_is_shown_on_one_line(tmp_path: Path) -> None:
    touch(tmp_path, f"{STAR}1.fits", f"{STAR}2\n.fits")
    with pytest.raises(SourceFormatError) as caught:
        find_star_files(tmp_path).check_names("raise")
    assert "\n" not in str(caught.value)
