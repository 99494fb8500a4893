"""Copies from local servers: ones that cut connections, give no ranges, or change a byte."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import galahstream as gs
from galahstream.cli.main import main
from galahstream.conversion import fetch as fetching
from galahstream.errors import (
    DestinationExistsError,
    ExtraMissingError,
    OptionError,
    SourceAccessError,
    SourceMissingError,
    StoreFormatError,
)
from galahstream.sources.open import open_source
from galahstream.sources.wrappers import Selected
from galahstream.store import Store, open_store
from tests.conftest import Pair
from tests.store.contract import damage

pytest.importorskip("aiohttp", reason="aiohttp is not installed")


class Server(ThreadingHTTPServer):
    """Serves a folder, with the faults that a test asks for.

    Attributes
    ----------
    has_ranges : bool
        Whether it gives parts of files.
    cuts : int
        Number of answers that end in the middle of ``flux.npy``.
    sent : int
        Bytes of ``flux.npy`` that were sent.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.has_ranges, self.cuts, self.sent = folder, True, 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        size, begin, wanted = len(data), 0, self.headers.get("Range")
        if wanted is not None and self.server.has_ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last), size - 1)
            data = data[begin : end + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{end}/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", str(path.stat().st_mtime_ns))
        self.end_headers()
        if not with_body:
            return
        if path.name == "flux.npy" and self.server.cuts and len(data) > 1000:
            self.server.cuts -= 1
            data = data[: len(data) // 2]
            self.close_connection = True
        if path.name == "flux.npy":
            self.server.sent += len(data)
        self.wfile.write(data)
        if self.close_connection:
            self.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server(tmp_path: Path, npy_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetching, "_CHUNK_BYTES", 2000)
    monkeypatch.setattr(fetching, "_FIRST_PAUSE", 0.001)
    (tmp_path / "served").mkdir()
    npy_store.path.rename(tmp_path / "served" / "store")
    with Server(tmp_path / "served") as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def same(one: Path, other: Path) -> bool:
    def contents(path: Path) -> dict[str, bytes]:
        files = path.rglob("*") if path.is_dir() else [path]
        return {str(file.relative_to(path)): file.read_bytes() for file in files if file.is_file()}

    return contents(one) == contents(other)


@pytest.mark.parametrize("has_ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_folder_is_copied_and_verified(server: Server, tmp_path: Path, has_ranges: bool) -> None:
    server.has_ranges = has_ranges
    lines: list[str] = []
    with gs.fetch(f"{server.url}/store/", tmp_path / "copy", report=lines.append) as store:
        assert len(store) == 60
    assert same(tmp_path / "copy", server.folder / "store")
    assert "MB/s, verified" in lines[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "raw", "served"]


def test_an_hdf5_file_and_a_collection_are_copied(
    server: Server, pair: Pair, tmp_path: Path
) -> None:
    gs.convert(pair.folder, server.folder / "store.h5").close()
    with gs.fetch(f"{server.url}/store.h5", tmp_path / "copy.h5") as store:
        assert store.format == "hdf5"
    assert same(tmp_path / "copy.h5", server.folder / "store.h5")
    source = open_source(pair.folder)
    gs.convert(Selected(source, np.arange(30)), tmp_path / "a").close()
    gs.convert(Selected(source, np.arange(30, 60)), tmp_path / "b.h5").close()
    gs.merge(server.folder / "both", [tmp_path / "a", tmp_path / "b.h5"]).close()
    with gs.fetch(f"{server.url}/both", tmp_path / "both") as store:
        assert store.describe().members == 2
        assert store.verify().tolist() == []


def test_a_cut_connection_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.cuts = 4
    gs.fetch(f"{server.url}/store", tmp_path / "copy").close()
    assert server.cuts == 0
    assert same(tmp_path / "copy", server.folder / "store")


@pytest.mark.parametrize("has_ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_copy_that_failed_is_resumed(server: Server, tmp_path: Path, has_ranges: bool) -> None:
    server.has_ranges = has_ranges
    size = (server.folder / "store" / "flux.npy").stat().st_size
    server.cuts = 10**9
    with pytest.raises(SourceAccessError, match=r"flux.npy.*of [\d,]+ bytes.*again"):
        gs.fetch(f"{server.url}/store", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    server.cuts, server.sent = 0, 0
    partial = tmp_path / ".copy.partial" / "store" / "flux.npy"
    there = partial.stat().st_size
    partial.write_bytes((server.folder / "store/flux.npy").read_bytes()[: max(there, 6000)])
    lines: list[str] = []
    gs.fetch(f"{server.url}/store", tmp_path / "copy", report=lines.append).close()
    assert same(tmp_path / "copy", server.folder / "store")
    if has_ranges:
        assert server.sent <= size - 6000
    else:
        assert any("complete files only" in line for line in lines)


def test_a_file_that_changed_meanwhile_is_copied_from_the_beginning(
    server: Server, pair: Pair, tmp_path: Path
) -> None:
    server.cuts = 10**9
    with pytest.raises(SourceAccessError):
        gs.fetch(f"{server.url}/store", tmp_path / "copy")
    server.cuts = 0
    time.sleep(0.01)
    gs.convert(pair.folder, server.folder / "store", seed=1, overwrite=True).close()
    gs.fetch(f"{server.url}/store", tmp_path / "copy").close()
    assert same(tmp_path / "copy", server.folder / "store")


def test_a_changed_byte_is_found_and_only_its_file_is_copied_again(
    server: Server, tmp_path: Path
) -> None:
    intact = (server.folder / "store" / "flux.npy").read_bytes()
    damage(server.folder / "store", 17)
    with pytest.raises(StoreFormatError, match=r"1 spectra do not match.* row 17"):
        gs.fetch(f"{server.url}/store", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    (server.folder / "store" / "flux.npy").write_bytes(intact)
    gs.fetch(f"{server.url}/store", tmp_path / "copy").close()
    with open_store(tmp_path / "copy") as store:
        assert store.verify().tolist() == []
    labels = server.folder / "store" / "labels.npy"
    labels.write_bytes(labels.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreFormatError, match="'labels' does not match"):
        gs.fetch(f"{server.url}/store", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_fetched_is_said(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceMissingError, match=r"nothing/manifest.json is not there"):
        gs.fetch(f"{server.url}/nothing", tmp_path / "copy")
    (server.folder / "other").mkdir()
    (server.folder / "other" / "manifest.json").write_text('{"name": "a web page"}')
    with pytest.raises(StoreFormatError, match="not the manifest of a galahstream store"):
        gs.fetch(f"{server.url}/other", tmp_path / "copy")
    for url, text in (("store", "is not an address"), ("nowhere://x", "cannot be fetched")):
        with pytest.raises(OptionError, match=text):
            gs.fetch(url, tmp_path / "copy")
    begin = time.monotonic()
    with pytest.raises(SourceAccessError, match=r"127.0.0.1:9.* cannot be read"):
        gs.fetch("http://127.0.0.1:9/store", tmp_path / "copy")
    assert time.monotonic() - begin < 10
    (tmp_path / "copy").mkdir()
    with pytest.raises(DestinationExistsError, match="exists already"):
        gs.fetch(f"{server.url}/store", tmp_path / "copy")
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ExtraMissingError, match=r"galahstream\[remote\]"):
        gs.fetch(f"{server.url}/store", tmp_path / "new")
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_the_command_copies_a_store(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", f"{server.url}/store", str(tmp_path / "copy")]) == 0
    captured = capsys.readouterr()
    assert "60 stars" in captured.out
    assert "MB/s" in captured.err
    assert main(["fetch", f"{server.url}/store", str(tmp_path / "copy")]) == 1
    assert main(["fetch", f"{server.url}/store", str(tmp_path / "copy"), "--overwrite"]) == 0
