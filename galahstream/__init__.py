"""Stream survey spectra from memory-mapped files into a network that learns stellar labels."""

__version__ = "0.1.0"
