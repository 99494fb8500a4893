"""Data sets of the Hugging Face hub, such as ``hf://simbaswe/galah4``.

The files that a reader needs are downloaded into the cache of huggingface_hub, which keeps
complete files, resumes broken connections, and works without a network once they are there
(``HF_HUB_OFFLINE=1``). They are then read like any other files; the commit that they belong
to identifies them, and is noted in the store.
"""

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from glob import escape
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.errors import (
    ExtraMissingError,
    GalahStreamError,
    OptionError,
    SourceAccessError,
    SourceFormatError,
    SourceMissingError,
    StorageFullError,
)
from galahstream.sources.base import Source, Spectra
from galahstream.sources.galah_fits import FitsSource
from galahstream.sources.parquet_folder import (
    PROPERTIES,
    choose_parquet_files,
    is_parquet_name,
)
from galahstream.sources.wrapper import Wrapper
from galahstream.system.digest import array_digest, text_digest
from galahstream.validation import shown

_SCHEME = "hf:/"  # a Path makes one slash of two
_ADDRESS = re.compile(
    r"hf:/+(?:datasets/)?(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/@]+))?"
    r"(?:/+(?P<path>.*?))?/*",
    re.ASCII,
)
_PAIR = ("spectra.npy", "labels.npy", "ids.npy", "wavelength.npy")
_HDF5_SUFFIXES = (".h5", ".hdf5")
_FITS = re.compile(r".*\.(?:fits|fit|fts)(?:\.(?:gz|bz2|xz|fz))?", re.IGNORECASE)
# Small files that are downloaded to find out which other ones are needed.
_DESCRIPTIONS = (".gitattributes", f"*{PROPERTIES}")
_MAX_REASON_LENGTH = 300


@dataclass(frozen=True)
class HubAddress:
    """A data set of the hub, or a folder or file of one.

    Attributes
    ----------
    repository : str
        Owner and name, as in ``"simbaswe/galah4"``.
    revision : str
        A branch, a tag or a commit.
    path : str
        Folder or file in the data set; empty for all of it.
    """

    repository: str
    revision: str = "main"
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "HubAddress":
        """Return the address ``hf://owner/name``, ``hf://owner/name@revision/path``.

        Raises
        ------
        OptionError
            If the text is not such an address.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None or ".." in text or "--" in match["repository"]:
            msg = (
                f"{shown(text)} is not the address of a data set; expected hf://OWNER/NAME, as in "
                f"hf://simbaswe/galah4, with an optional @REVISION and /FOLDER"
            )
            raise OptionError(msg)
        # A revision with slashes is written with %2F, as in refs%2Fconvert%2Fparquet.
        revision = (match["revision"] or cls.revision).replace("%2F", "/").replace("%2f", "/")
        return cls(match["repository"], revision, match["path"] or "")

    def __str__(self) -> str:
        revision = self.revision.replace("/", "%2F")
        at = "" if revision == HubAddress.revision else f"@{revision}"
        return f"hf://{self.repository}{at}" + (f"/{self.path}" if self.path else "")


class Snapshot(NamedTuple):
    """A download: its address with the commit as revision, and what to open on this machine."""

    address: HubAddress
    path: Path


def is_hub_address(source: object) -> bool:
    """Return whether a source is an address ``hf://...``, as text or as a path made of it."""
    return isinstance(source, str | os.PathLike) and str(os.fspath(source)).startswith(_SCHEME)


def download(address: HubAddress, *, progress: bool = True) -> Snapshot:
    """Download the files of a data set that a reader needs; those in the cache are not again.

    Parameters
    ----------
    address : HubAddress
    progress : bool
        Let the hub show its progress bars.

    Raises
    ------
    ExtraMissingError
        If huggingface_hub is not installed.
    SourceMissingError, SourceAccessError
        If there is no such data set or revision, or the hub refuses it or cannot be reached.
        Messages say how to bring the files by hand.
    SourceFormatError
        If the data set holds no spectra that a reader knows.
    StorageFullError
        If the cache's disk is full.
    """
    hub = _import_hub(address)
    get = _Downloader(hub, address.repository)
    with _explained(hub, address):
        with _bars(hub, shown=False):
            folder = get.snapshot(address.revision, _DESCRIPTIONS)
        commit = folder.name
        files = hub.get_cached_repo_tree(address.repository, repo_type="dataset", revision=commit)
        opened, patterns = choose_files(
            [file.path for file in files],
            lambda name: (folder / name).read_text(encoding="utf-8", errors="replace"),
            address,
        )
        with _bars(hub, shown=progress):
            get.snapshot(commit, patterns)
    return Snapshot(replace(address, revision=commit), folder / opened)


