"""``galahstream predict``: write the labels that a saved model predicts."""

import argparse
import io
from pathlib import Path

from galahstream.cli.command import (
    CommandResult,
    Commands,
    add_command,
    add_model_options,
    check_output,
)
from galahstream.errors import OptionError

_STANDARD_OUTPUT = Path("-")


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "predict",
        run,
        "write the labels that a saved model predicts, as CSV",
        "runs/first/model.pt store --out labels.csv",
    )
    add_model_options(parser, split="all")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="CSV file to write; - writes to standard output",
    )


def run(options: argparse.Namespace) -> CommandResult:
    """Predict labels, with or without labels in the store."""
    from galahstream.learn.inference import predict
    from galahstream.learn.trained_model import load_model

    if options.out == _STANDARD_OUTPUT and options.json:
        msg = "--out - and --json both write to standard output; choose one of them"
        raise OptionError(msg)
    check_output(options.out, options.model, options.store)
    predictions = predict(
        load_model(options.model),
        options.store,
        options.split,
        batch_size=options.batch_size,
        device=options.device,
    )
    if options.out == _STANDARD_OUTPUT:
        table = io.StringIO(newline="")
        predictions.write_rows(table)
        return CommandResult(table.getvalue())
    predictions.write_csv(options.out)
    columns = ", ".join(
        f"{name} [{unit}]" if unit else name
        for name, unit in zip(predictions.names, predictions.units, strict=True)
    )
    n_stars = len(predictions.ids)
    text = f"{options.out}: {n_stars:,} stars, columns id, {columns}"
    return CommandResult(text, {"path": str(options.out), "stars": n_stars})
