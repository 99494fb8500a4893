"""Copy a store from a server or an object store, resumable, and verified before it appears."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from galahstream.conversion.staging import StagingArea, resolved, staging
from galahstream.errors import (
    ExtraMissingError,
    OptionError,
    SourceAccessError,
    SourceMissingError,
    StoreFormatError,
)
from galahstream.sources.open import PathLike
from galahstream.store import Store, open_store
from galahstream.store.formats.collection import MEMBERS
from galahstream.store.formats.npy import MANIFEST_NAME
from galahstream.store.layout import MANIFEST_LIMIT
from galahstream.store.manifest import Manifest
from galahstream.system.disk import explain_disk_full
from galahstream.system.progress import ProgressBar, progress_bar
from galahstream.validation import shown

Log = Callable[[str], None]

_CHUNK_BYTES = 8 * 1024 * 1024
_CHUNKS = 4  # requested at the same time
_TRIES = 5
_FIRST_PAUSE = 0.2
_CONNECT_SECONDS, _SILENT_SECONDS = 10, 60
_HDF5_SUFFIXES = (".h5", ".hdf5")
# What servers say of the version of a file.
_VERSION_FIELDS = ("size", "ETag", "Last-Modified", "LastModified", "mtime", "md5", "etag")


def fetch(
    url: str,
    dest: PathLike,
    *,
    overwrite: bool = False,
    progress: bool = True,
    report: Log | None = None,
) -> Store:
    """Copy a store from a server or an object store, verify it, and open it.

    A copy that was interrupted is resumed from the bytes that are there. The store appears at
    `dest` when every spectrum matches its digest.

    Parameters
    ----------
    url : str
        A folder or an HDF5 file, at an address that fsspec knows: ``https://``, ``s3://``,
        ``gs://`` and so on.
    dest : path-like
        The store to create.
    overwrite : bool
        Replace a store at `dest`, once the copy is complete.
    progress : bool
        Show a progress bar on a terminal when it takes longer than a second.
    report : callable, optional
        Called with a line of text when a file cannot be resumed, and at the end.

    Returns
    -------
    Store

    Raises
    ------
    OptionError
        If the address is not one.
    ExtraMissingError
        If fsspec, or what it needs for this kind of address, is not installed.
    SourceMissingError
        If there is no store at the address.
    SourceAccessError
        If the server does not answer, or does not give the bytes that it promises.
    StoreFormatError
        If the copy is damaged; the files in question are fetched again at the next try.
    DestinationExistsError
        If the destination exists and may not be replaced.
    """
    remote = _Remote.at(url)
    destination = resolved(dest)
    started_at = time.perf_counter()
    with staging(destination, overwrite=overwrite) as area, explain_disk_full(area.store):
        files = remote.files()
        fetched = _Download(remote, area, report or (lambda line: None)).run(files, progress)
        _verify(area, url, progress)
    seconds = time.perf_counter() - started_at
    if report is not None:
        rate = fetched / 1e6 / max(seconds, 1e-9)
        report(f"fetched {fetched / 1e6:,.1f} MB in {seconds:.1f} s, {rate:,.0f} MB/s, verified")
    return open_store(destination)


class RemoteFile(NamedTuple):
    """A file of a store on a server.

    Attributes
    ----------
    name : str
        Its path in the store, empty for a store of one file.
    address : str
        What the file system calls it.
    size : int
    version : str
        What the server says that changes with the file.
    """

    name: str
    address: str
    size: int
    version: str


@dataclass(frozen=True)
class _Remote:
    """A store at an address, in a file system of fsspec."""

    url: str
    system: Any
    root: str

    @classmethod
    def at(cls, url: str) -> "_Remote":
        if not isinstance(url, str) or "://" not in url:
            msg = f"{shown(url)} is not an address; expected one such as https://host/store"
            raise OptionError(msg)
        url = url.rstrip("/")
        options: dict[str, Any] = {}
        try:
            fsspec = import_module("fsspec")
            if url.startswith(("http://", "https://")):
                timeout = import_module("aiohttp").ClientTimeout(
                    total=None, connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS
                )
                options["client_kwargs"] = {"timeout": timeout}
            system, root = fsspec.core.url_to_fs(url, **options)
        except ImportError as error:
            msg = f"{url} needs more packages ({error}): pip install 'galahstream[remote]'"
            raise ExtraMissingError(msg) from error
        except ValueError as error:
            msg = f"{url} cannot be fetched: {error}"
            raise OptionError(msg) from error
        return cls(url, system, root)

    def files(self) -> list[RemoteFile]:
        """Return the files of the store, the manifest first."""
        if self.root.lower().endswith(_HDF5_SUFFIXES):
            return [self._file("")]
        return list(self._folder(""))

    def gives_ranges(self, file: RemoteFile) -> bool:
        """Return whether the server gives parts of files, as some simple ones do not."""
        if not self.url.startswith(("http://", "https://")) or file.size < 2:
            return True
        try:
            with self.system.open(file.address, "rb", block_size=1024, cache_type="none") as part:
                part.seek(1)
                return len(part.read(1)) == 1
        except ValueError:  # fsspec found more bytes than it had asked for
            return False
        except _failures() as error:
            raise SourceAccessError(f"{file.address} cannot be read: {_text(error)}") from error

    def _folder(self, prefix: str) -> Iterator[RemoteFile]:
        manifest_file = self._file(f"{prefix}{MANIFEST_NAME}")
        if manifest_file.size > MANIFEST_LIMIT:
            msg = f"{manifest_file.address}: {manifest_file.size} bytes are too many of a manifest"
            raise StoreFormatError(msg)
        yield manifest_file
        with self._explained(manifest_file.address):
            text = self.system.cat_file(manifest_file.address).decode("utf-8", errors="replace")
        manifest = Manifest.from_json(text, manifest_file.address)
        spec = manifest.spec
        spectra = () if manifest.members else spec.spectra()
        for name in (*spec.arrays(), *spectra):
            yield self._file(f"{prefix}{name}.npy")
        for member in manifest.members:
            place = f"{prefix}{MEMBERS}/{member.name}"
            if member.name.lower().endswith(_HDF5_SUFFIXES):
                yield self._file(place)
            else:
                yield from self._folder(f"{place}/")

    def _file(self, name: str) -> RemoteFile:
        address = f"{self.root}/{name}" if name else self.root
        with self._explained(address):
            info: Mapping[str, Any] = self.system.info(address)
        size = info.get("size")
        if not isinstance(size, int):
            msg = f"{address}: the server does not say how large it is; copy the store otherwise"
            raise SourceAccessError(msg)
        version = json.dumps([str(info.get(field)) for field in _VERSION_FIELDS])
        return RemoteFile(name, address, size, version)

    @contextmanager
    def _explained(self, address: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            cause = error.__cause__
            if cause is not None and getattr(cause, "status", None) is None:
                # fsspec says so too where nobody answers.
                msg = f"{address} cannot be read: {_text(cause)}"
                raise SourceAccessError(msg) from error
            msg = (
                f"{address} is not there; expected the address of a store: of the folder with "
                f"{MANIFEST_NAME}, or of a file that ends in .h5"
            )
            raise SourceMissingError(msg) from error
        except _failures() as error:
            msg = f"{address} cannot be read: {_text(error)}"
            raise SourceAccessError(msg) from error


class _Download:
    """The files of a store that are copied into a staging area."""

    def __init__(self, remote: _Remote, area: StagingArea, log: Log) -> None:
        self._remote, self._area, self._log = remote, area, log
        self._has_ranges = True

    def run(self, files: list[RemoteFile], progress: bool) -> int:
        """Copy what is not there yet, and return the number of bytes."""
        self._has_ranges = self._remote.gives_ranges(files[0])
        self._forget_changed(files)
        present = sum(self._present(file) for file in files)
        total = sum(file.size for file in files)
        with progress_bar(
            total, "fetching", unit="B", scaled=True, initial=present, enabled=progress
        ) as bar:
            for file in files:
                self._fetch(file, bar)
        return total - present

    def _place(self, file: RemoteFile) -> Path:
        return self._area.store / file.name if file.name else self._area.store

    def _present(self, file: RemoteFile) -> int:
        place = self._place(file)
        return place.stat().st_size if place.is_file() else 0

    def _forget_changed(self, files: list[RemoteFile]) -> None:
        """Keep what was copied of the same files, and say which these are."""
        versions = {file.address: file.version for file in files}
        try:
            before = json.loads(self._area.journal.read_bytes())
        except (FileNotFoundError, ValueError):
            before = {}
        if not isinstance(before, dict) or set(before) != set(versions):
            self._area.clear()
            before = versions
        for file in files:
            place = self._place(file)
            changed = before[file.address] != file.version
            if place.is_file() and (changed or place.stat().st_size > file.size):
                place.unlink()
        self._area.journal.write_text(json.dumps(versions), encoding="utf-8")

    def _fetch(self, file: RemoteFile, bar: ProgressBar) -> None:
        place = self._place(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        position = self._present(file)
        if position and position < file.size and not self._has_ranges:
            self._log(f"{file.address}: the server gives complete files only; starting it again")
            bar.update(-position)
            position = 0
        with place.open("r+b" if position else "wb") as out:
            out.seek(position)
            for data in self._chunks(file, position):
                out.write(data)
                bar.update(len(data))

    def _chunks(self, file: RemoteFile, position: int) -> Iterator[bytes]:
        """Yield the bytes of a file from a position on."""
        if not self._has_ranges:
            if position < file.size:
                yield from self._complete(file)
            return
        failures = 0
        while position < file.size:
            starts = range(position, file.size, _CHUNK_BYTES)[:_CHUNKS]
            ends = [min(start + _CHUNK_BYTES, file.size) for start in starts]
            parts = self._ranges(file, starts, ends)
            for start, end, data in zip(starts, ends, parts, strict=True):
                if isinstance(data, bytes) and len(data) == end - start:
                    yield data
                    position, failures = end, 0
                    continue
                failures = self._failed(file, position, data, failures)
                break

    def _ranges(self, file: RemoteFile, starts: range, ends: list[int]) -> list[Any]:
        """Return the bytes of parts of a file, or the error of each that could not be read."""
        addresses = [file.address] * len(ends)
        try:
            parts: list[Any] = self._remote.system.cat_ranges(
                addresses, list(starts), ends, on_error="return"
            )
        except _failures() as error:
            return [error] * len(ends)
        return parts

    def _failed(self, file: RemoteFile, position: int, found: object, failures: int) -> int:
        """Wait, and return how often it failed in a row; raise if that was too often."""
        if failures + 1 == _TRIES:
            reason = (
                _text(found) if isinstance(found, BaseException) else "other bytes than asked for"
            )
            msg = (
                f"{file.address}: the server failed {_TRIES} times after {position:,} of "
                f"{file.size:,} bytes ({reason}); what is there is kept: run the same command "
                f"again to resume"
            )
            raise SourceAccessError(msg)
        time.sleep(_FIRST_PAUSE * 2**failures)
        return failures + 1

    def _complete(self, file: RemoteFile) -> Iterator[bytes]:
        count = 0
        try:
            with self._remote.system.open(file.address, "rb", block_size=0) as stream:
                while data := stream.read(_CHUNK_BYTES):
                    count += len(data)
                    yield data
        except _failures() as error:
            msg = f"{file.address}: {_text(error)} after {count:,} of {file.size:,} bytes"
            raise SourceAccessError(f"{msg}; run the same command again") from error
        if count != file.size:
            msg = f"{file.address}: the server gave {count:,} of {file.size:,} bytes"
            raise SourceAccessError(f"{msg}; run the same command again")


def _verify(area: StagingArea, url: str, progress: bool) -> None:
    """Raise if a copy is not the store that it was made to be, and discard what is damaged."""
    try:
        with open_store(area.store, verify="open") as store:
            damaged = store.verify(progress=progress)
            rows, files = damaged.tolist(), store.spectra_files
            places = {row: store.locate(row) for row in rows}
    except StoreFormatError:
        area.clear()
        raise
    if rows:
        bad = [
            file for file in files if any(text.startswith(f"{file},") for text in places.values())
        ]
        for file in bad:
            file.unlink()
        names = ", ".join(str(file.relative_to(area.store.parent)) for file in bad)
        msg = (
            f"{url}: {len(rows):,} spectra do not match their digests, the first in row {rows[0]}; "
            f"{names} will be fetched again by the same command: if it fails again, the "
            f"store on the server is damaged (galahstream verify)"
        )
        raise StoreFormatError(msg)


def _failures() -> tuple[type[BaseException], ...]:
    """Return what is raised where a server does not answer, or stops in the middle."""
    try:
        return (OSError, import_module("aiohttp").ClientError)
    except ImportError:
        return (OSError,)


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
