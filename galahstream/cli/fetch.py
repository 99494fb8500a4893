"""``galahstream fetch``: copy a store from a server or an object store."""

import argparse
from pathlib import Path

from galahstream.cli.command import CommandResult, Commands, add_command
from galahstream.cli.output import write_message
from galahstream.cli.text import described


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "fetch",
        run,
        "copy a store from a server or an object store, and verify it",
        "https://example.org/survey survey",
    )
    parser.add_argument(
        "url",
        metavar="URL",
        help="folder or HDF5 file at an address that fsspec knows: https://, s3://, gs:// ...",
    )
    parser.add_argument("dest", type=Path, metavar="DEST", help="store to create")
    parser.add_argument("--overwrite", action="store_true", help="replace DEST if it exists")


def run(options: argparse.Namespace) -> CommandResult:
    """Copy the store and describe it."""
    from galahstream.conversion.fetch import fetch

    return described(
        fetch(options.url, options.dest, overwrite=options.overwrite, report=write_message)
    )
