"""Star files in a tree of folders, found once each, or named."""

import errno
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galahstream.errors import BadSpectraError, SourceAccessError
from galahstream.sources.galah_folder import StarFiles
from galahstream.sources.galah_listing import find_star_files, is_fits_folder
from tests.sources.files import STAR

NIGHTS = ("", "140209", "140210", "140210/combined", "a/b/c", "run 7", "Ω", str(STAR))
SUFFIXES = (".fits", ".fits.gz", ".FITS")
STARS = st.integers(STAR, STAR + 3)
# Folder, star, camera and suffix of each file.
FILES = st.sets(
    st.tuples(st.sampled_from(NIGHTS), STARS, st.integers(1, 4), st.sampled_from(SUFFIXES)),
    min_size=1,
    max_size=20,
)
UNFINISHED = st.sets(st.tuples(st.sampled_from(NIGHTS), STARS, st.integers(1, 4)), max_size=4)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def star(folder: Path, star: int = STAR, cameras: str = "1234") -> Path:
    for camera in cameras:
        touch(folder / f"{star}{camera}.fits")
    return folder


def found(files: StarFiles) -> set[Path]:
    return {path for row in range(len(files.ids)) for _, path in files.paths(row)}


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(files=FILES, unfinished=UNFINISHED)
def test_a_tree_of_nights_is_found_as_a_walk_over_its_names_finds_it(
    tmp_path_factory: pytest.TempPathFactory,
    files: set[tuple[str, int, int, str]],
    unfinished: set[tuple[str, int, int]],
) -> None:
    top = tmp_path_factory.mktemp("stars")
    copies: dict[tuple[int, int], list[Path]] = {}
    for night, star_id, camera, suffix in sorted(files):
        path = touch(top / night / f"{star_id}{camera}{suffix}")
        path.write_bytes(bytes(star_id % 7 + camera))
        copies.setdefault((star_id, camera), []).append(path)
    for night, star_id, camera in unfinished:
        touch(top / night / f"{star_id}{camera}.fits.part")
    index = find_star_files(top)
    assert index.ids.tolist() == sorted({star_id for star_id, _ in copies})
    listed = {
        (int(star_id), camera + 1): (path, row)
        for row, star_id in enumerate(index.ids)
        for camera, path in index.paths(row)
    }
    assert listed.keys() == copies.keys()
    for (star_id, camera), (path, row) in listed.items():
        status = path.stat()
        assert path in copies[star_id, camera]
        assert index.has_camera[row, camera - 1]
        assert index.size[row, camera - 1] == status.st_size == star_id % 7 + camera
        assert index.mtime_ns[row, camera - 1] == status.st_mtime_ns
        index.check_unchanged(row, camera - 1, status.st_size, status.st_mtime_ns)
    assert int(index.has_camera.sum()) == len(copies)
    assert set(index.doubles.ids.tolist()) == {
        star_id for (star_id, _), paths in copies.items() if len(paths) > 1
    }
    lacking = {(star_id, camera) for _, star_id, camera in unfinished} - copies.keys()
    assert set(index.missed.ids.tolist()) == {star_id for star_id, _ in lacking}
    assert index.unused.count == len(unfinished)
    assert index.fingerprint == find_star_files(top).fingerprint


@pytest.mark.parametrize("night", NIGHTS)
def test_stars_of_any_folder_are_found(tmp_path: Path, night: str) -> None:
    star(tmp_path / night)
    assert is_fits_folder(tmp_path)
    index = find_star_files(tmp_path)
    assert found(index) == {tmp_path / night / f"{STAR}{camera}.fits" for camera in "1234"}
    assert not index.unused


def test_paths_are_absolute_and_stay_valid_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    star(tmp_path / "stars" / "140209")
    monkeypatch.chdir(tmp_path)
    index = find_star_files(Path("stars"))
    monkeypatch.chdir("/")
    assert all(path.is_file() for path in found(index))


def test_hidden_folders_and_attribute_files_are_ignored(tmp_path: Path) -> None:
    star(tmp_path / "140209")
    star(tmp_path / ".trash", STAR + 1)
    star(tmp_path / "140209" / ".git" / "inner", STAR + 2)
    touch(tmp_path / "140209" / f"._{STAR}2.fits")
    index = find_star_files(tmp_path)
    assert index.ids.tolist() == [STAR]
    assert not index.unused
    hidden = star(tmp_path / ".stars")
    assert find_star_files(hidden).ids.tolist() == [STAR]


def test_links_to_folders_are_followed_and_a_folder_is_listed_once(tmp_path: Path) -> None:
    raw, disk = tmp_path / "raw", tmp_path / "disk"
    star(raw / "140209")
    star(disk / "140210" / "inner", STAR + 1)
    (raw / "140210").symlink_to(disk / "140210")
    (raw / "0").symlink_to(raw / "140209")  # before the folder itself
    (raw / "inner").symlink_to(disk / "140210" / "inner")
    (raw / "140209" / "up").symlink_to("..")
    (raw / "self").symlink_to("self")
    (raw / "nowhere").symlink_to("missing")
    index = find_star_files(raw)
    assert index.ids.tolist() == [STAR, STAR + 1]
    assert not index.doubles
    assert [path.parent for _, path in index.paths(0)] == [raw / "140209"] * 4
    assert [path.parent for _, path in index.paths(1)] == [raw / "140210" / "inner"] * 4
    assert list(index.links) == [str(disk / "140210")]


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    star(tmp_path / "raw" / "140209")
    star(tmp_path / "other", STAR + 1)
    (tmp_path / "raw" / "140209" / "above").symlink_to(tmp_path)
    assert find_star_files(tmp_path / "raw").ids.tolist() == [STAR, STAR + 1]


