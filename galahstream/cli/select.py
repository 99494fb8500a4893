"""``galahstream select``: make a store of some stars of another."""

import argparse
from pathlib import Path

from galahstream.cli.command import CommandResult, Commands, add_command
from galahstream.cli.text import described


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "select",
        run,
        "make a store of some stars of another, without copying their spectra",
        'survey giants --where "logg < 3.5 and snr > 30"',
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="folder or HDF5 file")
    parser.add_argument("dest", type=Path, metavar="DEST", help="folder to create")
    parser.add_argument(
        "--where",
        required=True,
        metavar="EXPR",
        help='conditions on labels and id, as in --where "teff > 4000 and id != 12"',
    )
    parser.add_argument("--overwrite", action="store_true", help="replace DEST if it exists")


def run(options: argparse.Namespace) -> CommandResult:
    """Select the stars and describe the collection."""
    from galahstream.conversion.select import select

    return described(
        select(options.store, options.dest, options.where, overwrite=options.overwrite)
    )
