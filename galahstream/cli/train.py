"""``galahstream train``: train the network on a store."""

import argparse
from pathlib import Path

from galahstream.cli.command import CommandResult, Commands, add_command, names, windows
from galahstream.cli.output import write_message
from galahstream.cli.text import group_lines, label_lines

MODELS = ("reference", "compact", "starnet", "galah")
MISSING = ("raise", "drop", "mask")
LOSSES = ("mse", "nll", "full-nll")
SCHEDULES = ("constant", "cosine", "plateau")


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "train", run, "train the network on a store", "store --epochs 10"
    )
    parser.add_argument(
        "store", type=Path, metavar="STORE", help="folder or HDF5 file, with labels"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/first"),
        metavar="DIR",
        help="folder of the run (default: runs/first)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="resume the interrupted run in the --out folder"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the run in the --out folder"
    )
    add_data_options(parser.add_argument_group("data"))
    _add_optimisation_options(parser.add_argument_group("optimisation"))


def add_data_options(group: argparse._ArgumentGroup) -> None:
    """Add what training reads, and how."""
    group.add_argument(
        "--labels", type=names, metavar="NAMES", help="labels to learn (default: teff,logg,fe_h)"
    )
    group.add_argument(
        "--window",
        action="append",
        metavar="WINDOW",
        help="camera (blue, green, red, infrared), range in Å as in 6550:6580, no-tellurics or "
        "galah-cnn; give it several times for several cameras and ranges (default: all pixels)",
    )
    group.add_argument(
        "--missing",
        choices=MISSING,
        default="raise",
        help="what to do with stars that lack a label; mask learns those that they have "
        "(default: raise)",
    )
    group.add_argument(
        "--label-errors",
        action="store_true",
        help="let the errors of the labels (e_teff of teff) enter the loss",
    )
    group.add_argument(
        "--workers", type=int, default=2, metavar="N", help="threads that load data (default: 2)"
    )
    group.add_argument(
        "--shuffle-block",
        type=int,
        metavar="N",
        help="shuffle in blocks of N stars (default: individual stars)",
    )
    group.add_argument(
        "--augment",
        metavar="SPEC",
        help="change the training stars at random in each epoch, as in "
        "noise=20:200,velocity=2,mask=0.02: noise of an SNR from 20 to 200, shifts of up to "
        "2 km/s, and 2 %% of the pixels missing (default: none)",
    )


def _add_optimisation_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model",
        choices=MODELS,
        default="reference",
        help="network: reference, compact (as accurate, many times faster), starnet (Fabbro et al. "
        "2018) or galah (of GALAH's reduction pipeline) (default: reference)",
    )
    group.add_argument(
        "--epochs", type=int, default=10, metavar="N", help="passes over the data (default: 10)"
    )
    group.add_argument(
        "--batch-size",
        type=int,
        default=32,
        metavar="N",
        help="stars per batch, on each rank under torchrun (default: 32)",
    )
    group.add_argument(
        "--loss",
        choices=LOSSES,
        default="mse",
        help="mean squared error, or likelihood with a predicted variance of each label (nll) or "
        "with their covariance (full-nll) (default: mse)",
    )
    group.add_argument("--lr", type=float, default=1e-3, help="learning rate (default: 0.001)")
    group.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="constant",
        help="learning rate of each epoch: constant, cosine (falls to nearly 0 in the last one) or "
        "plateau (halved after 3 epochs without a better validation loss) (default: constant)",
    )
    group.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="stop after N epochs without a better validation loss (default: never)",
    )
    group.add_argument(
        "--clip-norm",
        type=float,
        metavar="X",
        help="scale the gradients of a step down to norm X where theirs is larger (default: never)",
    )
    group.add_argument(
        "--overfit-batch",
        action="store_true",
        help="learn one batch over and over, to see that the network can",
    )
    group.add_argument(
        "--seed", type=int, default=42, help="seed of the weights and the shuffle (default: 42)"
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")


def run(options: argparse.Namespace) -> CommandResult:
    """Train, and report the errors on the test stars."""
    from galahstream.learn.train import train
    from galahstream.survey.labels import DEFAULT_LABELS

    result = train(
        options.store,
        options.out,
        epochs=options.epochs,
        batch_size=options.batch_size,
        lr=options.lr,
        seed=options.seed,
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
        schedule=options.schedule,
        patience=options.patience,
        clip_norm=options.clip_norm,
        overfit_batch=options.overfit_batch,
        resume=options.resume,
        overwrite=options.overwrite,
        report=write_message,
    )
    lines = [
        f"test stars: loss {result.test_loss:.4f}",
        *label_lines(result.test),
        *group_lines(result.test_groups),
        f"training and validation took {result.seconds:.1f} s",
        *result.notes,
        f"the validation loss was lowest in epoch {result.best_epoch}, whose model is best.pt",
        f"model, history.csv, metrics.json and pictures are in {result.out}",
        f"tensorboard --logdir {result.out}",
    ]
    return CommandResult("\n".join(lines), {**result.as_dict(), "out": str(result.out)})
