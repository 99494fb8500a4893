"""The exceptions of galahstream.

Each one is a :class:`GalahStreamError` and also the matching builtin, shown in
parentheses, so that ``except ValueError`` and ``except OSError`` keep working::

    GalahStreamError
    │   arguments and the installation
    ├── OptionError (ValueError)
    ├── DeviceError (ValueError)
    ├── ExtraMissingError (ImportError)
    │   sources
    ├── SourceMissingError (FileNotFoundError)
    ├── SourceAccessError (OSError)
    ├── SourceFormatError (ValueError)
    ├── SourceShapeError (ValueError)
    ├── BadSpectraError (ValueError)
    ├── LabelError (ValueError)
    ├── WavelengthError (ValueError)
    ├── SplitError (ValueError)
    │   destinations
    ├── DestinationExistsError (FileExistsError)
    ├── LockedError (BlockingIOError)
    ├── StorageFullError (OSError)
    │   stores
    ├── StoreFormatError (OSError)
    │   ├── DamagedRowError
    │   └── StoreChangedError
    ├── StoreVersionError (ValueError)
    ├── RepairError (ValueError)
    │   streaming and training
    ├── OrderError (ValueError)
    ├── WorkerError (RuntimeError)
    ├── RankError (RuntimeError)
    ├── CheckpointError (ValueError)
    └── TrainingDivergedError (ArithmeticError)

    CostlyChunksWarning (UserWarning)

A message says what is wrong, where, what was expected and what to do.
`docs/errors.md` shows one of each.
"""


class GalahStreamError(Exception):
    """Base class of all errors that galahstream raises on purpose."""


class OptionError(GalahStreamError, ValueError):
    """An argument has a value that cannot be used."""


class DeviceError(GalahStreamError, ValueError):
    """The requested device is not available on this machine."""


class ExtraMissingError(GalahStreamError, ImportError):
    """An optional package is not installed; the message names the extra that provides it."""


class SourceMissingError(GalahStreamError, FileNotFoundError):
    """A path given by the user does not exist."""


class SourceAccessError(GalahStreamError, OSError):
    """The system, or the hub, does not let a source be read: permission, a lock, open files."""


class SourceFormatError(GalahStreamError, ValueError):
    """A source file is empty, truncated, or not in the format that its name suggests."""


class SourceShapeError(GalahStreamError, ValueError):
    """The arrays of a source have a dtype or shape that cannot be converted."""


class BadSpectraError(GalahStreamError, ValueError):
    """Spectra have no usable pixel, or the files of a star do not match each other."""


class LabelError(GalahStreamError, ValueError):
    """A label is unknown, constant, missing or wrongly mapped."""


class WavelengthError(GalahStreamError, ValueError):
    """A wavelength grid or a window cannot be used."""


class SplitError(GalahStreamError, ValueError):
    """The stars cannot be split into training, validation and test with these fractions."""


class DestinationExistsError(GalahStreamError, FileExistsError):
    """The destination exists, and replacing it was not allowed."""


class LockedError(GalahStreamError, BlockingIOError):
    """Another process is writing to the destination."""


class StorageFullError(GalahStreamError, OSError):
    """The disk or the shared memory does not have enough free space."""


class StoreFormatError(GalahStreamError, OSError):
    """A store is incomplete, damaged, or contradicts its manifest."""


class DamagedRowError(StoreFormatError):
    """A stored spectrum does not match its digest."""


class StoreChangedError(StoreFormatError):
    """A file of an open store was replaced, truncated or rewritten."""


class StoreVersionError(GalahStreamError, ValueError):
    """A store was written in a newer major version of the format."""


class RepairError(GalahStreamError, ValueError):
    """The source is not the one from which the damaged store was made."""


class OrderError(GalahStreamError, ValueError):
    """A loader state belongs to another store, split or order."""


class WorkerError(GalahStreamError, RuntimeError):
    """A worker ended before its batch was ready."""


class RankError(GalahStreamError, RuntimeError):
    """A rank of a training on several processes failed, ended, or differs from the others."""


class CheckpointError(GalahStreamError, ValueError):
    """A file is not a saved model or checkpoint, or does not fit the store or the settings."""


class TrainingDivergedError(GalahStreamError, ArithmeticError):
    """The training loss is no longer a finite number."""


class CostlyChunksWarning(UserWarning):
    """A file of another writer is valid but slow to read; the message says how to rewrite it."""
