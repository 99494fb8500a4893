"""Readers of the files that surveys publish; one module a kind of input."""
