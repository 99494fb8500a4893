"""From a source to a store."""
