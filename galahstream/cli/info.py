"""``galahstream info``: describe a store."""

import argparse
from pathlib import Path

from galahstream.cli.command import CommandResult, Commands, add_command
from galahstream.cli.text import described


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "info", run, "describe the contents of a store", "store")
    parser.add_argument("store", type=Path, metavar="STORE", help="folder or HDF5 file")


def run(options: argparse.Namespace) -> CommandResult:
    """Describe the store; no flux is read."""
    from galahstream.store import open_store

    return described(open_store(options.store))
