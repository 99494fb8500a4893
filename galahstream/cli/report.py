"""``galahstream report``: one page of HTML about a run or a store."""

import argparse
from pathlib import Path

from galahstream.cli.command import CommandResult, Commands, add_command

_OUT = Path("report.html")


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "report",
        run,
        "write one page of HTML about a run or a store, with all pictures in it",
        "runs/first --out report.html",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="folder of a run, or a store")
    parser.add_argument(
        "--out", type=Path, default=_OUT, metavar="FILE", help=f"page to write (default: {_OUT})"
    )


def run(options: argparse.Namespace) -> CommandResult:
    """Write the page."""
    from galahstream.report.write import write_report

    page = write_report(options.path, options.out)
    return CommandResult(f"{options.out}: report of {options.path}", {"path": str(page)})
