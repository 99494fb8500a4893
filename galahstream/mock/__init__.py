"""A simulated survey, which is a source of spectra like any other."""
