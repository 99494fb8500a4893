"""The command line's entry points: parse the arguments, run the command, print its result."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from galahstream._version import __version__
from galahstream.cli import (
    append,
    convert,
    doctor,
    evaluate,
    fetch,
    info,
    merge,
    mock,
    plot,
    predict,
    report,
    select,
    train,
    verify,
)
from galahstream.cli.command import CommandResult
from galahstream.cli.output import as_json, tolerate_any_encoding, write_line, write_message
from galahstream.errors import GalahStreamError, RankError, TrainingDivergedError
from galahstream.system.launch import launched_by_torchrun

# What all ranks of a training raise, and the first one reports.
_OF_ALL_RANKS = (RankError, TrainingDivergedError)

COMMANDS = (
    mock,
    convert,
    append,
    merge,
    select,
    fetch,
    info,
    verify,
    plot,
    doctor,
    train,
    evaluate,
    predict,
    report,
)
"""The modules of the commands, in the order of ``galahstream --help``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after ``galahstream``; those of the process if not given.

    Returns
    -------
    int
        0 if the work is done, 1 if the input was rejected or is damaged, 130 if
        the user interrupted it, 141 if the reader of the output went away.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version``, and with 2 for wrong usage.
    """
    tolerate_any_encoding()
    options = build_parser().parse_args(arguments)
    launch = launched_by_torchrun()
    if launch.world_size > 1 and options.run is not train.run:
        if launch.rank == 0:
            write_message("galahstream: torchrun is for train; start this command without it")
        return 1
    run: Callable[[argparse.Namespace], CommandResult] = options.run
    try:
        result = run(options)
        text = as_json(result.data) if options.json else result.text
        text = text if launch.rank == 0 else ""
        status = write_line(text) if text else 0
    except (GalahStreamError, OSError) as error:
        if options.debug:
            raise
        if launch.rank == 0 or not isinstance(error, _OF_ALL_RANKS):
            _report(error, " ".join(str(error).split()) or type(error).__name__)
        return 1
    except KeyboardInterrupt as error:
        _report(error, "interrupted")
        return 130
    return status or result.status


def convert_main() -> int:
    """Run ``galahstream convert`` with the arguments of the process."""
    return main(["convert", *sys.argv[1:]])


def train_main() -> int:
    """Run ``galahstream train`` with the arguments of the process."""
    return main(["train", *sys.argv[1:]])


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, with a subparser for each command."""
    parser = _Parser(
        prog="galahstream",
        description="Convert survey spectra into stores and stream them into a network.",
        epilog="example: galahstream convert raw store && galahstream train store",
    )
    parser.add_argument("--version", action="version", version=f"galahstream {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser that takes -1e20 for a number, and reports a failure to print its help.

    argparse ignores such a failure, and before Python 3.14 takes -1e20 for an option.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._negative_number_matcher = re.compile(
            r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE
        )

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is not sys.stdout:
            super()._print_message(message, file)
        elif status := write_line(message):
            sys.exit(status)


def _report(error: BaseException, message: str) -> None:
    for line in (message, *getattr(error, "__notes__", ())):
        write_message(f"galahstream: {line}")
