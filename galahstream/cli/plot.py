"""``galahstream plot``: draw the spectrum of one star."""

import argparse
from pathlib import Path

from galahstream.cli.command import CommandResult, Commands, add_command, check_output
from galahstream.errors import OptionError


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "plot", run, "draw the spectrum of one star", "store --row 12 --out spectrum.png"
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="folder or HDF5 file")
    parser.add_argument("--row", type=int, default=0, help="row of the store (default: 0)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("spectrum.png"),
        metavar="FILE",
        help="picture to write (default: spectrum.png)",
    )


def run(options: argparse.Namespace) -> CommandResult:
    """Draw the star into a file."""
    from galahstream.plots.spectrum import plot_spectrum
    from galahstream.store import open_store
    from galahstream.survey.labels import DEFAULT_LABELS

    check_output(options.out, options.store)
    with open_store(options.store) as store:
        if not 0 <= options.row < len(store):
            msg = f"{options.store}: no row {options.row}; expected 0 to {len(store) - 1}"
            raise OptionError(msg)
        values = [
            f"{name} {column[options.row]:.4g} {store.label_units[name]}".rstrip()
            for name, column in store.labels.items()
            if name in DEFAULT_LABELS
        ]
        title = ", ".join([f"star {store.ids[options.row]}", *values])
        plot_spectrum(
            store.wavelength,
            store.flux[options.row],
            title,
            options.out.absolute(),
            wavelength_is_nominal=store.wavelength_is_nominal,
        )
    return CommandResult(f"{options.out}: {title}", {"path": str(options.out)})
