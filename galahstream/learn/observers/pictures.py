"""Draw the losses and the predictions of a finished run."""

from galahstream.learn.observers.base import Observer
from galahstream.learn.results import LabelPairs, TrainingResult
from galahstream.learn.run import RunFolder
from galahstream.plots.panels import LabelPanel
from galahstream.plots.training import plot_losses, plot_predictions


class PictureWriter(Observer):
    """Write ``loss.png`` and ``predictions.png`` at the end; needs matplotlib.

    Parameters
    ----------
    folder : RunFolder
    loss_label : str
        What the loss is, for the axis.
    """

    def __init__(self, folder: RunFolder, loss_label: str) -> None:
        self._folder, self._loss_label = folder, loss_label

    def finished(self, result: TrainingResult, test: LabelPairs) -> None:
        """Draw both pictures."""
        plot_losses(
            [record.train_loss for record in result.history],
            [record.val_loss for record in result.history],
            self._loss_label,
            self._folder.loss_plot,
        )
        plot_predictions(
            test.predicted,
            test.true,
            [LabelPanel(label.name, label.unit, label.caption) for label in result.test],
            f"{result.stars.test:,} test stars, not used in training",
            self._folder.predictions_plot,
        )
