"""Data sets of the hub, from a server on this machine: what is downloaded, kept, and refused."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from galahstream.cli.main import main
from galahstream.conversion.convert import convert
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.repair import repair
from galahstream.conversion.run import convert_with
from galahstream.errors import (
    OptionError,
    SourceAccessError,
    SourceFormatError,
)
from galahstream.sources.base import Source, Spectra
from galahstream.sources.huggingface import HubAddress, HubSource, is_hub_address
from galahstream.sources.open import open_source
from tests.sources.contract import SourceContract, read_all
from tests.sources.files import FLUX, IDS, LABELS, STAR, WAVELENGTH, table_hdf5, write_pair
from tests.sources.files import write_star as write_fits_star
from tests.sources.hub_server import ADDRESS, BY_HAND, GATED, REPOSITORY, Hub, contents
from tests.sources.parquet_files import columns, parts, write_collection, write_parquet

hub_package = pytest.importorskip("huggingface_hub")


@pytest.mark.slow
class TestContract(SourceContract):
    @pytest.fixture
    def source(self, hub: Hub, hub_pair: dict[str, bytes]) -> Source:
        hub.commit(hub_pair)
        return open_source(ADDRESS, progress=False)


def test_the_pair_of_a_data_set_becomes_a_store(
    hub: Hub, hub_pair: dict[str, bytes], tmp_path: Path
) -> None:
    sha = hub.commit({**hub_pair, "README.md": b"about", "figures/all.png": b"png"})
    store = convert(ADDRESS, tmp_path / "store", progress=False)
    assert np.array_equal(store.flux[:], FLUX[store.source_row], equal_nan=True)
    assert np.array_equal(store.ids, IDS[store.source_row])
    assert np.array_equal(store.wavelength, WAVELENGTH)
    assert store.info()["notes"] == [f"downloaded from {ADDRESS}, commit {sha}"]
    needed = {"spectra.npy", "labels.npy", "ids.npy", "wavelength.npy", ".gitattributes"}
    assert set(hub.downloaded()) == needed


@pytest.mark.parametrize(
    "address", [ADDRESS, f"hf://datasets/{REPOSITORY}", f"{ADDRESS}/", Path(ADDRESS)]
)
def test_an_address_may_be_written_in_several_ways(
    hub: Hub, hub_pair: dict[str, bytes], tmp_path: Path, address: str | Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sha = hub.commit(hub_pair)
    monkeypatch.chdir(tmp_path)
    source = open_source(address, progress=False)
    assert isinstance(source, HubSource)
    assert source.name == f"{ADDRESS}@{sha}"
    assert not (tmp_path / "hf:").exists()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://a/b", HubAddress("a/b")),
        ("hf:/a/b", HubAddress("a/b")),
        ("hf://datasets/a/b@v1.0", HubAddress("a/b", "v1.0")),
        ("hf://a-b/c.d_e@refs%2Fpr%2F1/x/y.h5", HubAddress("a-b/c.d_e", "refs/pr/1", "x/y.h5")),
        ("hf://a/b/x y/", HubAddress("a/b", "main", "x y")),
    ],
)
def test_an_address_has_a_repository_a_revision_and_a_path(text: str, address: HubAddress) -> None:
    assert HubAddress.parse(text) == address
    assert HubAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://galah4", "hf://a/b@", "hf://a b/c", "hf://a/../b", "hf://a--b/c", "hf:/"],
)
def test_what_is_not_an_address_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="expected hf://OWNER/NAME"):
        convert(text, tmp_path / "store")


def test_an_address_and_a_file_are_not_a_pair(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="give it alone"):
        convert((ADDRESS, tmp_path / "labels.npy"), tmp_path / "store")
    assert not is_hub_address((ADDRESS, "labels.npy"))
    assert not is_hub_address(FLUX)


def hdf5(folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    return {"survey.hdf5": table_hdf5(folder / "a.h5").read_bytes()}


def parquet(folder: Path) -> dict[str, bytes]:
    for number, part in enumerate(parts(columns(), 7)):
        write_parquet(folder / "data" / f"train-{number}.parquet", part)
    return contents(folder)


def collection(folder: Path) -> dict[str, bytes]:
    return contents(write_collection(folder, parts(columns(), 7)))


OTHER = {"README.md": b"about", "other.csv": b"1,2", "notes/x.txt": b"x"}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["", "spectra/dr4/"])
@pytest.mark.parametrize("make", [hdf5, parquet, collection])
def test_data_sets_of_other_formats_are_read_and_only_what_they_need_is_downloaded(
    hub: Hub, tmp_path: Path, make: Callable[[Path], dict[str, bytes]], place: str
) -> None:
    files = make(tmp_path / "made")
    hub.commit({**OTHER, **{place + name: content for name, content in files.items()}})
    source = open_source(f"{ADDRESS}/{place}", progress=False)
    assert np.array_equal(read_all(source, 5), FLUX, equal_nan=True)
    assert np.array_equal(source.ids, IDS)
    spectra = [name for name in hub.downloaded() if not name.endswith("properties")]
    assert all("10arcs" not in name and "thumbnail" not in name for name in spectra)
    assert not set(OTHER) & set(spectra)


@pytest.mark.slow
def test_star_files_of_a_data_set_are_read(hub: Hub, tmp_path: Path) -> None:
    flux = [write_fits_star(tmp_path / "stars", STAR + number, "dr4->f4") for number in range(2)]
    hub.commit({**OTHER, **contents(tmp_path / "stars", "night/")})
    source = open_source(f"{ADDRESS}/night", progress=False)
    assert np.array_equal(read_all(source, 2), np.array(flux, np.float32), equal_nan=True)


def test_one_file_of_several_is_chosen_by_its_path(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    content = table_hdf5(tmp_path / "a" / "a.h5").read_bytes()
    hub.commit({"one.h5": content, "more/two.h5": content})
    with pytest.raises(SourceFormatError, match=r"2 HDF5 files \(one.h5, more/two.h5\).*PATH"):
        open_source(ADDRESS, progress=False)
    source = open_source(f"{ADDRESS}/more/two.h5", progress=False)
    assert len(source) == len(FLUX)
    assert hub.downloaded()[-1] == "more/two.h5"
    assert "one.h5" not in hub.downloaded()


def test_a_data_set_without_spectra_is_named(hub: Hub) -> None:
    hub.commit(OTHER)
    with pytest.raises(SourceFormatError, match=f"{ADDRESS} holds no spectra .README.md, other"):
        open_source(ADDRESS, progress=False)
    with pytest.raises(SourceFormatError, match=f"{ADDRESS}/nowhere holds no spectra"):
        open_source(f"{ADDRESS}/nowhere", progress=False)


def test_what_is_in_the_cache_is_not_downloaded_again(hub: Hub, hub_pair: dict[str, bytes]) -> None:
    hub.commit(hub_pair)
    open_source(ADDRESS, progress=False)
    hub.requests.clear()
    open_source(ADDRESS, progress=False)
    assert hub.downloaded() == []


@pytest.mark.usefixtures("no_waiting")
def test_a_broken_connection_is_resumed_where_it_broke(
    hub: Hub, hub_pair: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 500)
    hub.commit({"spectra.npy": hub_pair["spectra.npy"]})
    hub.broken_after["spectra.npy"] = [1000, 1500]
    source = open_source(ADDRESS, progress=False)
    assert np.array_equal(read_all(source, 5), FLUX, equal_nan=True)
    ranges = [one.range for one in hub.requests if one.method == "GET" and "spectra" in one.path]
    assert ranges == [None, "bytes=1000-", "bytes=2500-"]


@pytest.mark.usefixtures("no_waiting")
def test_after_a_failed_download_only_what_is_missing_is_downloaded(
    hub: Hub, hub_pair: dict[str, bytes], tmp_path: Path
) -> None:
    sha = hub.commit({name: hub_pair[name] for name in ("spectra.npy", "labels.npy")})
    hub.broken_after["spectra.npy"] = [1700, *[0] * 20]
    with pytest.raises(SourceAccessError, match=f"cannot be downloaded: .*try again; or {BY_HAND}"):
        convert(ADDRESS, tmp_path / "store", progress=False)
    assert not (tmp_path / "store").exists()
    hub.broken_after.clear()
    hub.requests.clear()
    store = convert(ADDRESS, tmp_path / "store", progress=False)
    assert hub.downloaded()[-1:] == ["spectra.npy"]
    assert sha in store.manifest.notes[0]


def test_a_changed_file_is_a_new_source(
    hub: Hub, hub_pair: dict[str, bytes], tmp_path: Path
) -> None:
    old = hub.commit(hub_pair)
    first = open_source(ADDRESS, progress=False)
    write_pair(tmp_path / "changed", FLUX + 1)
    new = hub.commit(contents(tmp_path / "changed"))
    second = open_source(ADDRESS, progress=False)
    assert (first.fingerprint, second.fingerprint) == (old, new)
    assert np.array_equal(read_all(second, 9), FLUX + 1, equal_nan=True)
    hub.branches["v1"] = old
    for revision in (old, "v1"):
        again = open_source(f"{ADDRESS}@{revision}", progress=False)
        assert again.name == first.name
        assert np.array_equal(read_all(again, 9), FLUX, equal_nan=True)


class InterruptedHereError(Exception):
    pass


def interrupt_after_some_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    read = HubSource.iter_spectra

    def stop(self: HubSource, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        for number, block in enumerate(read(self, block_rows, first_row)):
            if number == 4:
                raise InterruptedHereError
            yield block

    monkeypatch.setattr(HubSource, "iter_spectra", stop)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["the cache is emptied", "by commit", "a new commit"])
def test_an_interrupted_conversion_is_resumed_from_the_same_commit(
    hub: Hub, hub_pair: dict[str, bytes], tmp_path: Path, change: str
) -> None:
    sha = hub.commit(hub_pair)
    dest, address = tmp_path / "store", ADDRESS
    with pytest.MonkeyPatch.context() as patched, pytest.raises(InterruptedHereError):
        interrupt_after_some_blocks(patched)
        convert_with(ADDRESS, dest, ConvertOptions(progress=False, block_bytes=800, jobs=1))
    if change == "a new commit":
        hub.commit({**hub_pair, "README.md": b"new"})
        with pytest.raises(OptionError, match=f"source was '{ADDRESS}@{sha}' and is now"):
            convert(ADDRESS, dest, progress=False)
        return
    if change == "by commit":
        address = f"{ADDRESS}@{sha}"
    else:
        shutil.rmtree(tmp_path / "cache")
    store = convert(address, dest, progress=False)
    assert np.array_equal(store.flux[:], FLUX[store.source_row], equal_nan=True)


def test_a_store_is_repaired_from_the_hub(
    hub: Hub, hub_pair: dict[str, bytes], tmp_path: Path
) -> None:
    hub.commit(hub_pair)
    convert(ADDRESS, tmp_path / "store", progress=False).close()
    path = tmp_path / "store" / "flux.npy"
    data = bytearray(path.read_bytes())
    data[4096 + 5 * FLUX.shape[1] * 4] ^= 1
    path.write_bytes(data)
    assert repair(tmp_path / "store", ADDRESS, progress=False).tolist() == [5]


@pytest.mark.parametrize("progress", [True, False])
def test_the_bars_of_the_hub_are_shown_only_if_asked(
    hub: Hub, hub_pair: dict[str, bytes], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], progress: bool,
) -> None:  # fmt: skip
    hub.commit(hub_pair)
    monkeypatch.setenv("TQDM_POSITION", "-1")  # bars also where there is no terminal
    open_source(ADDRESS, progress=progress)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert bool(captured.err) == progress
    assert not hub_package.utils.are_progress_bars_disabled()


def test_the_commands_take_an_address(
    hub: Hub, hub_pair: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    sha = hub.commit(hub_pair)
    monkeypatch.chdir(tmp_path)
    assert main(["convert", f"{ADDRESS}@{sha}", "store"]) == 0
    assert f"note        downloaded from {ADDRESS}, commit {sha}" in capsys.readouterr().out
    assert main(["info", "store", "--json"]) == 0
    assert sha in capsys.readouterr().out
    hub.refusal = (403, GATED)
    shutil.rmtree(tmp_path / "cache")
    assert main(["convert", ADDRESS, "other"]) == 1
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert "galahstream convert FOLDER STORE" in captured.err
    assert LABELS.shape == (len(FLUX), 8)


@pytest.mark.slow
def test_the_environment_of_the_hub_is_heeded(
    hub: Hub, hub_pair: dict[str, bytes], tmp_path: Path
) -> None:
    sha = hub.commit(hub_pair)
    environment = {
        **os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"),
    }  # fmt: skip

    def run(store: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "galahstream", "convert", ADDRESS, store, "--json"],
            cwd=tmp_path, env={**environment, **extra}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert "HF_HUB_OFFLINE is set" in run("store", HF_HUB_OFFLINE="1").stderr
    assert sha in json.loads(run("store").stdout)["notes"][0]
    assert sha in json.loads(run("again", HF_HUB_OFFLINE="1").stdout)["notes"][0]
