"""Plots of spectra and training runs, drawn from plain arrays and strings."""
