"""The page of a finished run: how good it is, what it looks like, and how to repeat it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from galahstream.learn.run import PictureName, RunFolder
from galahstream.report.page import Picture, Table, significant, write_page
from galahstream.report.run_files import RunMetrics, read_history, read_metrics

_HISTORY_COLUMNS = (
    "epoch",
    "train_loss",
    "val_loss",
    "learning_rate",
    "spectra_per_s",
    "waiting_share",
    "seconds",
)


class _Caption(NamedTuple):
    """Heading of a picture, and what it shows."""

    title: str
    shows: str


_CAPTIONS: Mapping[PictureName, _Caption] = {
    "loss": _Caption("Losses", "Loss of the training and the validation stars over the epochs"),
    "predictions": _Caption(
        "Predictions", "Predicted against true labels of the test stars, with residuals below"
    ),
    "residuals": _Caption(
        "Signal to noise", "Residuals of the test stars against the signal to noise of the spectra"
    ),
    "kiel": _Caption(
        "Kiel diagram", "Gravity against temperature of the test stars: true left, predicted right"
    ),
    "calibration": _Caption(
        "Calibration",
        "Fraction of the test stars within each central interval against the expected one, and the "
        "distribution of the pulls beside a normal one",
    ),
    "sensitivity": _Caption(
        "Sensitivity",
        "How much each label changes with the flux of each pixel, and the mean spectrum above it",
    ),
}


def write_run_page(folder: RunFolder, out: Path) -> None:
    """Write the page of a finished run.

    Parameters
    ----------
    folder : RunFolder
    out : Path
        The page to write.

    Raises
    ------
    SourceMissingError
        If the run is not finished, or lacks its history.
    CheckpointError
        If a file is not what training writes.
    """
    metrics, history = read_metrics(folder), read_history(folder)
    settings = metrics.settings
    model = settings.get("model", "reference")
    write_page(
        "run.html",
        out,
        title=f"Run {folder.path.name}",
        lead=(
            f"{model}, {metrics.parameters:,} parameters, trained for {metrics.trained_epochs} "
            f"epochs on {metrics.stars.get('train', 0):,} stars; everything below is of "
            f"{metrics.stars.get('test', 0):,} test stars, which were not used in training."
        ),
        cards=list(_cards(metrics)),
        notes=list(_notes(metrics)),
        errors=_errors(metrics),
        uncertainties=_uncertainties(metrics),
        groups=_groups(metrics),
        figures=list(_pictures(folder, metrics)),
        epochs=_epochs(history),
        data=list(_data(metrics)),
        settings=[(name.replace("_", " "), value) for name, value in settings.items()],
        command=_command(metrics),
        environment=list((metrics.record.environment if metrics.record else {}).items())
        or [("versions", "not recorded by this early version")],
    )


def _cards(metrics: RunMetrics) -> Iterator[tuple[str, str]]:
    for label in metrics.test:
        yield f"RMSE of {label.name}", f"{significant(label.rmse, 3)} {label.unit}".rstrip()
    yield "test loss", significant(metrics.test_loss, 3)
    yield "training and validation", f"{metrics.seconds:,.1f} s"


def _notes(metrics: RunMetrics) -> Iterator[str]:
    if metrics.settings.get("overfit_batch") == "True":
        yield "Only one batch was learned, over and over: this model is of no further use."
    if metrics.best_epoch < metrics.trained_epochs:
        yield (
            f"The validation loss was lowest in epoch {metrics.best_epoch} of "
            f"{metrics.trained_epochs}: best.pt has the model of that epoch, and all errors here "
            f"are those of model.pt, the last one."
        )


def _errors(metrics: RunMetrics) -> Table:
    header = (
        "label",
        "unit",
        "stars",
        "RMSE",
        "bias",
        "scatter (1.4826 MAD)",
        "R²",
        "information limit",
    )
    rows = [
        (
            label.name,
            label.unit,
            "–" if label.n is None else f"{label.n:,}",
            significant(label.rmse),
            significant(label.bias),
            significant(label.scatter),
            significant(label.r2),
            significant(label.information_limit),
        )
        for label in metrics.test
    ]
    return Table(header, rows)


def _uncertainties(metrics: RunMetrics) -> Table:
    header = ("label", "mean of pulls", "standard deviation", "within 1 σ", "within 2 σ")
    rows = [
        (
            label.name,
            f"{found.pull_mean:+.2f}",
            f"{found.pull_std:.2f}",
            f"{found.coverage_68:.1%}",
            f"{found.coverage_95:.1%}",
        )
        for label, found in metrics.uncertainties
    ]
    return Table(header, rows)


def _groups(metrics: RunMetrics) -> Table:
    names = tuple(f"{label.name} [{label.unit}]" for label in metrics.test)
    rows = [
        (
            f"{group.by} {group.group}",
            f"{group.n_stars:,}",
            *(significant(label.rmse) for label in group.labels),
        )
        for group in metrics.test_groups
    ]
    return Table(("stars", "number", *names), rows)


def _pictures(folder: RunFolder, metrics: RunMetrics) -> Iterator[Picture]:
    for name, caption in _CAPTIONS.items():
        path = folder.picture(name)
        if path.exists():
            yield Picture.of_file(path, caption.title, f"{caption.shows}{_figures(name, metrics)}.")


def _figures(name: PictureName, metrics: RunMetrics) -> str:
    """Return the figures that a picture shows, for those who do not see it."""
    if name == "loss":
        return (
            f": in the last one, {significant(metrics.train_loss, 3)} and "
            f"{significant(metrics.val_loss, 3)}"
        )
    if name == "predictions":
        return ": " + "; ".join(f"{label.name}, {label.caption}" for label in metrics.test)
    return ""


def _epochs(history: list[dict[str, float]]) -> Table:
    names = [name for name in _HISTORY_COLUMNS if history and name in history[0]]
    rows = [
        tuple(f"{row[name]:.0f}" if name == "epoch" else significant(row[name]) for name in names)
        for row in history
    ]
    return Table(tuple(name.replace("_", " ") for name in names), rows)


def _data(metrics: RunMetrics) -> Iterator[tuple[str, str]]:
    counts = ", ".join(f"{count:,} {name}" for name, count in metrics.stars.items())
    yield "stars in use", counts
    if metrics.record is None:
        yield "store", "not recorded by this early version"
        return
    data = metrics.record.data
    yield "store", data.path
    yield "size", f"{data.stars:,} stars of {data.pixels:,} pixels"
    for name in ("survey", "release", "frame", "grid", "resampling"):
        value = getattr(data.provenance, name)
        if value is not None:
            yield name, value
    for cut in data.cuts:
        yield "cut", f"{cut.condition}: {cut.removed:,} stars removed"
    if data.skipped:
        yield "skipped", f"{data.skipped:,} stars that could not be converted"
    yield "split", f"drawn with seed {data.split_seed}, digest {data.split_fingerprint}"
    yield "fingerprint", data.fingerprint


def _command(metrics: RunMetrics) -> str:
    if metrics.record is None:
        return "not recorded by this early version"
    return metrics.record.command or (
        "from Python, with gs.train and the settings above: the network or the mask of pixels is "
        "one of your own"
    )
