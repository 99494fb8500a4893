"""Benchmarks of galahstream: ``python -m benchmarks --help``."""
