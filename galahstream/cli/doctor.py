"""``galahstream doctor``: measure what bounds training on a store."""

import argparse
from pathlib import Path

from galahstream.cli.command import CommandResult, Commands, add_command, windows
from galahstream.cli.text import diagnosis_lines
from galahstream.cli.train import LOSSES, MODELS, add_data_options


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "doctor",
        run,
        "measure what bounds training on a store, and say what to change",
        "store --batch-size 64 --workers 4",
    )
    parser.add_argument(
        "store", type=Path, metavar="STORE", help="folder or HDF5 file, with labels"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=2.0,
        metavar="S",
        help="time of each measurement (default: 2)",
    )
    add_data_options(parser.add_argument_group("data"))
    training = parser.add_argument_group("training")
    training.add_argument(
        "--model", choices=MODELS, default="reference", help="(default: reference)"
    )
    training.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="stars per batch (default: 32)"
    )
    training.add_argument("--loss", choices=LOSSES, default="mse", help="(default: mse)")
    training.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")


def run(options: argparse.Namespace) -> CommandResult:
    """Measure the parts of training; nothing is written."""
    from galahstream.learn.doctor import examine
    from galahstream.learn.run import TrainOptions
    from galahstream.survey.labels import DEFAULT_LABELS

    diagnosis = examine(
        options.store,
        TrainOptions(
            batch_size=options.batch_size,
            device=options.device,
            labels=options.labels or DEFAULT_LABELS,
            window=windows(options.window),
            model=options.model,
            missing=options.missing,
            num_workers=options.workers,
            shuffle_block=options.shuffle_block,
            augment=options.augment,
            loss=options.loss,
            label_errors=options.label_errors,
        ),
        seconds=options.seconds,
    )
    return CommandResult("\n".join(diagnosis_lines(diagnosis)), diagnosis.as_dict())
