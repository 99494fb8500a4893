"""Show a run on the terminal: a progress bar per epoch, and a line after it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from galahstream.learn.models.base import SpectraNetwork
from galahstream.learn.observers.base import EpochStart, Observer
from galahstream.learn.results import EpochRecord
from galahstream.system.progress import ProgressBar, progress_bar


class ConsoleObserver(Observer):
    """Draw progress bars, and log one line per epoch.

    Parameters
    ----------
    epochs : int
        The number of epochs.
    log : callable
        Called with each line.
    progress : bool
        Draw progress bars, if there is a terminal.
    """

    def __init__(self, epochs: int, log: Callable[[str], None], *, progress: bool) -> None:
        self._epochs, self._log, self._progress = epochs, log, progress
        self._open = ExitStack()
        self._bar: ProgressBar | None = None

    def epoch_started(self, start: EpochStart) -> None:
        """Open a progress bar."""
        bar = progress_bar(
            start.n_batches,
            f"epoch {start.epoch}/{start.epochs}",
            unit=" batches",
            initial=start.batches_done,
            enabled=self._progress,
        )
        self._bar = self._open.enter_context(bar)

    def batch_finished(self) -> None:
        """Advance the progress bar by one batch."""
        if self._bar is not None:
            self._bar.update()

    def losses_read(self, losses: Sequence[float]) -> None:
        """Show the mean loss of the last batches behind the bar."""
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{sum(losses) / len(losses):.4f}", refresh=False)

    def epoch_finished(self, record: EpochRecord, network: SpectraNetwork) -> None:
        """Close the progress bar and log the losses and the speed."""
        self.close()
        self._log(
            f"epoch {record.epoch}/{self._epochs}: training loss {record.train_loss:.4f}, "
            f"validation loss {record.val_loss:.4f}, {record.spectra_per_s:.0f} spectra/s, "
            f"waiting for data {record.waiting_share:.1%}"
        )

    def close(self) -> None:
        """Close the progress bar."""
        self._open.close()
        self._bar = None
