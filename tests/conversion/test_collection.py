"""Collections: the spectra stay where they are, and everything reads them like one store."""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import galahstream as gs
from galahstream.cli.main import main
from galahstream.conversion.repair import repair
from galahstream.errors import (
    DestinationExistsError,
    GalahStreamError,
    OptionError,
    StoreChangedError,
    StoreFormatError,
)
from galahstream.sources.open import open_source
from galahstream.sources.wrappers import Selected
from galahstream.store import Store, open_store
from galahstream.store.members import CHECK_SECONDS, OPEN_FILES
from galahstream.store.readers import Reading
from tests.conftest import N_STARS, Pair, make_pair
from tests.store.contract import damage
from tests.store.test_changes import rewrite


def parts_of(pair: Pair, folder: Path, edges: list[int], **options: Any) -> list[Path]:
    """Convert consecutive stars of a pair, those between two edges each, with one split."""
    source, paths = open_source(pair.folder), []
    for number, (start, end) in enumerate(zip([0, *edges], [*edges, N_STARS], strict=True)):
        part = Selected(source, np.arange(start, end))
        paths.append(folder / f"part{number}")
        gs.convert(part, paths[-1], **{"split": (1, 0, 0), **options}).close()
    return paths


def batches(store: Store, **options: Any) -> list[np.ndarray[Any, Any]]:
    dataset = gs.SpectraDataset(store, transform=np.nan_to_num, return_ids=True)
    with gs.SpectraLoader(dataset, 8, shuffle=True, **options) as loader:
        return [np.column_stack((ids, flux)) for flux, _, ids in loader]


@pytest.fixture
def collection(pair: Pair, tmp_path: Path) -> Store:
    return gs.merge(tmp_path / "collection", parts_of(pair, tmp_path, [20, 41]))


