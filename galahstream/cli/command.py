"""Parts that all commands share: parser, result, checks and the types of options."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from galahstream.errors import OptionError

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

SPLITS = ("train", "val", "test", "all")


@dataclass(frozen=True)
class CommandResult:
    """The result of a command: text for people, data for programs, and its exit status.

    Attributes
    ----------
    text : str
        Lines for standard output; empty if the command wrote its result there itself.
    data : mapping of str to object
        What ``--json`` prints instead of the text: plain values, lists and mappings.
    status : int
        Exit status: 0, or 1 if the command found damage.
    """

    text: str
    data: Mapping[str, object] = field(default_factory=dict)
    status: int = 0


def check_output(out: Path, *inputs: Path, flag: str = "--out") -> None:
    """Raise `OptionError` if an output file would replace an input, or a file inside one."""
    from galahstream.system.atomic import relation_to

    target = out.resolve()
    for path in (each.resolve() for each in inputs):
        relation = relation_to(target, path)
        if relation in ("is", "is inside"):
            msg = f"{out} {relation} {path}, which this command reads; choose another file ({flag})"
            raise OptionError(msg)


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], CommandResult],
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add the parser of a command, with the options that every command has.

    Parameters
    ----------
    commands : Commands
        The command line's subparsers.
    name : str
        Word that selects the command.
    run : callable
        Takes the parsed options and does the work.
    summary : str
        One line for ``galahstream --help``, lower case, without a full stop.
    example : str
        Arguments of a typical call.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example: galahstream {name} {example}",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def one_source(paths: Sequence[Path]) -> Path | tuple[Path, Path]:
    """Return one path, or the pair ``spectra.npy labels.npy``.

    Raises
    ------
    OptionError
        If there are more paths than two.
    """
    if len(paths) == 1:
        return paths[0]
    if len(paths) == 2:
        return paths[0], paths[1]
    msg = f"{len(paths)} sources; expected one, or two: spectra.npy labels.npy"
    raise OptionError(msg)


def names(text: str) -> list[str]:
    """Read ``teff,logg,fe_h``."""
    return [name.strip() for name in text.split(",")]


def fractions(text: str) -> list[float]:
    """Read ``0.7,0.15,0.15``."""
    try:
        low, middle, high = (float(fraction) for fraction in text.split(","))
    except ValueError:
        msg = f"{text!r} cannot be read; expected three numbers, as in 0.7,0.15,0.15"
        raise argparse.ArgumentTypeError(msg) from None
    return [low, middle, high]


def flux_range(text: str) -> tuple[float, float]:
    """Read ``-0.5,2.8``."""
    try:
        low, high = (float(limit) for limit in text.split(","))
    except ValueError:
        msg = f"{text!r} cannot be read; expected the lowest and the highest flux, as in -1,4"
        raise argparse.ArgumentTypeError(msg) from None
    return low, high


def number(text: str) -> float:
    """Read one of several numbers, behind which positional arguments cannot follow."""
    try:
        return float(text)
    except ValueError:
        msg = f"{text!r} is not a number; give the paths before this option"
        raise argparse.ArgumentTypeError(msg) from None


def windows(texts: Sequence[str] | None) -> list[str | tuple[float, float]] | None:
    """Read names of cameras or selections, and ranges in Å such as ``6550:6580``.

    Raises
    ------
    OptionError
        If a range is not two numbers.
    """
    return None if texts is None else [_range(text) if ":" in text else text for text in texts]


def _range(text: str) -> tuple[float, float]:
    low, _, high = text.partition(":")
    try:
        return float(low), float(high)
    except ValueError as error:
        msg = f"window {text!r} cannot be read; expected a name, or a range in Å as in 6550:6580"
        raise OptionError(msg) from error


def add_model_options(parser: argparse.ArgumentParser, split: str) -> None:
    """Add what `evaluate` and `predict` share; `split` is the default part of the store."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model.pt of a run")
    parser.add_argument("store", type=Path, metavar="STORE", help="folder or HDF5 file")
    parser.add_argument(
        "--split", choices=SPLITS, default=split, help=f"part of the store (default: {split})"
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="stars per batch (default: 32)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
