"""What lies on disk: the two store formats and what reads them."""

from galahstream.store.store import Store, open_store

__all__ = ["Store", "open_store"]