def test_links_to_files_are_files_with_the_size_of_what_they_lead_to(tmp_path: Path) -> None:
    file = tmp_path / "content"
    file.write_bytes(bytes(17))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / f"{STAR}1.fits").symlink_to(file)
    (tmp_path / "raw" / f"{STAR}2.fits").symlink_to(f"{STAR}2.fits")
    index = find_star_files(tmp_path / "raw")
    assert index.size.tolist() == [[17, -1, -1, -1]]
    assert index.unused.first == (f"{STAR}2.fits (not a file)",)


@pytest.mark.parametrize("folder", ["", "140209", "140209/inner"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, number: int
) -> None:
    star(tmp_path / "140209" / "inner")
    scandir = os.scandir

    def refusing(path: Path) -> Any:
        if Path(path) == tmp_path / folder:
            raise OSError(number, os.strerror(number))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for read in (find_star_files, is_fits_folder):
        with pytest.raises(SourceAccessError, match=f"^{tmp_path / folder} cannot be read"):
            read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    star(tmp_path / "140209")
    (tmp_path / "140210").mkdir(mode=0)
    with pytest.raises(SourceAccessError, match="140210 cannot be read: Permission denied"):
        find_star_files(tmp_path)


def test_the_same_star_in_two_folders_is_named_with_both_paths(tmp_path: Path) -> None:
    star(tmp_path / "140209")
    star(tmp_path / "copy of 140209", cameras="23")
    star(tmp_path / "140210", STAR + 1)
    index = find_star_files(tmp_path)
    ((star_id, text),) = index.doubles.items()
    assert star_id == STAR
    assert text == (
        f"140209/{STAR}2.fits and copy of 140209/{STAR}2.fits (and 1 more of this star)"
    )
    index.check_names("skip")
    with pytest.raises(BadSpectraError, match=r"\(stars: 1\).*remove one of each") as caught:
        index.check_names("raise")
    assert text in str(caught.value)


def test_many_double_stars_are_counted_and_ten_are_named(tmp_path: Path) -> None:
    for night in ("1", "2"):
        for number in range(25):
            star(tmp_path / night, STAR + number)
    with pytest.raises(BadSpectraError, match=r"\(stars: 25\).* and 15 more;") as caught:
        find_star_files(tmp_path).check_names("raise")
    assert len(str(caught.value)) < 2000


def test_files_that_are_not_used_are_named_with_their_folder(tmp_path: Path) -> None:
    star(tmp_path / "140209", cameras="123")
    touch(tmp_path / "140209" / f"{STAR}4.fits.part")
    touch(tmp_path / "140210" / "140210.fits")
    touch(tmp_path / "140210" / "allstar.fits")
    index = find_star_files(tmp_path)
    assert index.unused.first == (f"140209/{STAR}4.fits.part", "140210/140210.fits")
    assert dict(index.missed.items()) == {STAR: f"140209/{STAR}4.fits.part"}
    assert index.superfluous.first == ("140210/140210.fits",)
    assert index.others.first == ("140210/allstar.fits",)


class _Entries:
    """Entries of a folder in the reverse of their order."""

    def __init__(self, entries: Iterator["os.DirEntry[str]"]) -> None:
        self._entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

    def __enter__(self) -> Iterator["os.DirEntry[str]"]:
        return iter(self._entries)

    def __exit__(self, *error: object) -> None:
        pass


def test_the_order_of_a_file_system_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, night in enumerate(NIGHTS):
        star(tmp_path / night, STAR + number, cameras="13")
        touch(tmp_path / night / f"{STAR + number}2.fits.gz")
    index, scandir = find_star_files(tmp_path), os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: _Entries(scandir(path)))
    other = find_star_files(tmp_path)
    assert other.fingerprint == index.fingerprint
    assert found(other) == found(index)
    assert np.array_equal(other.folder_number, index.folder_number)


@pytest.mark.slow
@pytest.mark.parametrize("n_stars_per_folder", [250, 1])
def test_memory_is_that_of_arrays_and_not_of_objects(
    tmp_path: Path, n_stars_per_folder: int
) -> None:
    n_stars = 1000
    for number in range(n_stars):
        star(tmp_path / str(number // n_stars_per_folder), STAR + number)
    tracemalloc.start()
    try:
        files = find_star_files(tmp_path)
        kept_bytes, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(files.ids) == n_stars
    assert kept_bytes < 200 * n_stars
    assert peak_bytes < 1000 * n_stars  # one path of each file would take more