def choose_files(
    names: Sequence[str], read_text: Callable[[str], str], address: HubAddress
) -> tuple[str, list[str]]:
    """Choose what to open of a data set, and what to download for it.

    Parameters
    ----------
    names : sequence of str
        All files of the data set.
    read_text : callable
        Returns the text of a file that describes others.
    address : HubAddress

    Returns
    -------
    opened : str
        Path of a file or folder in the data set.
    patterns : list of str
        Patterns of the files to download.

    Raises
    ------
    SourceFormatError
        If there are no spectra, or it is not clear which.
    """
    path = address.path
    if path in names:
        beside = path.rpartition("/")[0]
        pair = _below(beside, _PAIR) if path.endswith(".npy") else []
        return path, [escape(name) for name in (path, *pair)]
    inside = [name.removeprefix(_prefix(path)) for name in names if name.startswith(_prefix(path))]
    if _PAIR[0] in inside:
        return path, [escape(name) for name in _below(path, _PAIR)]
    if any(map(is_parquet_name, inside)):
        chosen = choose_parquet_files(
            inside, lambda name: read_text(_prefix(path) + name), str(address)
        )
        return path, [escape(name) for name in _below(path, chosen.names)]
    hdf5 = [name for name in inside if name.endswith(_HDF5_SUFFIXES)]
    if len(hdf5) == 1:
        (opened,) = _below(path, hdf5)
        return opened, [escape(opened)]
    stars = [name for name in inside if _FITS.fullmatch(name)]
    if stars:
        return path, [escape(name) for name in _below(path, stars)]
    found = f"{len(hdf5)} HDF5 files" if hdf5 else "no spectra"
    example = hdf5 or [name for name in inside if not name.startswith(".")] or ["no files"]
    msg = (
        f"{address} holds {found} ({', '.join(example[:5])}); expected spectra.npy, Parquet, FITS "
        f"or one HDF5 file: give the folder or the file in it, as in hf://OWNER/NAME/PATH"
    )
    raise SourceFormatError(msg)


class HubSource(Wrapper):
    """A source whose files come from the hub; the commit identifies them.

    Parameters
    ----------
    source : Source
        Reads the files.
    address : HubAddress
        Where they come from, with the commit as revision.
    """

    def __init__(self, source: Source, address: HubAddress) -> None:
        super().__init__(source)
        self._address = address

    @property
    def original(self) -> Source:
        """The source that reads the files."""
        return self._source

    def of(self, source: Source) -> "HubSource":
        """Return another source of the same files."""
        return hub_source(source, self._address)

    def __len__(self) -> int:
        return len(self._source)

    @property
    def name(self) -> str:
        """The address with the commit."""
        return str(self._address)

    @property
    def fingerprint(self) -> str:
        """The commit; the cache may be emptied and filled again."""
        return self._address.revision

    @property
    def notes(self) -> tuple[str, ...]:
        """The address and the commit, and the notes of the reader."""
        place = replace(self._address, revision=HubAddress.revision)
        return (f"downloaded from {place}, commit {self._address.revision}", *self._source.notes)

    @property
    def files(self) -> tuple[Path, ...]:
        """None: the commit says what they hold."""
        return ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """None: the cache belongs to the hub."""
        return ()

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Star ids, shape (N,), int64."""
        return self._source.ids

    def read_labels(self) -> npt.NDArray[np.float64]:
        """Return the labels, shape (N, K), float64."""
        return self._source.read_labels()

    def read_column(self, name: str) -> npt.NDArray[Any]:
        """Return one column in its own dtype, shape (N,)."""
        return self._source.read_column(name)

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux of the files."""
        return self._source.iter_blocks(block_rows, first_row)

    def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        """Yield the flux of the files, and their errors."""
        return self._source.iter_spectra(block_rows, first_row)


class HubStars(HubSource):
    """A folder of GALAH's FITS files whose files come from the hub."""

    _source: FitsSource

    @property
    def needs_velocities(self) -> bool:
        """Whether the velocities of the stars decide about their spectra."""
        return self._source.needs_velocities

    def with_velocities(self, velocities: npt.NDArray[np.float64]) -> "HubSource":
        """Return the same stars with a velocity each, shape (N,), km/s; NaN is unknown."""
        return self.of(self._source.with_velocities(velocities))

    def selected(self, rows: npt.NDArray[np.int64]) -> "HubSource":
        """Return some of the stars, whose rows increase; the files of others are not opened."""
        return self.of(self._source.selected(rows))

    @property
    def fingerprint(self) -> str:
        """The commit, and velocities that do not come from the files."""
        velocities = self._source.velocities
        if velocities is None:
            return self._address.revision
        return text_digest(f"{self._address.revision} {array_digest(velocities)}")


