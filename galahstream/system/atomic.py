"""Publish a file or folder under its final name atomically, or not at all."""

import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from galahstream.errors import DestinationExistsError, SourceMissingError

_MAX_LINKS = 40


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
    """Yield a temporary path and put its bytes under the final name if the block succeeds.

    A regular file is replaced by renaming, so that it has its old or its new
    content at any moment, also after a power cut. Its mode stays; a new file gets
    the one of the umask. Symbolic links stay, and their targets are written.
    Devices, pipes and ``/dev/stdout`` are never replaced: the bytes are copied into
    them.

    Parameters
    ----------
    path : Path
        The file to write.

    Yields
    ------
    Path
        An empty file to write to. It is removed if the block fails.

    Raises
    ------
    DestinationExistsError
        If the path is a folder.
    SourceMissingError
        If the folder of the path does not exist.
    """
    if is_special_file(path):
        with tempfile.TemporaryDirectory(prefix="galahstream.") as folder:
            copy = Path(folder) / f"output{path.suffix}"
            copy.touch()
            yield copy
            _copy_into(copy, path)
        return
    target = Path(os.path.realpath(path))
    _check_writable_name(path, target)
    temporary = _create_beside(target)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def is_special_file(path: Path) -> bool:
    """Return whether a path is a device, a pipe, a socket, or an open descriptor."""
    if _descriptor_of(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _descriptor_of(path: Path) -> int | None:
    """Return the descriptor that a path such as ``/dev/stdout`` or ``/dev/fd/3`` stands for."""
    name = os.path.abspath(path)  # noqa: PTH100  resolve() would follow the link to a pipe
    for _ in range(_MAX_LINKS):
        match = re.fullmatch(rf"/(?:dev|proc/self|proc/{os.getpid()})/fd/(\d+)", name)
        if match is not None:
            return int(match[1])
        try:
            link = os.readlink(name)  # noqa: PTH115
        except OSError:
            return None
        name = os.path.normpath(os.path.join(os.path.dirname(name), link))  # noqa: PTH118, PTH120
    return None


def _copy_into(copy: Path, path: Path) -> None:
    descriptor = _descriptor_of(path)
    if descriptor is None:
        with copy.open("rb") as source, path.open("wb", buffering=0) as sink:
            shutil.copyfileobj(source, sink)
        return
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    # Not opened by its name: that would begin at the start of a file behind the descriptor.
    with copy.open("rb") as source, os.fdopen(os.dup(descriptor), "wb") as sink:
        shutil.copyfileobj(source, sink)


def _check_writable_name(path: Path, target: Path) -> None:
    if target.is_dir():
        msg = f"{path} is a folder; choose the name of a file"
        raise DestinationExistsError(msg)
    if not target.parent.is_dir():
        msg = f"{path}: the folder {target.parent} does not exist; create it first"
        raise SourceMissingError(msg)


def _create_beside(target: Path) -> Path:
    """Create an empty file beside another one, with its mode if it exists."""
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    while True:
        temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}{target.suffix}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        try:
            # 0o666 less the umask, as for every new file.
            descriptor = os.open(temporary, flags, 0o666 if mode is None else 0o600)
        except FileExistsError:
            continue
        try:
            if mode is not None:
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        return temporary


def relation_to(target: Path, path: Path) -> str | None:
    """Return whether a target "is", "contains" or "is inside" a path, or None if they are apart.

    Both are absolute and have no links, except that a file can have several names.
    """
    if target == path or (target.exists() and path.exists() and target.samefile(path)):
        return "is"
    if target in path.parents:
        return "contains"
    return "is inside" if path in target.parents else None


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
