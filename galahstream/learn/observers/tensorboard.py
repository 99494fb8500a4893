"""Write a run for TensorBoard.

The tags begin with loss, optimiser and speed, which TensorBoard thus shows first; its page
"Custom Scalars" has training beside validation.
"""

import re
import struct
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galahstream.learn.metrics import LabelMetrics
from galahstream.learn.models.base import SpectraNetwork, layer_table
from galahstream.learn.observers.base import Observer
from galahstream.learn.results import EpochRecord, LabelPairs, TrainingResult
from galahstream.learn.run import RunFolder


class EventWriter(Observer):
    """Write events into the folder of a run.

    Parameters
    ----------
    folder : RunFolder
    first_epoch : int, optional
        Hide the events of this and later epochs, which an earlier part of a
        resumed run wrote.
    """

    def __init__(self, folder: RunFolder, first_epoch: int | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # imports of tensorboard itself
            from torch.utils.tensorboard import SummaryWriter
        _wait_for_a_later_name(folder.path)
        self._folder = folder
        self._has_layout = False
        self._writer: Any = SummaryWriter(str(folder.path), purge_step=first_epoch)

    def started(self, network: SpectraNetwork) -> None:
        """Write the layers of the network as a table."""
        self._writer.add_text("model", layer_table(network))

    def epoch_finished(self, record: EpochRecord, network: SpectraNetwork) -> None:
        """Write the scalars of an epoch and the histograms of the parameters."""
        if not self._has_layout:
            self._writer.add_custom_scalars(_layout(record.labels))
            self._has_layout = True
        step = record.epoch
        self._writer.add_scalar("loss/training", record.train_loss, step)
        self._writer.add_scalar("loss/validation", record.val_loss, step)
        self._add_metrics("validation", record.labels, step)
        self._writer.add_scalar("optimiser/learning_rate", record.learning_rate, step)
        self._writer.add_scalar("speed/spectra_per_s", record.spectra_per_s, step)
        self._writer.add_scalar("speed/waiting_share", record.waiting_share, step)
        for name, weights in network.named_parameters():
            self._writer.add_histogram(f"parameters/{name}", weights.detach().cpu(), step)
        self._writer.flush()

    def finished(self, result: TrainingResult, test: LabelPairs) -> None:
        """Write the errors on the test stars, the settings beside them, and the pictures."""
        step = result.history[-1].epoch
        for path in self._folder.pictures:
            if path.exists():
                self._add_picture(path, step)
        self._add_metrics("test", result.test, step)
        for group in result.test_groups:
            name = f"test_{group.by}_{group.group}".replace(" ", "_")
            self._add_metrics(name, group.labels, step)
        final = {"test_final/loss": result.test_loss}
        final |= {f"test_final/rmse_{label.name}": label.rmse for label in result.test}
        self._writer.add_hparams(result.settings, final, run_name=".", global_step=step)

    def close(self) -> None:
        """Write the remaining events and close the file."""
        self._writer.close()

    def _add_picture(self, path: Path, step: int) -> None:
        """Add a PNG file as it is; SummaryWriter takes pixels, and compresses them again."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        data = path.read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=data)
        value = Summary.Value(tag=f"pictures/{path.stem}", image=image)
        self._writer.file_writer.add_summary(Summary(value=[value]), step)

    def _add_metrics(self, split: str, labels: Sequence[LabelMetrics], step: int) -> None:
        for label in labels:
            for name in ("rmse", "bias", "scatter"):
                self._writer.add_scalar(_tag(split, name, label), getattr(label, name), step)
            self._writer.add_scalar(f"{split}_r2/{label.name}", label.r2, step)
            if label.uncertainty is not None:
                for name in ("pull_mean", "pull_std", "coverage_68", "coverage_95"):
                    value = getattr(label.uncertainty, name)
                    self._writer.add_scalar(f"{split}_{name}/{label.name}", value, step)


def _tag(split: str, metric: str, label: LabelMetrics) -> str:
    """Return the tag of an error in the unit of its label."""
    unit = f"_{label.unit}" if label.unit else ""
    return f"{split}_{metric}{unit}/{label.name}"


def _layout(labels: Sequence[LabelMetrics]) -> dict[str, dict[str, list[str | list[str]]]]:
    """Return the charts of the page "Custom Scalars", which finds tags by regular expressions."""

    def chart(*tags: str) -> list[str | list[str]]:
        return ["Multiline", [f"^{re.escape(tag)}$" for tag in tags]]

    errors = {
        " ".join(
            ["validation RMSE of", label.name, *([f"[{label.unit}]"] if label.unit else [])]
        ): chart(_tag("validation", "rmse", label))
        for label in labels
    }
    return {
        "Is it learning? Is it overfitting?": {
            "loss: training and validation": chart("loss/training", "loss/validation"),
            **errors,
        },
        "Is it waiting for data?": {
            "share of the time spent waiting": chart("speed/waiting_share"),
            "spectra per second": chart("speed/spectra_per_s"),
        },
    }


def _wait_for_a_later_name(folder: Path) -> None:
    """Wait until a new event file sorts behind those in the folder, at most a second.

    TensorBoard reads event files in the order of their names, which begin with the
    second in which they were created: a resumed run in the same second could be
    read before the run that it continues, which then hides its events.
    """
    seconds = [path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*")]
    newest = max((int(second) for second in seconds if second.isdigit()), default=0)
    if newest == int(time.time()):
        time.sleep(newest + 1 - time.time())
