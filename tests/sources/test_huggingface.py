"""Data sets of the hub, from a server on this machine: what is downloaded, kept, and refused."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest

from galahstream.cli.main import main
from galahstream.conversion.convert import convert, convert_with
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.repair import repair
from galahstream.errors import (
    ExtraMissingError,
    GalahStreamError,
    OptionError,
    SourceAccessError,
    SourceFormatError,
    SourceMissingError,
    StorageFullError,
)
from galahstream.sources import huggingface
from galahstream.sources.base import Source
from galahstream.sources.huggingface import HubAddress, HubSource, is_hub_address
from galahstream.sources.open import open_source
from tests.sources.contract import SourceContract, read_all
from tests.sources.files import FLUX, IDS, LABELS, STAR, WAVELENGTH, table_hdf5, write_pair
from tests.sources.files import write_star as write_fits_star
from tests.sources.hub_server import REPOSITORY, Hub, running
from tests.sources.parquet_files import columns, parts, write_collection, write_parquet

hub_package = pytest.importorskip("huggingface_hub")
ADDRESS = f"hf://{REPOSITORY}"
BY_HAND = r"bring its files by hand: download them from http\S+/datasets/simbaswe/galah4/tree/\S+"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Return a hub without data sets, with an empty cache and no account."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(f"{constants}.HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
    served = Hub()
    with running(served) as endpoint:
        monkeypatch.setattr(f"{constants}.ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
        hub_package.close_session()
        yield served
    hub_package.close_session()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub's package try again at once."""
    clock = SimpleNamespace(sleep=lambda seconds: None, time=time.time, monotonic=time.monotonic)
    monkeypatch.setattr("huggingface_hub.file_download.time", clock)
    monkeypatch.setattr("huggingface_hub.utils._http.time", clock)


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def contents(folder: Path, place: str = "") -> dict[str, bytes]:
    """Return the files of a folder as a data set holds them."""
    return {
        place + path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, bytes]:
    return contents(write_pair(tmp_path / "pair"))


class TestContract(SourceContract):
    @pytest.fixture
    def source(self, hub: Hub, pair: dict[str, bytes]) -> Source:
        hub.commit(pair)
        return open_source(ADDRESS, progress=False)


def test_the_pair_of_a_data_set_becomes_a_store(
    hub: Hub, pair: dict[str, bytes], tmp_path: Path
) -> None:
    sha = hub.commit({**pair, "README.md": b"about", "figures/all.png": b"png"})
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
    hub: Hub, pair: dict[str, bytes], tmp_path: Path, address: str | Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sha = hub.commit(pair)
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


def test_what_is_in_the_cache_is_not_downloaded_again(hub: Hub, pair: dict[str, bytes]) -> None:
    hub.commit(pair)
    open_source(ADDRESS, progress=False)
    hub.requests.clear()
    open_source(ADDRESS, progress=False)
    assert hub.downloaded() == []


@pytest.mark.usefixtures("no_waiting")
def test_a_broken_connection_is_resumed_where_it_broke(
    hub: Hub, pair: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 500)
    hub.commit({"spectra.npy": pair["spectra.npy"]})
    hub.broken_after["spectra.npy"] = [1000, 1500]
    source = open_source(ADDRESS, progress=False)
    assert np.array_equal(read_all(source, 5), FLUX, equal_nan=True)
    ranges = [one.range for one in hub.requests if one.method == "GET" and "spectra" in one.path]
    assert ranges == [None, "bytes=1000-", "bytes=2500-"]


@pytest.mark.usefixtures("no_waiting")
def test_after_a_failed_download_only_what_is_missing_is_downloaded(
    hub: Hub, pair: dict[str, bytes], tmp_path: Path
) -> None:
    sha = hub.commit({name: pair[name] for name in ("spectra.npy", "labels.npy")})
    hub.broken_after["spectra.npy"] = [1700, *[0] * 20]
    with pytest.raises(SourceAccessError, match=f"cannot be downloaded: .*try again; or {BY_HAND}"):
        convert(ADDRESS, tmp_path / "store", progress=False)
    assert not (tmp_path / "store").exists()
    hub.broken_after.clear()
    hub.requests.clear()
    store = convert(ADDRESS, tmp_path / "store", progress=False)
    assert hub.downloaded()[-1:] == ["spectra.npy"]
    assert sha in store.manifest.notes[0]


def test_a_changed_file_is_a_new_source(hub: Hub, pair: dict[str, bytes], tmp_path: Path) -> None:
    old = hub.commit(pair)
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
    read = HubSource.iter_blocks

    def stop(
        self: HubSource, block_rows: int, first_row: int = 0
    ) -> Iterator[npt.NDArray[np.float32]]:
        for number, block in enumerate(read(self, block_rows, first_row)):
            if number == 4:
                raise InterruptedHereError
            yield block

    monkeypatch.setattr(HubSource, "iter_blocks", stop)


@pytest.mark.parametrize("change", ["the cache is emptied", "by commit", "a new commit"])
def test_an_interrupted_conversion_is_resumed_from_the_same_commit(
    hub: Hub, pair: dict[str, bytes], tmp_path: Path, change: str
) -> None:
    sha = hub.commit(pair)
    dest, address = tmp_path / "store", ADDRESS
    with pytest.MonkeyPatch.context() as patched, pytest.raises(InterruptedHereError):
        interrupt_after_some_blocks(patched)
        convert_with(ADDRESS, dest, ConvertOptions(progress=False, block_bytes=800, jobs=1))
    if change == "a new commit":
        hub.commit({**pair, "README.md": b"new"})
        with pytest.raises(OptionError, match=f"source was '{ADDRESS}@{sha}' and is now"):
            convert(ADDRESS, dest, progress=False)
        return
    if change == "by commit":
        address = f"{ADDRESS}@{sha}"
    else:
        shutil.rmtree(tmp_path / "cache")
    store = convert(address, dest, progress=False)
    assert np.array_equal(store.flux[:], FLUX[store.source_row], equal_nan=True)


