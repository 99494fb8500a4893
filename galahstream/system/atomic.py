"""Publish a file or folder under its final name atomically, or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from galahstream.errors import DestinationExistsError, SourceMissingError


def publish(work: Path, destination: Path, *, overwrite: bool, aside: Path) -> None:
    """Rename a finished file or folder to its final name, after its bytes are on disk.

    An existing destination is renamed to `aside` first; both are on one file system.
    """
    _sync_tree(work)
    check_destination(destination, overwrite=overwrite)
    _replace(destination, work, aside)
    sync_folder(destination.absolute().parent)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside a file, and rename it to the file if the block succeeds."""
    descriptor, name = tempfile.mkstemp(
        prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent
    )
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_destination(destination: Path, *, overwrite: bool) -> None:
    """Raise if a destination exists and may not be replaced, or if its folder is missing."""
    if not overwrite and os.path.lexists(destination):
        msg = f"{destination} exists already; choose another name, or allow it to be replaced "
        raise DestinationExistsError(msg + "(overwrite=True, --overwrite)")
    if not destination.absolute().parent.is_dir():
        msg = f"{destination}: the folder {destination.parent} does not exist; create it first"
        raise SourceMissingError(msg)


def _replace(destination: Path, work: Path, aside: Path) -> None:
    replaces = os.path.lexists(destination)
    if replaces:
        destination.rename(aside)
    try:
        work.rename(destination)
    except BaseException:
        if replaces:
            aside.rename(destination)
        raise


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, so that they survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(path: Path) -> None:
    folders = [path] if path.is_dir() else []
    for file in sorted(path.rglob("*")) if folders else [path]:
        if file.is_dir():
            folders.append(file)
        else:
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    for folder in folders:
        sync_folder(folder)
