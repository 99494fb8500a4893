"""``galahstream merge``: make one store of many."""

import argparse
from pathlib import Path

from galahstream.cli.command import CommandResult, Commands, add_command
from galahstream.cli.text import described


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "merge",
        run,
        "make one store of many, without copying their spectra",
        "survey night1 night2",
    )
    parser.add_argument("dest", type=Path, metavar="DEST", help="folder to create")
    parser.add_argument("stores", nargs="+", type=Path, metavar="STORE", help="stores to join")
    parser.add_argument("--overwrite", action="store_true", help="replace DEST if it exists")


def run(options: argparse.Namespace) -> CommandResult:
    """Join the stores and describe the collection."""
    from galahstream.conversion.collection import merge

    return described(merge(options.dest, options.stores, overwrite=options.overwrite))
