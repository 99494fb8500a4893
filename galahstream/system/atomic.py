"""Publishing: a file or folder appears under its final name whole, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from galahstream.errors import DestinationExistsError, SourceMissingError


@contextmanager
def publish_on_success(destination: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a name to write at, and rename it to the destination when the block ends well.

    Parameters
    ----------
    destination : Path
        The final name of a file or folder.
    overwrite : bool
        Replace what is there; it stays in place until the new one is complete.

    Yields
    ------
    Path
        A free name inside a temporary folder beside the destination. An error
        removes it and leaves the destination as it was.

    Raises
    ------
    DestinationExistsError
        If the destination exists and `overwrite` is False.
    SourceMissingError
        If the folder of the destination does not exist.
    """
    check_destination(destination, overwrite=overwrite)
    parent = destination.absolute().parent
    staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".partial", dir=parent))
    try:
        work = staging / destination.name
        yield work
        publish(work, destination, overwrite=overwrite, aside=staging / "replaced")
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def publish(work: Path, destination: Path, *, overwrite: bool, aside: Path) -> None:
    """Give a finished file or folder its final name, when all its bytes are on disk.

    What had the name goes to `aside` before; both lie on one file system.
    """
    _sync_tree(work)
    check_destination(destination, overwrite=overwrite)
    _replace(destination, work, aside)
    sync_folder(destination.absolute().parent)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file, and put it in the file's place when all went well."""
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
    """Raise where a destination exists and may not be replaced, or has no folder to be in."""
    if not overwrite and os.path.lexists(destination):
        msg = f"{destination} exists already; choose another name, or allow it to be replaced "
        raise DestinationExistsError(msg + "(overwrite=True, --overwrite)")
    if not destination.absolute().parent.is_dir():
        msg = f"{destination}: the folder {destination.parent} does not exist; make it first"
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
    """Make the names in a folder survive a power cut."""
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
