"""The formats of a store on disk, and reading them."""

from galahstream.store.protocol import SpectraStore
from galahstream.store.store import Store, open_store

__all__ = ["SpectraStore", "Store", "open_store"]
