"""The staging area: where a store is written before it is published, kept for a later run."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from galahstream.errors import DestinationExistsError, OptionError
from galahstream.sources.base import Source
from galahstream.sources.huggingface import is_hub_address
from galahstream.store import Store
from galahstream.store.formats import format_of
from galahstream.system.atomic import check_destination, publish, relation_to
from galahstream.system.lock import locked

_PAIR_FILES = ("spectra.npy", "labels.npy", "ids.npy", "wavelength.npy")

ForeignContent = Callable[[Path], str | None]
"""Returns what of a destination must not be replaced; None if all of it may be."""


class StagingArea:
    """A hidden folder beside a destination, held by one process.

    Attributes
    ----------
    folder : Path
    store : Path
        Where the store is written.
    journal : Path
        The log of what has been written.
    index : Path
        The index of a folder of star files, kept with the journal.
    replaced : Path
        Where the old store is kept while the new one takes its place.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.journal = folder / "journal"
        self.index = folder / "index"
        self.replaced = folder / "replaced"

    def clear(self, *, keep_index: bool = False) -> None:
        """Remove everything but the lock, and perhaps the index."""
        kept = {"lock", self.index.name} if keep_index else {"lock"}
        for path in self.folder.iterdir():
            if path.name not in kept:
                _remove(path)


def resolved(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path without links, which stays valid when the working folder changes."""
    return Path(os.path.realpath(path))


def foreign_to_store(path: Path) -> str | None:
    """Return what is at a path besides a galahstream store; None if it is only a store."""
    return format_of(path).foreign_content(path)


@contextmanager
def staging(
    destination: Path,
    *,
    overwrite: bool = False,
    take_over: bool = False,
    foreign_content: ForeignContent = foreign_to_store,
) -> Iterator[StagingArea]:
    """Hold the staging area of a destination; publish its store if the block succeeds.

    After an error, files are kept for a later run if there is a journal, else removed.

    Parameters
    ----------
    destination : Path
        The final name, from :func:`resolved`.
    overwrite : bool
        Replace what is there; it stays until the new store is complete.
    take_over : bool
        Take over the lock of another host.
    foreign_content : callable
        Says what of an existing destination must not be replaced.

    Raises
    ------
    LockedError
        If another process writes this store.
    DestinationExistsError
        If the destination exists and may not be replaced.
    SourceMissingError
        If the folder of the destination does not exist.
    """
    if not destination.parent.is_dir():
        check_destination(destination, overwrite=overwrite)
    area = StagingArea(destination.parent / f".{destination.name}.partial")
    with locked(area.folder / "lock", str(destination), take_over=take_over):
        try:
            _restore_order(area, destination)
            check_destination(destination, overwrite=overwrite)
            _check_replaceable(destination, foreign_content)
            yield area
            _check_replaceable(destination, foreign_content)
            publish(area.store, destination, overwrite=overwrite, aside=area.replaced)
            area.journal.unlink(missing_ok=True)
        finally:
            if not area.journal.exists():
                shutil.rmtree(area.folder, ignore_errors=True)


def check_apart(destination: Path, source_paths: Iterable[Path]) -> None:
    """Raise `OptionError` if writing a destination would touch its source.

    Parameters
    ----------
    destination : Path
        The final name, from :func:`resolved`.
    source_paths : iterable of Path
        Files and folders that are read, from :func:`resolved`.
    """
    for path in source_paths:
        relation = relation_to(destination, path)
        if relation is not None:
            msg = f"{destination} {relation} the source {path}; choose a destination outside of it"
            raise OptionError(msg)


def named_paths(source: object) -> Iterator[Path]:
    """Yield the paths that a user gave as a source, and those of the files of a pair in them.

    There are none for arrays in memory and for addresses of the hub.
    """
    if isinstance(source, Store):
        yield resolved(source.path)
        return
    if isinstance(source, Source):
        yield from map(resolved, (*source.files, *source.folders))
        return
    paths: Sequence[str | os.PathLike[str]] = ()
    if isinstance(source, str | os.PathLike):
        paths = (source,)
    elif isinstance(source, tuple | list):
        paths = [path for path in source if isinstance(path, str | os.PathLike)]
    for path in paths:
        if is_hub_address(path):
            continue
        yield resolved(path)
        # Any of them may be a link to the destination.
        yield from (resolved(Path(path, name)) for name in _PAIR_FILES)


def _check_replaceable(destination: Path, foreign_content: ForeignContent) -> None:
    if not os.path.lexists(destination):
        return
    foreign = foreign_content(destination)
    if foreign is not None:
        msg = (
            f"{destination} cannot be replaced: {foreign}; choose another name, or remove it "
            f"yourself"
        )
        raise DestinationExistsError(msg)


def _restore_order(area: StagingArea, destination: Path) -> None:
    """Clean up after a run that was killed between two steps."""
    if area.replaced.exists():
        if destination.exists():
            _remove(area.replaced)
        else:
            area.replaced.rename(destination)
    if not (area.store.exists() and area.journal.exists()):
        area.clear()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
