"""Stream survey spectra from memory-mapped files into a network that learns stellar labels."""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from galahstream.config import show_config as show_config
    from galahstream.conversion import convert as convert
    from galahstream.learn.checkpoint import load_model as load_model
    from galahstream.learn.model import SpectraCNN as SpectraCNN
    from galahstream.learn.predict import evaluate as evaluate
    from galahstream.learn.predict import predict as predict
    from galahstream.learn.train import train as train
    from galahstream.store import open_store as open_store
    from galahstream.stream.dataset import SpectraDataset as SpectraDataset
    from galahstream.stream.loader import SpectraLoader as SpectraLoader
    from galahstream.stream.transforms import LogFlux as LogFlux
    from galahstream.stream.transforms import ZScore as ZScore

# Each public name and where it lives: torch is imported when the first name that needs it is used.
_HOMES = {
    "convert": "galahstream.conversion",
    "open_store": "galahstream.store",
    "SpectraDataset": "galahstream.stream.dataset",
    "SpectraLoader": "galahstream.stream.loader",
    "LogFlux": "galahstream.stream.transforms",
    "ZScore": "galahstream.stream.transforms",
    "SpectraCNN": "galahstream.learn.model",
    "train": "galahstream.learn.train",
    "load_model": "galahstream.learn.checkpoint",
    "evaluate": "galahstream.learn.predict",
    "predict": "galahstream.learn.predict",
    "show_config": "galahstream.config",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module 'galahstream' has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
