"""``galahstream append``: add stars to a store."""

import argparse
from pathlib import Path

from galahstream.cli.command import CommandResult, Commands, add_command, one_source
from galahstream.cli.convert import add_source_groups, source_options
from galahstream.cli.text import described


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "append",
        run,
        "convert the stars of a source and add them to a store",
        "survey raw --labels teff,logg,fe_h",
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="store to add to: a folder")
    parser.add_argument(
        "source", nargs="+", type=Path, metavar="SOURCE", help="new stars, as for convert"
    )
    add_source_groups(parser)


def run(options: argparse.Namespace) -> CommandResult:
    """Convert the new stars and describe the collection."""
    from galahstream.conversion.append import append

    given = {name: value for name, value in source_options(options).items() if value is not None}
    return described(append(options.store, one_source(options.source), **given))
