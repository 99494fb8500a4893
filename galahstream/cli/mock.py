"""``galahstream mock``: write a simulated survey."""

import argparse
from pathlib import Path

from galahstream.cli.command import CommandResult, Commands, add_command

FRAMES = ("observed", "rest")


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "mock",
        run,
        "write a simulated survey: spectra.npy and labels.npy",
        "raw --stars 8914",
    )
    parser.add_argument("dest", type=Path, metavar="DEST", help="folder to create")
    parser.add_argument(
        "--stars", type=int, default=8914, metavar="N", help="number of stars (default: 8914)"
    )
    parser.add_argument(
        "--seed", type=int, default=42, help="the same seed gives the same bytes (default: 42)"
    )
    parser.add_argument(
        "--frame",
        choices=FRAMES,
        default="observed",
        help="observed wavelengths, or at rest, without velocities (default: observed)",
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="number of processes (default: one per core)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace DEST if it exists")


def run(options: argparse.Namespace) -> CommandResult:
    """Write the survey as the .npy pair of the published set."""
    from galahstream.conversion.export import write_npy_pair
    from galahstream.mock.source import MockSource

    source = MockSource(options.stars, options.seed, options.frame, options.jobs)
    write_npy_pair(source, options.dest, overwrite=options.overwrite)
    text = f"{options.dest}: {source.name}, spectra.npy and labels.npy; mock, not observed"
    data = {"path": str(options.dest), "stars": len(source), "seed": options.seed}
    return CommandResult(text, data)
