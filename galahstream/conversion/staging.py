"""Where a store is made before it is published: a folder that a later run goes on with."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from galahstream.system.atomic import check_destination, publish
from galahstream.system.lock import locked


@dataclass(frozen=True)
class StagingArea:
    """A hidden folder beside a destination, held by one process.

    Attributes
    ----------
    store : Path
        Where the store is made.
    journal : Path
        Where is noted what of it is done.
    """

    folder: Path

    @property
    def store(self) -> Path:
        """Where the store is made."""
        return self.folder / "store"

    @property
    def journal(self) -> Path:
        """Where is noted what of it is done."""
        return self.folder / "journal"

    @property
    def replaced(self) -> Path:
        """Where the old store lies while the new one takes its place."""
        return self.folder / "replaced"

    def clear(self) -> None:
        """Remove all that was made."""
        for path in self.folder.iterdir():
            if path.name != "lock":
                _remove(path)


@contextmanager
def staging(
    destination: Path, *, overwrite: bool = False, take_over: bool = False
) -> Iterator[StagingArea]:
    """Hold the staging of a destination; publish its store when the block ends well.

    An error leaves what was made for a later run, unless there is no journal.

    Raises
    ------
    LockedError
        If another process makes this store.
    DestinationExistsError, SourceMissingError
        As :func:`galahstream.system.atomic.check_destination` says.
    """
    parent = destination.absolute().parent
    if not parent.is_dir():
        check_destination(destination, overwrite=overwrite)
    folder = parent / f".{destination.name}.partial"
    made = StagingArea(folder)
    with locked(folder / "lock", str(destination), take_over=take_over):
        try:
            _tidy(made, destination)
            check_destination(destination, overwrite=overwrite)
            yield made
            publish(made.store, destination, overwrite=overwrite, aside=made.replaced)
            made.journal.unlink(missing_ok=True)
        finally:
            if not made.journal.exists():
                shutil.rmtree(folder, ignore_errors=True)


def _tidy(made: StagingArea, destination: Path) -> None:
    """Put right what a run left behind that was killed between two steps."""
    if made.replaced.exists():
        if destination.exists():
            _remove(made.replaced)
        else:
            made.replaced.rename(destination)
    if not (made.store.exists() and made.journal.exists()):
        made.clear()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