def test_a_store_is_repaired_from_the_hub(hub: Hub, pair: dict[str, bytes], tmp_path: Path) -> None:
    hub.commit(pair)
    convert(ADDRESS, tmp_path / "store", progress=False).close()
    path = tmp_path / "store" / "flux.npy"
    data = bytearray(path.read_bytes())
    data[4096 + 5 * FLUX.shape[1] * 4] ^= 1
    path.write_bytes(data)
    assert repair(tmp_path / "store", ADDRESS, progress=False).tolist() == [5]


def test_a_cached_data_set_is_read_offline(
    hub: Hub, pair: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = hub.commit(pair)
    open_source(ADDRESS, progress=False)
    hub.requests.clear()
    offline(monkeypatch)
    for address in (ADDRESS, f"{ADDRESS}@{sha}"):
        source = open_source(address, progress=False)
        assert np.array_equal(read_all(source, 5), FLUX, equal_nan=True)
        assert source.fingerprint == sha
    assert hub.requests == []


def test_offline_without_a_cache_says_how_to_bring_the_files(
    hub: Hub, pair: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(pair)
    offline(monkeypatch)
    with pytest.raises(SourceAccessError, match=f"HF_HUB_OFFLINE is set.*{BY_HAND}"):
        open_source(ADDRESS, progress=False)


def test_an_incomplete_cache_is_not_read_offline(
    hub: Hub, pair: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(pair)
    open_source(ADDRESS, progress=False)
    next((tmp_path / "cache").rglob("labels.npy")).unlink()
    offline(monkeypatch)
    with pytest.raises(SourceAccessError, match=f"its cache lacks the files; or {BY_HAND}"):
        open_source(ADDRESS, progress=False)


def test_a_hub_that_is_not_reached_is_named(
    hub: Hub, pair: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(pair)
    cached = open_source(ADDRESS, progress=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert open_source(ADDRESS, progress=False).name == cached.name
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nowhere/at/all")
    with pytest.raises(SourceAccessError, match=f"the hub is not reached .*{BY_HAND}") as caught:
        open_source(ADDRESS, progress=False)
    assert "\n" not in str(caught.value)


GATED = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
REFUSALS: dict[str, tuple[int, dict[str, str], type[GalahStreamError], str]] = {
    "gated": (403, GATED, SourceAccessError, "its owners grant access: ask for it on its page"),
    "gated, no account": (401, GATED, SourceAccessError, "its owners grant access"),
    "private": (401, {"X-Error-Code": "RepoNotFound"}, SourceMissingError, "no such data set"),
    "unauthorised": (401, {}, SourceAccessError, "HTTP status 401: log in"),
    "forbidden": (403, {}, SourceAccessError, "HTTP status 403: log in"),
    "no data set": (404, {"X-Error-Code": "RepoNotFound"}, SourceMissingError, "no such data set"),
    "not a hub": (404, {}, SourceAccessError, "HTTP status 404"),
    "down": (500, {}, SourceAccessError, "HTTP status 500: try again later"),
}


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_says_why_and_how_to_bring_the_files(
    hub: Hub, pair: dict[str, bytes], tmp_path: Path, kind: str
) -> None:
    hub.commit(pair)
    status, headers, error, reason = REFUSALS[kind]
    hub.refusal = (status, headers)
    with pytest.raises(
        error, match=f"{ADDRESS} cannot be downloaded: .*{reason}.*{BY_HAND}"
    ) as seen:
        convert(ADDRESS, tmp_path / "store", progress=False)
    assert "\n" not in str(seen.value)
    assert type(seen.value) is error
    assert not (tmp_path / ".store.partial").exists()


def test_a_missing_revision_is_named(hub: Hub, pair: dict[str, bytes]) -> None:
    hub.commit(pair)
    with pytest.raises(SourceMissingError, match="it has no revision 'v9'"):
        open_source(f"{ADDRESS}@v9", progress=False)


def test_a_full_disk_of_the_cache_is_named(
    hub: Hub, pair: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(pair)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(StorageFullError, match=r"disk of its cache .*cache is full"):
        open_source(ADDRESS, progress=False)


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(huggingface, "import_module", missing)
    match = r"galahstream\[hub\].*huggingface.co/datasets/simbaswe/galah4"
    with pytest.raises(ExtraMissingError, match=match):
        open_source(ADDRESS)


@pytest.mark.parametrize("progress", [True, False])
def test_the_bars_of_the_hub_are_shown_only_if_asked(
    hub: Hub, pair: dict[str, bytes], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], progress: bool,
) -> None:  # fmt: skip
    hub.commit(pair)
    monkeypatch.setenv("TQDM_POSITION", "-1")  # bars also where there is no terminal
    open_source(ADDRESS, progress=progress)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert bool(captured.err) == progress
    assert not hub_package.utils.are_progress_bars_disabled()


def test_the_commands_take_an_address(
    hub: Hub, pair: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    sha = hub.commit(pair)
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
    hub: Hub, pair: dict[str, bytes], tmp_path: Path
) -> None:
    sha = hub.commit(pair)
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
