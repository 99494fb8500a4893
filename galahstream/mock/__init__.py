"""A simulated survey: stars, their spectra from physics, and the atomic data behind them."""
