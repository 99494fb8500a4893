"""Stream survey spectra from memory-mapped files into a network that learns stellar labels."""

from importlib import import_module
from typing import TYPE_CHECKING

from galahstream._version import __version__ as __version__

if TYPE_CHECKING:
    from galahstream import errors as errors
    from galahstream.conversion.append import append as append
    from galahstream.conversion.collection import merge as merge
    from galahstream.conversion.convert import convert as convert
    from galahstream.conversion.fetch import fetch as fetch
    from galahstream.conversion.select import select as select
    from galahstream.errors import GalahStreamError as GalahStreamError
    from galahstream.learn.inference import evaluate as evaluate
    from galahstream.learn.inference import predict as predict
    from galahstream.learn.inference import write_predictions as write_predictions
    from galahstream.learn.models import models as models
    from galahstream.learn.models.cnn import SpectraCNN as SpectraCNN
    from galahstream.learn.train import train as train
    from galahstream.learn.trained_model import load_model as load_model
    from galahstream.report.write import write_report as write_report
    from galahstream.store import open_store as open_store
    from galahstream.stream.augmentation import AddNoise as AddNoise
    from galahstream.stream.augmentation import Compose as Compose
    from galahstream.stream.augmentation import MaskPixels as MaskPixels
    from galahstream.stream.augmentation import ShiftVelocity as ShiftVelocity
    from galahstream.stream.config import show_config as show_config
    from galahstream.stream.dataset import SpectraDataset as SpectraDataset
    from galahstream.stream.loader import SpectraLoader as SpectraLoader
    from galahstream.stream.transforms import LogFlux as LogFlux
    from galahstream.stream.transforms import ZScore as ZScore

# Modules of the public names, imported on first use: `import galahstream` loads neither NumPy nor
# torch.
_LAZY_IMPORTS = {
    "GalahStreamError": "galahstream.errors",
    "convert": "galahstream.conversion.convert",
    "fetch": "galahstream.conversion.fetch",
    "append": "galahstream.conversion.append",
    "merge": "galahstream.conversion.collection",
    "select": "galahstream.conversion.select",
    "open_store": "galahstream.store",
    "SpectraDataset": "galahstream.stream.dataset",
    "SpectraLoader": "galahstream.stream.loader",
    "LogFlux": "galahstream.stream.transforms",
    "ZScore": "galahstream.stream.transforms",
    "AddNoise": "galahstream.stream.augmentation",
    "ShiftVelocity": "galahstream.stream.augmentation",
    "MaskPixels": "galahstream.stream.augmentation",
    "Compose": "galahstream.stream.augmentation",
    "models": "galahstream.learn.models",
    "SpectraCNN": "galahstream.learn.models.cnn",
    "train": "galahstream.learn.train",
    "load_model": "galahstream.learn.trained_model",
    "evaluate": "galahstream.learn.inference",
    "predict": "galahstream.learn.inference",
    "write_predictions": "galahstream.learn.inference",
    "write_report": "galahstream.report.write",
    "show_config": "galahstream.stream.config",
}

__all__ = [*_LAZY_IMPORTS, "__version__", "errors"]


def __getattr__(name: str) -> object:
    if name == "errors":
        return import_module("galahstream.errors")
    if name not in _LAZY_IMPORTS:
        msg = f"module 'galahstream' has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(import_module(_LAZY_IMPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
