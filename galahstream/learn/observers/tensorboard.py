"""What a run leaves for TensorBoard."""

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from galahstream.learn.metrics import LabelMetrics
from galahstream.learn.models.cnn import SpectraCNN, layer_table


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of training.

    Losses are mean squared errors of z-scored labels, `labels` the errors on
    the validation stars in the labels' units; `waiting_share` is the part of
    the training time that was spent waiting for data, `seconds` the time of
    training and validation together.
    """

    epoch: int
    train_loss: float
    val_loss: float
    labels: tuple[LabelMetrics, ...]
    learning_rate: float
    spectra_per_s: float
    waiting_share: float
    seconds: float

    def as_row(self) -> dict[str, Any]:
        """Return the record as a flat row of a table."""
        row = asdict(self)
        for label in row.pop("labels"):
            row |= {f"val_{name}_{label['name']}": label[name] for name in ("rmse", "r2")}
        return row


class EventWriter:
    """Writes the events of one run into its folder.

    Parameters
    ----------
    folder : Path
        The run's.
    first_epoch : int, optional
        What an earlier part of the run wrote of this epoch and later is hidden.
    """

    def __init__(self, folder: Path, first_epoch: int | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tensorboard's own imports
            from torch.utils.tensorboard import SummaryWriter
        self._writer: Any = SummaryWriter(str(folder), purge_step=first_epoch)

    def start(self, model: SpectraCNN) -> None:
        """Write the model as a table."""
        self._writer.add_text("model", layer_table(model))

    def epoch(self, record: EpochRecord, model: SpectraCNN) -> None:
        """Write the scalars of an epoch and the histograms of the parameters."""
        step = record.epoch
        self._writer.add_scalar("loss/training", record.train_loss, step)
        self._writer.add_scalar("loss/validation", record.val_loss, step)
        self._labels("validation", record.labels, step)
        self._writer.add_scalar("learning_rate", record.learning_rate, step)
        self._writer.add_scalar("speed/spectra_per_s", record.spectra_per_s, step)
        self._writer.add_scalar("speed/waiting_share", record.waiting_share, step)
        for name, weights in model.named_parameters():
            self._writer.add_histogram(f"parameters/{name}", weights.detach().cpu(), step)
        self._writer.flush()

    def finish(
        self,
        step: int,
        loss: float,
        labels: tuple[LabelMetrics, ...],
        settings: dict[str, int | float | str],
    ) -> None:
        """Write the test metrics, and the settings with them."""
        self._writer.add_scalar("loss/test", loss, step)
        self._labels("test", labels, step)
        final = {"final/test_loss": loss}
        final |= {f"final/test_rmse_{label.name}": label.rmse for label in labels}
        self._writer.add_hparams(settings, final, run_name=".", global_step=step)

    def close(self) -> None:
        """Write what is left and close the file."""
        self._writer.close()

    def _labels(self, split: str, labels: tuple[LabelMetrics, ...], step: int) -> None:
        for label in labels:
            unit = f"_{label.unit}" if label.unit else ""
            self._writer.add_scalar(f"rmse{unit}/{split}_{label.name}", label.rmse, step)
            self._writer.add_scalar(f"r2/{split}_{label.name}", label.r2, step)
