"""``galahstream plot``: draw the spectrum of one star, or the Kiel diagram of all."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from galahstream.cli.command import CommandResult, Commands, add_command, check_output
from galahstream.errors import OptionError

if TYPE_CHECKING:
    from galahstream.store import Store

_SPECTRUM = Path("spectrum.png")


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
    from galahstream.report.star import draw_star

    row = options.row or 0
    if not 0 <= row < len(store):
        msg = f"{options.store}: no row {row}; expected 0 to {len(store) - 1}"
        raise OptionError(msg)
    return draw_star(store, row, out)


def _draw_kiel(store: "Store", options: argparse.Namespace, out: Path) -> str:
    """Draw the Kiel diagram, and return how many stars it has."""
    from galahstream.report.star import draw_kiel

    return draw_kiel(store, out)