@settings(max_examples=8, deadline=None)
@given(edges=st.lists(st.integers(1, N_STARS - 1), max_size=5, unique=True).map(sorted))
def test_the_order_of_an_epoch_depends_on_the_rows_not_on_the_cut(
    edges: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    pair = make_pair(folder / "raw")
    with gs.convert(pair.folder, folder / "whole", split=(1, 0, 0)) as whole:
        expected, arrays = batches(whole), whole.arrays
    with gs.merge(folder / "collection", parts_of(pair, folder, edges)) as collection:
        assert collection.manifest.split_sizes == (N_STARS, 0, 0)
        for name, array in arrays.items():
            assert np.array_equal(collection.arrays[name], array, equal_nan=True), name
        found = batches(collection)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_no_flux_is_copied(pair: Pair, tmp_path: Path) -> None:
    paths = parts_of(pair, tmp_path, [30])
    gs.merge(tmp_path / "collection", paths).close()
    members = sorted((tmp_path / "collection" / "members").iterdir())
    for path, member in zip(paths, members, strict=True):
        assert (path / "flux.npy").samefile(member / "flux.npy")


def test_without_links_the_members_are_copies(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    paths = parts_of(pair, tmp_path, [30])
    monkeypatch.setattr("os.link", link)
    with gs.merge(tmp_path / "collection", paths) as collection:
        assert not (tmp_path / "part0/flux.npy").samefile(collection.spectra_files[0])
        assert collection.verify().tolist() == []


@pytest.mark.slow
@pytest.mark.parametrize("reading", ["mapped", "pread"])
def test_60_members_are_read_with_few_open_files(
    pair: Pair, tmp_path: Path, reading: Reading
) -> None:
    paths = parts_of(pair, tmp_path, list(range(1, N_STARS)))
    gs.merge(tmp_path / "collection", paths).close()
    with open_store(tmp_path / "collection", reading=reading) as collection:
        assert collection.describe().members == N_STARS
        expected = pair.spectra[collection.source_row]
        for _ in range(2):
            assert np.array_equal(collection.flux[:], expected, equal_nan=True)
        files = [file for file in psutil.Process().open_files() if file.path.endswith("flux.npy")]
        assert len(files) <= OPEN_FILES


@pytest.mark.slow
def test_a_network_trains_and_predicts_and_a_run_is_resumed(
    pair: Pair, tmp_path: Path, without_pictures: None
) -> None:
    paths = parts_of(pair, tmp_path, [25], split=(0.6, 0.2, 0.2))
    options: dict[str, Any] = {"labels": ("teff",), "device": "cpu", "model": "compact"}
    with gs.merge(tmp_path / "collection", paths) as collection:
        gs.train(collection, tmp_path / "run", epochs=1, **options)
        result = gs.train(collection, tmp_path / "run", epochs=2, resume=True, **options)
        assert result.record.data.fingerprint == collection.fingerprint
        predictions = gs.predict(result.model, collection)
        assert predictions.ids.tolist() == collection.ids.tolist()
        gs.write_report(collection.path, tmp_path / "report.html")
    with gs.convert(tmp_path / "collection", tmp_path / "small") as small:
        assert small.format == "npy"
        assert np.array_equal(small.split, collection.split)
        assert np.array_equal(small.flux[:], pair.spectra[small.source_row], equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("reading", ["mapped", "pread"])
@pytest.mark.parametrize("worker_type", ["thread", "process"])
def test_a_member_that_changes_ends_the_epoch(
    collection: Store, reading: Reading, worker_type: Any
) -> None:
    with open_store(collection.path, reading=reading) as store:
        dataset = gs.SpectraDataset(store, transform=np.nan_to_num)
        with gs.SpectraLoader(dataset, 2, worker_type=worker_type) as loader:
            found = iter(loader)
            next(found)
            path = collection.spectra_files[1]
            rewrite(path)
            time.sleep(CHECK_SECONDS)
            with pytest.raises(StoreChangedError, match="was written to"):
                list(found)


def test_damaged_rows_are_restored_in_their_members(
    collection: Store, pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(collection.path, 7)
    damage(collection.path, 50)
    assert main(["verify", str(collection.path)]) == 1
    printed = capsys.readouterr().out
    assert "row 7 (star 7)" in printed
    assert "members/000002/flux.npy" in printed
    assert repair(collection.path, pair.folder).tolist() == [7, 50]
    with open_store(collection.path) as store:
        assert store.fingerprint == collection.fingerprint
        assert store.verify().tolist() == []


def test_select_keeps_the_stars_that_meet_conditions(collection: Store, tmp_path: Path) -> None:
    teff = collection.labels["teff"]
    with gs.select(collection.path, tmp_path / "hot", "teff > 5600 and id != 12") as hot:
        expected = collection.ids[(teff > 5600) & (collection.ids != 12)]
        assert hot.ids.tolist() == expected.tolist()
        assert np.array_equal(
            hot.flux[:], collection.flux[np.isin(collection.ids, expected)], equal_nan=True
        )
        (first, second) = hot.manifest.cuts
        assert (first.condition, first.removed) == ("teff > 5600", int((teff <= 5600).sum()))
        assert second.removed == int(teff[12] > 5600)
        assert hot.manifest.labels[4].minimum == teff[np.isin(collection.ids, expected)].min()
    with gs.select(tmp_path / "hot", tmp_path / "one", f"id == {expected[0]}") as one:
        assert one.ids.tolist() == [expected[0]]
        assert len(one.manifest.cuts) == 3


def test_select_says_what_is_wrong(npy_store: Store, tmp_path: Path) -> None:
    wrong: list[tuple[str, type[GalahStreamError], str]] = [
        ("teff > 1e9", OptionError, "none of its 60 stars is left"),
        ("t_eff > 3", OptionError, "no label 't_eff'"),
        ("teff >", OptionError, "where"),
    ]
    for where, error, text in wrong:
        with pytest.raises(error, match=text):
            gs.select(npy_store.path, tmp_path / "some", where)
    with pytest.raises(OptionError, match="is the source"):
        gs.select(npy_store.path, npy_store.path, "teff > 0")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "some"))] == []


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_append_adds_the_stars_of_a_source(pair: Pair, tmp_path: Path, dtype: Any) -> None:
    source = open_source(pair.folder)
    options: dict[str, Any] = {"dtype": dtype}
    if dtype == "uint16":
        options["flux_range"] = (-1.0, 3.0)
    with gs.convert(Selected(source, np.arange(40)), tmp_path / "store", **options) as old:
        split = dict(zip(old.ids.tolist(), old.split.tolist(), strict=True))
        flux = old.path / "flux.npy"
        inode = flux.stat().st_ino
    with gs.append(tmp_path / "store", Selected(source, np.arange(40, 50))) as once:
        assert once.describe().members == 2
        assert once.spectra_files[0].stat().st_ino == inode
    with gs.append(tmp_path / "store", Selected(source, np.arange(50, 60))) as store:
        assert store.describe().members == 3
        assert sorted(store.ids.tolist()) == list(range(60))
        now = dict(zip(store.ids.tolist(), store.split.tolist(), strict=True))
        assert {star: now[star] for star in split} == split
        assert store.manifest.split_sizes == (42, 8, 10)
        assert store.verify().tolist() == []
        expected = store.flux.encoding.decode(
            store.flux.encoding.encode(pair.spectra[store.source_row])
        )
        assert np.array_equal(store.flux[:], expected, equal_nan=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "store"]


def test_what_cannot_be_appended_leaves_the_store_as_it_was(pair: Pair, tmp_path: Path) -> None:
    with gs.convert(pair.folder, tmp_path / "store") as store:
        fingerprint = store.fingerprint
    other = make_pair(tmp_path / "other", pixels=32)
    for source, text in (
        (pair.folder, "60 stars are in two stores, such as 0"),
        (other.folder, "numbers of pixels are 32 and 64"),
    ):
        with pytest.raises(OptionError, match=text):
            gs.append(tmp_path / "store", source)
        assert open_store(tmp_path / "store").fingerprint == fingerprint
        assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "raw", "store"]
    gs.convert(pair.folder, tmp_path / "one.h5").close()
    with pytest.raises(OptionError, match="is one file"):
        gs.append(tmp_path / "one.h5", other.folder)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dtype": "uint16", "flux_range": (-1, 3)}, "dtypes are uint16 and float32"),
        ({"labels": ["a", "b", "c", "d", "e", "f", "g", "h"]}, "labels are a"),
        ({"wavelength": np.arange(64) + 5000.0}, "wavelengths"),
        ({"format": "hdf5", "compression": "gzip"}, "compressed"),
    ],
)
def test_stores_that_do_not_fit_are_named(
    pair: Pair, tmp_path: Path, options: dict[str, Any], text: str
) -> None:
    source = open_source(pair.folder, options.get("labels"))
    gs.convert(Selected(source, np.arange(20)), tmp_path / "a").close()
    if "labels" in options:
        pair = make_pair(tmp_path / "named")
        gs.convert(pair.folder, tmp_path / "a", overwrite=True).close()
        gs.convert(pair.folder, tmp_path / "b", **options).close()
    else:
        gs.convert(Selected(source, np.arange(20, 60)), tmp_path / "b", **options).close()
    with pytest.raises(OptionError, match=text) as caught:
        gs.merge(tmp_path / "collection", [tmp_path / "a", tmp_path / "b"])
    assert str(tmp_path / "b") in str(caught.value)
    assert not (tmp_path / "collection").exists()


