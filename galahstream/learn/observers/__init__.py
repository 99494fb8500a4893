"""Observers of a training run: they show or store what happens."""
