"""Draw what a store holds: the spectrum of a star, and the Kiel diagram of all."""

from pathlib import Path

import numpy as np

from galahstream.errors import LabelError
from galahstream.store import Store

_KIEL_UNITS = {"teff": "K", "logg": "dex", "fe_h": "dex"}


def draw_star(store: Store, row: int, out: Path) -> str:
    """Draw the spectrum of one star, and return the title: its id and main labels."""
    from galahstream.plots.spectrum import plot_spectrum
    from galahstream.survey.labels import DEFAULT_LABELS

    values = [
        f"{name} {column[row]:.4g} {store.label_units[name]}".rstrip()
        for name, column in store.labels.items()
        if name in DEFAULT_LABELS
    ]
    title = ", ".join([f"star {store.ids[row]}", *values])
    plot_spectrum(
        store.wavelength,
        store.flux[row],
        title,
        out,
        error=None if store.error is None else store.error[row],
        note=_note(store),
    )
    return title


def _note(store: Store) -> str:
    """Return what the caption says of the wavelengths."""
    frame = store.provenance.frame
    if store.wavelength_is_nominal and store.provenance.grid is None:
        return "nominal wavelength: each star is off by up to 2.7 Å and by its velocity"
    if frame == "observed":
        return "observed frame: lines are shifted by the star's velocity"
    return "" if frame is None else f"{frame} frame"


def can_draw_kiel(store: Store) -> bool:
    """Return whether stars have the labels of the Kiel diagram, in its units."""
    units = store.label_units
    has_labels = all(units.get(name) in ("", unit) for name, unit in _KIEL_UNITS.items())
    return has_labels and bool(
        np.any(np.isfinite(store.labels["teff"]) & np.isfinite(store.labels["logg"]))
    )


def draw_kiel(store: Store, out: Path) -> str:
    """Draw the Kiel diagram of all stars, and return how many it has.

    Raises
    ------
    LabelError
        If the store lacks temperature, gravity or metallicity, or has them in other units.
    """
    from galahstream.plots.kiel import plot_kiel

    for name, unit in _KIEL_UNITS.items():
        found = store.label_units.get(name)
        if found is None:
            msg = (
                f"{store.path} has no label {name!r}; the Kiel diagram needs teff, logg and "
                f"fe_h: convert with them (labels=, --labels)"
            )
            raise LabelError(msg)
        if found not in ("", unit):
            msg = (
                f"{store.path} has {name!r} in {found}, and the Kiel diagram needs {unit}; "
                f"convert with it in {unit} (labels=, --labels)"
            )
            raise LabelError(msg)
    teff, logg, fe_h = (store.labels[name] for name in _KIEL_UNITS)
    n_drawn = plot_kiel(teff, logg, fe_h, store.path.name, out)
    return f"{n_drawn:,} of {len(store):,} stars"