def test_one_star_in_two_stores_is_an_error(pair: Pair, tmp_path: Path) -> None:
    source = open_source(pair.folder)
    gs.convert(Selected(source, np.arange(40)), tmp_path / "a").close()
    gs.convert(Selected(source, np.arange(39, 60)), tmp_path / "b").close()
    with pytest.raises(OptionError, match=r"1 stars are in two stores, such as 39 in .*a and .*b"):
        gs.merge(tmp_path / "collection", [tmp_path / "a", tmp_path / "b"])


def test_a_member_that_is_missing_or_changed_is_named_when_it_is_opened(
    collection: Store, pair: Pair, tmp_path: Path
) -> None:
    member = collection.path / "members" / "000001"
    shutil.move(member, tmp_path / "away")
    with pytest.raises(StoreFormatError, match=r"member '000001'.*is missing"):
        open_store(collection.path)
    gs.convert(pair.folder, member).close()
    with pytest.raises(StoreFormatError, match="member '000001' is not the store"):
        open_store(collection.path)
    shutil.rmtree(member)
    shutil.move(tmp_path / "away", member)
    (member / "flux.npy").write_bytes((member / "flux.npy").read_bytes()[:-4])
    with pytest.raises(StoreFormatError, match=r"000001/flux.npy: \d+ bytes"):
        open_store(collection.path)


def test_a_collection_is_replaced_only_with_overwrite_and_holds_nothing_else(
    collection: Store, pair: Pair
) -> None:
    with pytest.raises(DestinationExistsError, match="exists already"):
        gs.convert(pair.folder, collection.path)
    (collection.path / "members" / "notes.txt").write_text("mine")
    with pytest.raises(DestinationExistsError, match=r"'notes.txt' is not a store"):
        gs.convert(pair.folder, collection.path, overwrite=True)
    (collection.path / "members" / "notes.txt").unlink()
    with gs.convert(pair.folder, collection.path, overwrite=True) as store:
        assert store.format == "npy"


def test_rows_that_begin_between_two_values_are_read_with_pread(pair: Pair, tmp_path: Path) -> None:
    gs.convert(
        pair.with_errors, tmp_path / "chunks.h5", dtype="uint16", flux_range=(-1, 3), chunk_rows=7
    ).close()
    with gs.merge(tmp_path / "collection", [tmp_path / "chunks.h5"]) as store:
        if store.flux.access == "mapped":
            pytest.skip("this HDF5 aligned the rows")
        assert "between two values" in store.flux.access_reason
    with pytest.raises(OptionError, match="reading='auto'"):
        open_store(tmp_path / "collection", reading="mapped")


def test_the_commands_make_collections(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = list(map(str, parts_of(pair, tmp_path, [20, 40])))
    assert main(["merge", str(tmp_path / "two"), *paths[:2]]) == 0
    assert "members     2 stores" in capsys.readouterr().out
    np.save(tmp_path / "ids.npy", np.arange(60, 120))
    raw = make_pair(tmp_path / "new", seed=5).folder
    shutil.copy(tmp_path / "ids.npy", raw)
    assert main(["append", str(tmp_path / "two"), str(raw), "--split", "0.5,0.25,0.25"]) == 0
    assert "100 stars" in capsys.readouterr().out
    where = "id >= 60 and teff > 5000"
    assert main(["select", str(tmp_path / "two"), str(tmp_path / "new2"), "--where", where]) == 0
    assert "cut         id >= 60: 40 stars removed" in capsys.readouterr().out
    assert main(["merge", str(tmp_path / "two"), paths[2]]) == 1
    assert "exists already" in capsys.readouterr().err
