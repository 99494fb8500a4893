"""Draw the losses and the predictions of a finished run."""

import numpy as np

from galahstream.learn.observers.base import Observer
from galahstream.learn.results import LabelPairs, TrainingResult, snr_label
from galahstream.learn.run import RunFolder
from galahstream.learn.sensitivity import mean_sensitivity
from galahstream.plots.calibration import plot_calibration
from galahstream.plots.kiel import KielStars, plot_kiel_pair
from galahstream.plots.panels import LabelPanel
from galahstream.plots.residuals import plot_residuals
from galahstream.plots.sensitivity import plot_sensitivity
from galahstream.plots.training import plot_losses, plot_predictions
from galahstream.stream.dataset import SpectraDataset


class PictureWriter(Observer):
    """Write the pictures of a run at the end; needs matplotlib.

    ``kiel.png`` is there for models of ``teff`` and ``logg``, ``residuals.png`` for stores with a
    signal to noise, and ``calibration.png`` for models that predict uncertainties.

    Parameters
    ----------
    folder : RunFolder
    loss_label : str
        What the loss is, for the axis.
    test : SpectraDataset
        The test stars.
    """

    def __init__(self, folder: RunFolder, loss_label: str, test: SpectraDataset) -> None:
        self._folder, self._loss_label, self._test = folder, loss_label, test

    def finished(self, result: TrainingResult, test: LabelPairs) -> None:
        """Draw all pictures."""
        plot_losses(
            [record.train_loss for record in result.history],
            [record.val_loss for record in result.history],
            self._loss_label,
            self._folder.picture("loss"),
        )
        panels = [LabelPanel(label.name, label.unit, label.caption) for label in result.test]
        title = f"{result.stars.test:,} test stars, not used in training"
        out = self._folder.picture("predictions")
        plot_predictions(test.predicted, test.true, panels, title, out)
        self._draw_residuals(test, panels, title)
        self._draw_kiel(result, test, title)
        if test.sigma is not None:
            pulls = (test.predicted - test.true) / test.sigma
            plot_calibration(pulls, panels, title, self._folder.picture("calibration"))
        self._draw_sensitivity(result, panels)

    def _draw_residuals(self, test: LabelPairs, panels: list[LabelPanel], title: str) -> None:
        name = snr_label(self._test.store)
        if name is None:
            return
        snr = self._test.store.labels[name][self._test.rows]
        residuals, out = test.predicted - test.true, self._folder.picture("residuals")
        plot_residuals(residuals, snr, panels, name, title, out)

    def _draw_kiel(self, result: TrainingResult, test: LabelPairs, title: str) -> None:
        names = result.model.recipe.labels
        if "teff" not in names or "logg" not in names:
            return
        true, predicted = (
            KielStars(
                *(
                    values[:, names.index(name)] if name in names else np.full(len(values), np.nan)
                    for name in KielStars._fields
                )
            )
            for values in (test.true, test.predicted)
        )
        plot_kiel_pair(true, predicted, title, self._folder.picture("kiel"))

    def _draw_sensitivity(self, result: TrainingResult, panels: list[LabelPanel]) -> None:
        found = mean_sensitivity(result.model, self._test)
        title = (
            f"what each label depends on: mean of {found.n_stars} test stars; in bold the named "
            f"line that matters most in its panel"
        )
        out, wavelength = self._folder.picture("sensitivity"), self._test.wavelength
        plot_sensitivity(wavelength, found.flux, found.gradients, panels, title, out)
