"""``galahstream evaluate``: measure the errors of a saved model."""

import argparse

from galahstream.cli.command import CommandResult, Commands, add_command, add_model_options
from galahstream.cli.text import group_lines, label_lines

MISSING = ("raise", "drop", "mask")


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "evaluate",
        run,
        "measure the errors of a saved model on a store",
        "runs/first/model.pt store",
    )
    add_model_options(parser, split="test")
    parser.add_argument(
        "--missing",
        choices=MISSING,
        default="raise",
        help="what to do with stars that lack a label; mask uses those that they have "
        "(default: raise)",
    )
    parser.add_argument(
        "--label-errors",
        action="store_true",
        help="add the errors of the true labels (e_teff of teff) to the uncertainties",
    )


def run(options: argparse.Namespace) -> CommandResult:
    """Evaluate the model; nothing is trained."""
    from galahstream.learn.inference import evaluate
    from galahstream.learn.trained_model import load_model

    evaluation = evaluate(
        load_model(options.model),
        options.store,
        options.split,
        missing=options.missing,
        label_errors=options.label_errors,
        batch_size=options.batch_size,
        device=options.device,
    )
    lines = [
        f"{evaluation.n_stars:,} stars of {evaluation.split!r}: loss {evaluation.loss:.4f}",
        *label_lines(evaluation.labels),
        *group_lines(evaluation.groups),
    ]
    if evaluation.not_compared:
        compared = ", ".join(label.name for label in evaluation.labels)
        missing = ", ".join(evaluation.not_compared)
        lines.append(f"compared: {compared}; the store does not have {missing}")
    if not evaluation.same_split:
        lines.append("the model was trained with another split: it may have seen these stars")
    return CommandResult("\n".join(lines), evaluation.as_dict())
