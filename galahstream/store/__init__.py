"""What lies on disk: the two store formats and what reads them."""

from galahstream.store.reading import Store, open_store

__all__ = ["Store", "open_store"]
