"""An index of star files that is kept, selected and compared."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from galahstream.errors import SourceFormatError, StorageFullError
from galahstream.sources import galah_index
from galahstream.sources.galah_folder import StarFiles
from galahstream.sources.galah_index import load_index, save_index
from galahstream.sources.galah_listing import find_star_files
from tests.sources.files import STAR


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three nights, with a double star, an unfinished file, and a name that is not UTF-8."""
    raw = tmp_path / "raw"
    for night, stars in (("140209", (0, 1)), ("140210", (1, 2, 3)), (os.fsdecode(b"\xff"), (4,))):
        (raw / night).mkdir(parents=True)
        for star in stars:
            for camera in "124":
                (raw / night / f"{STAR + star}{camera}.fits").write_bytes(bytes(star + 1))
    (raw / "140209" / f"{STAR}3.fits.part").touch()
    (raw / os.fsdecode(b"\xfe.fits")).touch()
    (raw / "link").symlink_to(tmp_path)
    return raw


def as_values(files: StarFiles) -> list[object]:
    paths = [files.paths(row) for row in range(len(files.ids))]
    arrays = [array.tolist() for array in (files.ids, files.size, files.mtime_ns, files.has_camera)]
    texts = [list(files.links), list(files.doubles.items()), list(files.missed.items())]
    return [files.folder, paths, arrays, texts, files.unused, files.superfluous, files.others]


def test_an_index_comes_back_as_it_was(folder: Path, tmp_path: Path) -> None:
    files = find_star_files(folder)
    save_index(files, tmp_path / "index")
    kept = load_index(tmp_path / "index", folder)
    assert kept is not None
    assert as_values(kept) == as_values(files)
    assert kept.fingerprint == files.fingerprint
    for array in ("ids", "folder_number", "suffix", "size", "mtime_ns"):
        assert getattr(kept, array).dtype == getattr(files, array).dtype
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "raw"]


def test_an_index_without_any_star_comes_back(tmp_path: Path) -> None:
    (tmp_path / f"{STAR}1.fits.part").touch()
    save_index(find_star_files(tmp_path), tmp_path / "index")
    kept = load_index(tmp_path / "index", tmp_path)
    assert kept is not None
    assert len(kept.ids) == 0
    assert kept.unused.count == 1


def test_an_index_of_another_folder_is_not_used(folder: Path, tmp_path: Path) -> None:
    save_index(find_star_files(folder), tmp_path / "index")
    folder.rename(tmp_path / "moved")
    (tmp_path / "other").mkdir()
    assert load_index(tmp_path / "index", tmp_path / "moved") is None
    assert load_index(tmp_path / "index", tmp_path / "other") is None
    folder.symlink_to(tmp_path / "other")  # the same name
    assert load_index(tmp_path / "index", folder) is None
    assert load_index(tmp_path / "no index", folder) is None


def test_an_index_is_used_under_every_name_of_its_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_index(find_star_files(folder), tmp_path / "index")
    (tmp_path / "name").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    for name in (Path("raw"), Path("name"), tmp_path / "name"):
        kept = load_index(tmp_path / "index", name)
        assert kept is not None
        assert all(path.is_absolute() and path.is_file() for _, path in kept.paths(0))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7), is_cut=st.booleans())
def test_a_damaged_index_is_not_used(
    folder: Path, tmp_path: Path, position: int, bit: int, is_cut: bool
) -> None:
    path = tmp_path / "index"
    if not path.exists():
        save_index(find_star_files(folder), path)
    content = path.read_bytes()
    position %= len(content)
    damaged = bytearray(content)
    damaged[position] ^= 1 << bit
    (tmp_path / "damaged").write_bytes(content[:position] if is_cut else damaged)
    assert load_index(tmp_path / "damaged", folder) is None


def test_an_index_of_another_version_is_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_index(find_star_files(folder), tmp_path / "index")
    monkeypatch.setattr(galah_index, "_FORMAT", 2)
    assert load_index(tmp_path / "index", folder) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "index.new").symlink_to("/dev/full")
    with pytest.raises(StorageFullError, match="index"):
        save_index(find_star_files(folder), tmp_path / "index")


@given(is_selected=st.lists(st.booleans(), min_size=5, max_size=5))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_selected_stars_keep_their_files(folder: Path, is_selected: list[bool]) -> None:
    files = find_star_files(folder)
    rows = np.flatnonzero(is_selected)
    for selected in (files.selected(rows), files.selected(np.array(is_selected))):
        assert selected.ids.tolist() == files.ids[rows].tolist()
        assert [selected.paths(row) for row in range(len(rows))] == [
            files.paths(row) for row in rows.tolist()
        ]
        assert np.array_equal(selected.has_camera, files.has_camera[rows])
        for row, of_all in enumerate(rows):
            size, mtime_ns = files.size[of_all, 0], files.mtime_ns[of_all, 0]
            selected.check_unchanged(row, 0, int(size), int(mtime_ns))
    assert (files.selected(rows).fingerprint == files.fingerprint) == all(is_selected)


def _rewritten(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def _longer(path: Path) -> None:
    mtime_ns = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(0, mtime_ns))


def _renamed(path: Path) -> None:
    path.rename(path.with_suffix(".fit"))


def _moved(path: Path) -> None:
    path.parent.with_name("140208").mkdir()
    path.rename(path.parent.with_name("140208") / path.name)


def _removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [_rewritten, _longer, _renamed, _moved, _removed])
def test_the_fingerprint_tells_every_change_of_a_star_s_files(folder: Path, change: object) -> None:
    assert callable(change)
    before = find_star_files(folder)
    change(folder / "140210" / f"{STAR + 2}1.fits")
    after = find_star_files(folder)
    assert after.fingerprint != before.fingerprint
    others = np.flatnonzero(before.ids != STAR + 2)
    assert after.selected(others).fingerprint == before.selected(others).fingerprint


def test_the_fingerprint_of_some_stars_does_not_depend_on_new_ones(folder: Path) -> None:
    before = find_star_files(folder)
    (folder / "0").mkdir()
    (folder / "0" / f"{STAR + 9}1.FITS").touch()
    after = find_star_files(folder)
    assert after.fingerprint != before.fingerprint
    kept = after.selected(np.isin(after.ids, before.ids))
    assert kept.fingerprint == before.fingerprint


@pytest.mark.parametrize(
    ("change", "what"), [(_rewritten, "written again"), (_longer, "had 3 bytes and has 4")]
)
def test_a_file_that_changed_is_named(folder: Path, change: object, what: str) -> None:
    assert callable(change)
    files = find_star_files(folder)
    path = folder / "140210" / f"{STAR + 2}1.fits"
    change(path)
    status = path.stat()
    with pytest.raises(SourceFormatError, match=f"{path}: it changed.*{what}.*--no-resume"):
        files.check_unchanged(2, 0, status.st_size, status.st_mtime_ns)
