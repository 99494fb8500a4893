"""``galahstream predict``: write the labels that a saved model predicts."""

import argparse
from pathlib import Path

from galahstream.cli.command import (
    CommandResult,
    Commands,
    add_command,
    add_model_options,
    check_output,
)
from galahstream.cli.output import StandardOutput, StandardOutputError, write_message
from galahstream.errors import OptionError

_STANDARD_OUTPUT = Path("-")


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "predict",
        run,
        "write the labels that a saved model predicts, as a table",
        "runs/first/model.pt store --out labels.fits",
    )
    add_model_options(parser, split="all")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="table to write: .csv, .ecsv, .fits, .parquet or .npy; - writes CSV to standard "
        "output",
    )


def run(options: argparse.Namespace) -> CommandResult:
    """Predict labels, with or without labels in the store."""
    from galahstream.learn.flags import flag_count_lines
    from galahstream.learn.inference import write_predictions
    from galahstream.learn.trained_model import load_model

    is_printed = options.out == _STANDARD_OUTPUT
    if is_printed and options.json:
        msg = "--out - and --json both write to standard output; choose one of them"
        raise OptionError(msg)
    check_output(options.out, options.model, options.store)
    try:
        table = write_predictions(
            load_model(options.model),
            options.store,
            StandardOutput() if is_printed else options.out,
            options.split,
            batch_size=options.batch_size,
            device=options.device,
        )
    except StandardOutputError as error:
        return CommandResult("", status=error.status)
    lines = flag_count_lines(table.flags)
    if is_printed:
        for line in lines:
            write_message(line)
        return CommandResult("")
    columns = ", ".join(
        f"{name} [{unit}]" if unit else name
        for name, unit in zip(table.names, table.units, strict=True)
    )
    lines = (f"{options.out}: {table.n_stars:,} stars, columns {columns}", *lines)
    data = {
        "path": str(options.out),
        "stars": table.n_stars,
        "flags": {str(flag.value): count for flag, count in table.flags.items()},
    }
    return CommandResult("\n".join(lines), data)
