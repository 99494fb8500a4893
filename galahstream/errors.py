"""The exceptions of galahstream.

Every one is a :class:`GalahStreamError` and the builtin that fits, so that
``except ValueError`` and ``except OSError`` go on working. A message says what
was found, where, what was expected and what to do.
"""


class GalahStreamError(Exception):
    """Base of all errors that galahstream raises on purpose."""


class OptionError(GalahStreamError, ValueError):
    """An argument has a value that cannot be used."""


class ExtraMissingError(GalahStreamError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""


class SourceMissingError(GalahStreamError, FileNotFoundError):
    """A path that was asked for does not exist."""


class SourceFormatError(GalahStreamError, ValueError):
    """A source file is empty, truncated, or not what its name says."""


class SourceShapeError(GalahStreamError, ValueError):
    """The arrays of a source have a dtype or shape that cannot be converted."""


class BadSpectraError(GalahStreamError, ValueError):
    """Spectra without any usable pixel, or stars whose files do not fit."""


class LabelError(GalahStreamError, ValueError):
    """A label is unknown, constant, missing or wrongly mapped."""


class WavelengthError(GalahStreamError, ValueError):
    """A wavelength grid or a window that cannot be used."""


class SplitError(GalahStreamError, ValueError):
    """Fractions or groups that cannot be split into three parts."""


class DestinationExistsError(GalahStreamError, FileExistsError):
    """The destination is already there and was not to be replaced."""


class LockedError(GalahStreamError, BlockingIOError):
    """Another process is writing to the destination."""


class StoreFormatError(GalahStreamError, OSError):
    """A store is incomplete, damaged, or contradicts its manifest."""


class DamagedRowError(StoreFormatError):
    """A stored spectrum does not match its digest."""


class RepairError(GalahStreamError, ValueError):
    """A source is not the one that a damaged store was made of."""


class StoreChangedError(StoreFormatError):
    """A file of an open store was replaced, truncated or rewritten."""


class StoreVersionError(GalahStreamError, ValueError):
    """A store was written by a newer major version of the format."""


class StorageFullError(GalahStreamError, OSError):
    """The disk or the shared memory has no room for what is asked."""


class DeviceError(GalahStreamError, ValueError):
    """A device that this machine does not have."""


class CheckpointError(GalahStreamError, ValueError):
    """A saved model that cannot be used with this store, or is no saved model."""


class OrderError(GalahStreamError, ValueError):
    """A loader state that belongs to another store, split or order."""


class WorkerError(GalahStreamError, RuntimeError):
    """A worker that was to make a batch is gone."""


class TrainingDivergedError(GalahStreamError, ArithmeticError):
    """The loss of a training is no longer a finite number."""


class CostlyChunksWarning(UserWarning):
    """A file of another writer is right and slow to read; the message tells how to rewrite it."""
