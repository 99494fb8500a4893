"""Publishing, overwriting, and the paths of source and destination."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from galahstream.cli.main import main
from galahstream.conversion.convert import convert
from galahstream.conversion.export import write_npy_pair
from galahstream.conversion.repair import repair
from galahstream.conversion.staging import staging
from galahstream.errors import (
    DestinationExistsError,
    GalahStreamError,
    OptionError,
    SourceMissingError,
)
from galahstream.sources.open import open_source
from galahstream.store import open_store
from tests.conftest import Pair, make_pair
from tests.conversion.test_repair import damage
from tests.faults.interrupted import contents


def anything(path: Path) -> None:
    """Allow everything to be replaced."""


def tree(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files of a folder, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_nothing_is_left_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staging(tmp_path / "a") as area:
        area.store.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with (
        pytest.raises(RuntimeError),
        staging(tmp_path / "a", overwrite=True, foreign_content=anything) as area,
    ):
        area.store.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "old"
    with staging(tmp_path / "a", overwrite=True, foreign_content=anything) as area:
        area.store.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert (tmp_path / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_destination_that_exists_or_has_no_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DestinationExistsError, match="exists"), staging(tmp_path / "a"):
        pass
    with pytest.raises(SourceMissingError, match="folder"), staging(tmp_path / "b" / "c"):
        pass


def test_an_existing_store_raises_or_is_replaced(pair: Pair, tmp_path: Path) -> None:
    convert(pair.folder, tmp_path / "store")
    with pytest.raises(DestinationExistsError, match="store"):
        convert(pair.folder, tmp_path / "store")
    other = make_pair(tmp_path / "other", stars=40)
    assert len(convert(other.folder, tmp_path / "store", overwrite=True)) == 40
    assert len(convert(pair.folder, tmp_path / "store", format="hdf5", overwrite=True)) == 60
    assert len(convert(other.folder, tmp_path / "store", overwrite=True)) == 40


def thesis(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")


def empty_folder(path: Path) -> None:
    path.mkdir()


def text_file(path: Path) -> None:
    path.write_text("notes")


def other_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(3)


def other_manifest(path: Path) -> None:
    path.mkdir()
    (path / "manifest.json").write_text('{"name": "a web page"}')


def store_with_notes(path: Path) -> None:
    convert(path.parent / "raw", path).close()
    (path / "notes.txt").write_text("mine")


def store_with_a_folder(path: Path) -> None:
    convert(path.parent / "raw", path).close()
    (path / "labels.npy").unlink()
    (path / "labels.npy").mkdir()


def a_pair(path: Path) -> None:
    shutil.copytree(path.parent / "raw", path)


OTHERS = [thesis, empty_folder, text_file, other_hdf5, other_manifest, store_with_notes,
          store_with_a_folder, a_pair]  # fmt: skip


@pytest.mark.parametrize("make", OTHERS, ids=lambda make: str(make.__name__))
@pytest.mark.parametrize("format", ["npy", "hdf5"])
def test_only_a_store_is_overwritten(
    pair: Pair, tmp_path: Path, make: Callable[[Path], None], format: Any
) -> None:
    make(tmp_path / "dest")
    before = tree(tmp_path)
    with pytest.raises(DestinationExistsError, match="cannot be replaced: it"):
        convert(pair.folder, tmp_path / "dest", format=format, overwrite=True)
    assert tree(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dest", "raw"]


def test_a_store_that_a_file_manager_looked_at_is_overwritten(pair: Pair, tmp_path: Path) -> None:
    convert(pair.folder, tmp_path / "store").close()
    (tmp_path / "store" / ".DS_Store").write_bytes(b"")
    convert(pair.folder, tmp_path / "store", overwrite=True).close()
    assert not (tmp_path / "store" / ".DS_Store").exists()


def test_a_damaged_store_is_overwritten(pair: Pair, tmp_path: Path) -> None:
    path = convert(pair.folder, tmp_path / "store").path
    (path / "flux.npy").unlink()
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace("60", "61"))
    assert len(convert(pair.folder, path, overwrite=True)) == 60


@pytest.mark.parametrize("name", ["notes.txt", "ids.npy", "manifest.json"])
def test_the_pair_export_replaces_nothing_but_a_pair(pair: Pair, tmp_path: Path, name: str) -> None:
    source = open_source(pair.folder)
    write_npy_pair(source, tmp_path / "copy")
    with pytest.raises(DestinationExistsError, match="exists already"):
        write_npy_pair(source, tmp_path / "copy")
    for ignored in (".nfs0123", ".DS_Store"):
        (tmp_path / "copy" / ignored).touch()
    write_npy_pair(source, tmp_path / "copy", overwrite=True)
    (tmp_path / "copy" / name).write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(DestinationExistsError, match=f"it holds '{name}'"):
        write_npy_pair(source, tmp_path / "copy", overwrite=True)
    assert tree(tmp_path) == before


def test_the_pair_export_does_not_replace_its_own_source(pair: Pair, tmp_path: Path) -> None:
    before = tree(tmp_path)
    with pytest.raises(OptionError, match="contains the source"):
        write_npy_pair(open_source(pair.folder), pair.folder, overwrite=True)
    assert tree(tmp_path) == before


def test_a_repair_leaves_other_files_of_the_folder(pair: Pair, tmp_path: Path) -> None:
    path = convert(pair.folder, tmp_path / "store").path
    damage(path)
    (path / "notes.txt").write_text("mine")
    with pytest.raises(DestinationExistsError, match=r"notes\.txt"):
        repair(path, pair.folder)
    assert (path / "notes.txt").read_text() == "mine"


def same_folder(raw: Path) -> tuple[Any, Path]:
    return raw, raw


def inside_the_folder(raw: Path) -> tuple[Any, Path]:
    return raw, raw / "store"


def folder_of_the_file(raw: Path) -> tuple[Any, Path]:
    return raw / "spectra.npy", raw


def folder_above(raw: Path) -> tuple[Any, Path]:
    return raw, raw.parent


def the_file(raw: Path) -> tuple[Any, Path]:
    return (raw / "spectra.npy", raw / "labels.npy"), raw / "labels.npy"


def through_a_link_to_the_source(raw: Path) -> tuple[Any, Path]:
    (raw.parent / "link").symlink_to(raw)
    return raw.parent / "link", raw


def through_a_link_to_the_destination(raw: Path) -> tuple[Any, Path]:
    (raw.parent / "link").symlink_to(raw)
    return raw, raw.parent / "link" / "store"


def of_an_open_source(raw: Path) -> tuple[Any, Path]:
    return open_source(raw), raw


def spectra_linked_to_the_destination(raw: Path) -> tuple[Any, Path]:
    store = convert(raw, raw.parent / "store").path
    (raw / "spectra.npy").unlink()
    (raw / "spectra.npy").symlink_to(store / "flux.npy")
    return raw, store


def labels_linked_to_the_destination(raw: Path) -> tuple[Any, Path]:
    store = convert(raw, raw.parent / "store").path
    (raw / "labels.npy").unlink()
    (raw / "labels.npy").symlink_to(store / "labels.npy")
    return raw, store


def hdf5_onto_itself(raw: Path) -> tuple[Any, Path]:
    store = convert(raw, raw.parent / "store.h5", format="hdf5").path
    return store, store


def hdf5_onto_its_hard_link(raw: Path) -> tuple[Any, Path]:
    store = convert(raw, raw.parent / "store.h5", format="hdf5").path
    os.link(store, raw.parent / "link.h5")
    return store, raw.parent / "link.h5"


OVERLAPS = [same_folder, inside_the_folder, folder_of_the_file, folder_above, the_file,
            through_a_link_to_the_source, through_a_link_to_the_destination, of_an_open_source,
            spectra_linked_to_the_destination, labels_linked_to_the_destination,
            hdf5_onto_itself, hdf5_onto_its_hard_link]  # fmt: skip


@pytest.mark.parametrize("arrange", OVERLAPS, ids=lambda arrange: str(arrange.__name__))
@pytest.mark.parametrize("format", ["npy", "hdf5"])
def test_a_destination_that_touches_its_source_raises_before_anything_is_touched(
    pair: Pair, tmp_path: Path, arrange: Callable[[Path], tuple[Any, Path]], format: Any
) -> None:
    source, destination = arrange(pair.folder)
    before = tree(tmp_path)
    with pytest.raises(OptionError, match=r"(is|contains|is inside) the source"):
        convert(source, destination, format=format, overwrite=True, labels=None)
    assert tree(tmp_path) == before


def test_a_store_is_not_repaired_from_itself(pair: Pair, tmp_path: Path) -> None:
    path = convert(pair.folder, tmp_path / "store.h5", format="hdf5").path
    damage(path)
    with pytest.raises(OptionError, match="is the source"):
        repair(path, path)
    with pytest.raises(GalahStreamError, match="contains the source"):
        repair(convert(pair.folder, tmp_path / "store").path, tmp_path / "store" / "flux.npy")


def test_a_repair_through_a_link_restores_the_store_behind_it(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    path = convert(pair.folder, tmp_path / "disk" / "store").path
    intact = contents(path)
    (tmp_path / "link").symlink_to(path)
    damage(path)
    assert len(repair(tmp_path / "link", pair.folder)) > 0
    assert (tmp_path / "link").is_symlink()
    assert contents(path) == intact
    assert [file.name for file in (tmp_path / "disk").iterdir()] == ["store"]


def test_a_store_behind_a_link_is_overwritten(pair: Pair, tmp_path: Path) -> None:
    path = convert(make_pair(tmp_path / "other", stars=40).folder, tmp_path / "store").path
    (tmp_path / "link").symlink_to(path)
    convert(pair.folder, tmp_path / "link", overwrite=True).close()
    assert (tmp_path / "link").is_symlink()
    assert len(open_store(path)) == 60


def test_a_store_can_be_repaired_from_inside_itself(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = convert(pair.folder, tmp_path / "store").path
    intact = contents(path)
    for name in ("../store", "."):
        damage(path)
        monkeypatch.chdir(path)
        assert main(["verify", name, "--repair", "../raw"]) == 0
        monkeypatch.chdir(tmp_path)
        assert contents(path) == intact
    assert sorted(file.name for file in tmp_path.iterdir()) == ["raw", "store"]


@pytest.mark.parametrize("name", ["../store", "."])
def test_a_store_can_be_overwritten_from_inside_itself(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = convert(make_pair(tmp_path / "other", stars=40).folder, tmp_path / "store").path
    monkeypatch.chdir(path)
    assert main(["convert", "../raw", name, "--overwrite"]) == 0
    monkeypatch.chdir(tmp_path)
    assert len(open_store(path)) == 60


def test_a_failed_conversion_keeps_the_store_that_was_to_be_overwritten(
    pair: Pair, tmp_path: Path
) -> None:
    good = contents(convert(pair.folder, tmp_path / "store").path)
    np.save(pair.folder / "spectra.npy", np.zeros_like(pair.spectra))
    with pytest.raises(GalahStreamError, match="no usable pixel"):
        convert(pair.folder, tmp_path / "store", overwrite=True)
    assert contents(tmp_path / "store") == good


def test_a_repair_discards_an_interrupted_conversion(pair: Pair, tmp_path: Path) -> None:
    path = convert(pair.folder, tmp_path / "store").path
    intact = contents(path)
    folder = tmp_path / ".store.partial"
    (folder / "store").mkdir(parents=True)
    (folder / "journal").write_text("")
    damage(path)
    repair(path, pair.folder)
    assert contents(path) == intact
    assert sorted(file.name for file in tmp_path.iterdir()) == ["raw", "store"]
