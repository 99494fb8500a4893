"""``galahstream plot``: draw the spectrum of one star, or the Kiel diagram of all."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from galahstream.cli.command import CommandResult, Commands, add_command, check_output
from galahstream.errors import LabelError, OptionError

if TYPE_CHECKING:
    from galahstream.store import Store

_SPECTRUM = Path("spectrum.png")
_KIEL_UNITS = {"teff": "K", "logg": "dex", "fe_h": "dex"}


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "plot",
        run,
        "draw the spectrum of one star, or the Kiel diagram of all",
        "store --row 12 --out spectrum.png",
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="folder or HDF5 file")
    parser.add_argument("--row", type=int, help="row of the store (default: 0)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"picture to write (default: {_SPECTRUM})"
    )
    parser.add_argument(
        "--kiel",
        type=Path,
        metavar="FILE",
        help="draw temperature, gravity and metallicity of all stars into this picture instead",
    )


def run(options: argparse.Namespace) -> CommandResult:
    """Draw the picture into a file."""
    from galahstream.store import open_store

    if options.kiel is not None and (options.row is not None or options.out is not None):
        msg = "--kiel FILE draws all stars into FILE; give it without --row and --out"
        raise OptionError(msg)
    out = options.kiel or options.out or _SPECTRUM
    check_output(out, options.store, flag="--out" if options.kiel is None else "--kiel")
    with open_store(options.store) as store:
        draw = _draw_spectrum if options.kiel is None else _draw_kiel
        return CommandResult(f"{out}: {draw(store, options, out.absolute())}", {"path": str(out)})


def _draw_spectrum(store: "Store", options: argparse.Namespace, out: Path) -> str:
    """Draw one star, and return its title."""
    from galahstream.plots.spectrum import plot_spectrum
    from galahstream.survey.labels import DEFAULT_LABELS

    row = options.row or 0
    if not 0 <= row < len(store):
        msg = f"{options.store}: no row {row}; expected 0 to {len(store) - 1}"
        raise OptionError(msg)
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


def _note(store: "Store") -> str:
    """Return what the caption says of the wavelengths."""
    frame = store.provenance.frame
    if store.wavelength_is_nominal and store.provenance.grid is None:
        return "nominal wavelength: each star is off by up to 2.7 Å and by its velocity"
    if frame == "observed":
        return "observed frame: lines are shifted by the star's velocity"
    return "" if frame is None else f"{frame} frame"


def _draw_kiel(store: "Store", options: argparse.Namespace, out: Path) -> str:
    """Draw the Kiel diagram, and return how many stars it has."""
    from galahstream.plots.kiel import plot_kiel

    for name, unit in _KIEL_UNITS.items():
        found = store.label_units.get(name)
        if found is None:
            msg = (
                f"{options.store} has no label {name!r}; the Kiel diagram needs teff, logg and "
                f"fe_h: convert with them (labels=, --labels)"
            )
            raise LabelError(msg)
        if found not in ("", unit):
            msg = (
                f"{options.store} has {name!r} in {found}, and the Kiel diagram needs {unit}; "
                f"convert with it in {unit} (labels=, --labels)"
            )
            raise LabelError(msg)
    teff, logg, fe_h = (store.labels[name] for name in _KIEL_UNITS)
    n_drawn = plot_kiel(teff, logg, fe_h, options.store.name, out)
    return f"{n_drawn:,} of {len(store):,} stars"
