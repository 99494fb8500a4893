"""Conversion of a source into a store, repair of a store, and export of a source."""