def hub_source(source: Source, address: HubAddress) -> HubSource:
    """Return a source whose files come from an address of the hub."""
    return (HubStars if isinstance(source, FitsSource) else HubSource)(source, address)


class _Downloader(NamedTuple):
    hub: Any
    repository: str

    def snapshot(self, revision: str, patterns: Sequence[str]) -> Path:
        """Download files of a revision, and return the folder of its commit in the cache."""
        folder = self.hub.snapshot_download(
            self.repository,
            repo_type="dataset",
            revision=revision,
            allow_patterns=list(patterns),
            library_name="galahstream",
        )
        return Path(folder)


def _prefix(folder: str) -> str:
    return f"{folder}/" if folder else ""


def _below(folder: str, names: Sequence[str]) -> list[str]:
    return [_prefix(folder) + name for name in names]


def _import_hub(address: HubAddress) -> Any:
    try:
        for part in ("constants", "errors", "utils"):
            import_module(f"huggingface_hub.{part}")
        return import_module("huggingface_hub")
    except ImportError as error:
        msg = (
            f"reading {address} needs huggingface_hub: pip install 'galahstream[hub]'; "
            f"{_by_hand(address, 'https://huggingface.co')}"
        )
        raise ExtraMissingError(msg) from error


@contextmanager
def _bars(hub: Any, *, shown: bool) -> Iterator[None]:
    """Hide the hub's progress bars, unless they are to be shown."""
    if shown or hub.utils.are_progress_bars_disabled():
        yield
        return
    hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        hub.utils.enable_progress_bars()


@contextmanager
def _explained(hub: Any, address: HubAddress) -> Iterator[None]:
    """Say in one line why a download failed, and how to bring the files by hand."""
    try:
        yield
    except GalahStreamError:
        raise
    except Exception as error:  # of the hub, of its HTTP library, or of the system
        kind, reason = _reason(hub, address, error)
        by_hand = _by_hand(address, hub.constants.ENDPOINT)
        msg = f"{address} cannot be downloaded: {reason}; {by_hand}"
        raise kind(msg) from error


def _reason(
    hub: Any, address: HubAddress, error: BaseException
) -> tuple[type[GalahStreamError], str]:
    """Return the error to raise instead of one of the hub, and what it says."""
    errors, cause = hub.errors, error.__cause__ or error
    is_answer = isinstance(cause, errors.HfHubHTTPError)
    if isinstance(error, errors.LocalEntryNotFoundError) and is_answer:
        error = cause
    if isinstance(error, errors.HFValidationError):
        return OptionError, _one_line(error)
    if isinstance(error, errors.GatedRepoError):
        reason = "its owners grant access: ask for it on its page, and log in (hf auth login)"
        return SourceAccessError, reason
    if isinstance(error, errors.RepositoryNotFoundError):
        reason = "there is no such data set, or it is private: check its name, or log in"
        return SourceMissingError, f"{reason} (hf auth login)"
    if isinstance(error, errors.RevisionNotFoundError):
        return SourceMissingError, f"it has no revision {address.revision!r}"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        cure = "log in (hf auth login)" if status in (401, 403) else "try again later"
        return SourceAccessError, f"the hub answers with HTTP status {status}: {cure}"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.CachedRepoTreeNotFoundError):
        offline = "HF_HUB_OFFLINE is set" if hub.constants.is_offline_mode() else ""
        why = offline or _one_line(cause)
        return SourceAccessError, f"the hub is not reached ({why}), and its cache lacks the files"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = f"the disk of its cache {hub.constants.HF_HUB_CACHE} is full: make room there"
        return StorageFullError, f"{reason}, or move the cache (HF_HOME)"
    reason = f"{type(error).__name__}: {_one_line(error)}; complete files are kept, try again"
    return SourceAccessError, reason


def _by_hand(address: HubAddress, endpoint: str) -> str:
    page = f"{endpoint}/datasets/{address.repository}/tree/{address.revision}"
    return (
        f"or bring its files by hand: download them from {page} into a folder and convert that "
        f"(galahstream convert FOLDER STORE)"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:_MAX_REASON_LENGTH]
