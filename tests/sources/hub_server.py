"""A server on this machine that speaks the endpoints of the Hugging Face hub."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

REPOSITORY = "simbaswe/galah4"
ADDRESS = f"hf://{REPOSITORY}"
BY_HAND = r"bring its files by hand: download them from http\S+/datasets/simbaswe/galah4/tree/\S+"
GATED = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}


class Request(NamedTuple):
    method: str
    path: str
    range: str | None


@dataclass
class Hub:
    """What the server serves, and what it was asked.

    Attributes
    ----------
    revisions : dict
        Files by name, by commit.
    branches : dict
        Commit by name of a branch or tag.
    refusal : tuple, optional
        Answer to all requests: status and headers.
    broken_after : dict
        By name of a file: the number of bytes after which its next connections are closed.
    requests : list of Request
    """

    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    refusal: tuple[int, dict[str, str]] | None = None
    broken_after: dict[str, list[int]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    endpoint: str = ""

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Add a commit to a branch, and return its hash."""
        content = b"".join(name.encode() + files[name] for name in sorted(files))
        sha = hashlib.sha1(content).hexdigest()
        self.revisions[sha] = {".gitattributes": b"*.npy filter=lfs\n", **files}
        self.branches[branch] = sha
        return sha

    def downloaded(self) -> list[str]:
        """Return the names of the files that were asked for, without repetitions."""
        names = [
            unquote(request.path.split("/resolve/")[1].partition("/")[2])
            for request in self.requests
            if request.method == "GET" and "/resolve/" in request.path
        ]
        return list(dict.fromkeys(names))


@contextmanager
def running(hub: Hub) -> Iterator[str]:
    """Serve until the block ends, at the address that it gets."""

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        yield hub.endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        self.served.requests.append(Request(self.command, path, self.headers.get("Range")))
        if self.served.refusal is not None:
            self._send(self.served.refusal[0], b"", self.served.refusal[1])
            return
        info, tree = f"/api/datasets/{REPOSITORY}/revision/", f"/api/datasets/{REPOSITORY}/tree/"
        files = f"/datasets/{REPOSITORY}/resolve/"
        if path.startswith(info):
            self._send_info(unquote(path.removeprefix(info)))
        elif path.startswith(tree):
            self._send_tree(unquote(path.removeprefix(tree)))
        elif path.startswith(files):
            revision, _, name = path.removeprefix(files).partition("/")
            self._send_file(unquote(revision), unquote(name))
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _commit(self, revision: str) -> str | None:
        sha = self.served.branches.get(revision, revision)
        if sha in self.served.revisions:
            return sha
        self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        return None

    def _send_info(self, revision: str) -> None:
        if sha := self._commit(revision):
            siblings = [{"rfilename": name} for name in self.served.revisions[sha]]
            content = {"id": REPOSITORY, "sha": sha, "siblings": siblings}
            self._send(200, json.dumps(content).encode(), {})

    def _send_tree(self, revision: str) -> None:
        if sha := self._commit(revision):
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
                for name, data in self.served.revisions[sha].items()
            ]
            self._send(200, json.dumps(entries).encode(), {})

    def _send_file(self, revision: str, name: str) -> None:
        sha = self._commit(revision)
        if sha is None:
            return
        data = self.served.revisions[sha].get(name)
        if data is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
            return
        headers = {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        asked, status, start = self.headers.get("Range"), 200, 0
        if asked is not None:
            status, start = 206, int(asked.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(status, data[start:], headers, self.served.broken_after.get(name))

    def _send(
        self,
        status: int,
        content: bytes,
        headers: Mapping[str, str],
        broken_after: list[int] | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if broken_after:
            self.wfile.write(content[: broken_after.pop(0)])
            self.close_connection = True
            return
        self.wfile.write(content)


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def contents(folder: Path, place: str = "") -> dict[str, bytes]:
    """Return the files of a folder as a data set holds them."""
    return {
        place + path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
