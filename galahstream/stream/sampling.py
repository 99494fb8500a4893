"""The order of an epoch, a pure function of seed, epoch and number of rows, and its sampler."""

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from galahstream.errors import OptionError, OrderError
from galahstream.survey.splits import permutation
from galahstream.validation import MAX_SEED, check_count

WINDOW_BLOCKS = 32
"""Number of blocks whose rows are mixed with one another in a block shuffle."""

# Row numbers converted into a list at a time: a list of a million takes 36 MB.
_LIST_ROWS = 8192


def epoch_order(n_rows: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order of an epoch, a permutation of 0 to n_rows - 1, shape (n_rows,), int64.

    It depends on the three arguments alone, never on the machine, workers or ranks.
    """
    return permutation(n_rows, seed, epoch)


def block_order(n_rows: int, block: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return an order that reads blocks of consecutive rows, shape (n_rows,), int64.

    The blocks come in a random order, and the rows within each window of 32 blocks are
    mixed. A disk then reads long runs; :func:`shuffle_quality` measures how well the
    rows are mixed.
    """
    n_blocks = -(-n_rows // block)
    starts = permutation(n_blocks, seed, epoch) * block
    rows = (starts[:, None] + np.arange(block)).reshape(-1)
    rows = rows[rows < n_rows]
    window = np.arange(n_rows) // (WINDOW_BLOCKS * block)
    # The rows of a window are sorted by their rank in another global permutation.
    rank = permutation(n_rows, seed, epoch, 1)
    return rows[np.lexsort((rank, window))]


@dataclass(frozen=True)
class ShuffleQuality:
    """How random an order is, for rows that are sorted by what the network is to learn.

    Attributes
    ----------
    neighbours : float
        Rank correlation of consecutive rows: 0 for a global shuffle.
    batch_spread : float
        Spread of the batches' mean row, relative to that of a global shuffle.
    """

    neighbours: float
    batch_spread: float

    def __str__(self) -> str:
        return (
            f"block shuffle: rank correlation of neighbours {self.neighbours:+.3f} (global "
            f"shuffle: 0), spread of batch means {self.batch_spread:.2f} (global shuffle: 1)"
        )


def can_measure_shuffle(n_rows: int, batch_size: int) -> bool:
    """Return whether :func:`shuffle_quality` can measure an order of `n_rows` rows."""
    return n_rows >= max(2 * batch_size, 3)


def shuffle_quality(order: npt.NDArray[np.int64], batch_size: int) -> ShuffleQuality:
    """Measure an order of the rows 0 to n - 1, shape (n,), read in batches.

    Raises
    ------
    OptionError
        If the order has fewer than two batches or three rows.
    """
    n_rows, n_batches = len(order), len(order) // batch_size
    if not can_measure_shuffle(n_rows, batch_size):
        msg = (
            f"{n_rows} rows in batches of {batch_size}: quality needs at least two batches and "
            f"three rows"
        )
        raise OptionError(msg)
    means = order[: n_batches * batch_size].reshape(n_batches, batch_size).mean(axis=1)
    # The variance of the mean of batch_size out of n_rows numbers, drawn without replacement.
    expected = (n_rows + 1) * (n_rows - batch_size) / (12 * batch_size)
    return ShuffleQuality(
        neighbours=float(np.corrcoef(order[:-1], order[1:])[0, 1]),
        batch_spread=float(np.sqrt(np.mean((means - (n_rows - 1) / 2) ** 2) / expected)),
    )


class Position(NamedTuple):
    """A position in the sequence of epochs.

    Attributes
    ----------
    epoch : int
    rows_served : int
        Rows of the epoch consumed so far, by all ranks together.
    """

    epoch: int
    rows_served: int


@dataclass(eq=False)
class EpochIteration:
    """One iteration over (the rest of) an epoch; the iterator that runs it refers to it.

    Attributes
    ----------
    begin : Position
        Where it began.
    is_finished : bool
        Whether its last batch was handed over.
    """

    begin: Position
    is_finished: bool = False


class EpochSampler(Sampler[int]):
    """The rows of a dataset in the order of each epoch; every iteration begins the next one.

    The first iteration after construction, :meth:`set_epoch` or :meth:`set_position` begins
    where those say. The position is taken when ``iter()`` is called, so that a trainer may
    call :meth:`set_epoch` afterwards: an iteration that runs is not disturbed, and when it
    reaches its last row, the epoch that it covered is not repeated.

    Parameters
    ----------
    n_rows : int
        Number of rows of the dataset.
    shuffle : bool
        Whether each epoch has a new order; otherwise rows come as they are stored.
    seed : int
        Seed of the shuffle, 0 to 2**63 - 1.
    block : int, optional
        Shuffle blocks of this many consecutive rows (:func:`block_order`).

    Raises
    ------
    OptionError
        For a seed or block that cannot be used.

    Examples
    --------
    >>> sampler = EpochSampler(4, shuffle=True, seed=7)
    >>> list(sampler), list(sampler)
    ([3, 0, 2, 1], [1, 3, 2, 0])
    >>> sampler.set_epoch(0)
    >>> list(sampler)
    [3, 0, 2, 1]
    """

    def __init__(
        self, n_rows: int, *, shuffle: bool, seed: int = 42, block: int | None = None
    ) -> None:
        self.n_rows = n_rows
        self.shuffle = bool(shuffle)
        self.seed = check_count("seed", seed, minimum=0, maximum=MAX_SEED)
        self.block = None if block is None else check_count("shuffle_block", block, minimum=1)
        if self.block is not None and (not self.shuffle or self.block > n_rows):
            msg = (
                f"shuffle_block {self.block} cannot be used for {n_rows} rows with "
                f"shuffle={self.shuffle}; expected shuffle=True and a block of at most all rows"
            )
            raise OptionError(msg)
        self._position = self._next = Position(0, 0)
        self._next_was_set = True
        self._running: weakref.ref[EpochIteration] | None = None

    def __len__(self) -> int:
        """Return the number of rows of a complete epoch."""
        return self.n_rows

    def __iter__(self) -> Iterator[int]:
        """Begin the next epoch; yield its rows, or those that remain of it."""
        return self._rows_of(self.begin())

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_running": None}

    @property
    def position(self) -> Position:
        """The position after the batch last handed over, or the one that was set since."""
        return self._position

    @property
    def epoch(self) -> int:
        """The epoch of the position."""
        return self._position.epoch

    @property
    def next_position(self) -> Position:
        """The position at which the next iteration begins."""
        return self._next

    def rows(self, epoch: int | None = None) -> npt.NDArray[np.int64]:
        """Return the order of a complete epoch, by default that of the position.

        Returns
        -------
        ndarray, shape (n_rows,), int64
        """
        if not self.shuffle:
            return np.arange(self.n_rows)
        epoch = self.epoch if epoch is None else epoch
        if self.block is None:
            return epoch_order(self.n_rows, self.seed, epoch)
        return block_order(self.n_rows, self.block, self.seed, epoch)

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration begin with an epoch.

        An iteration that runs is not disturbed. If it is one of the same epoch, the
        position stays, and reaching its last row counts: the epoch after it comes next.
        """
        epoch = check_count("epoch", epoch, minimum=0)
        self._next, self._next_was_set = Position(epoch, 0), True
        running = self._running() if self._running is not None else None
        if running is None or running.is_finished or running.begin.epoch != epoch:
            self._position = self._next

    def set_position(self, epoch: int, rows_served: int) -> None:
        """Let the next iteration begin inside an epoch.

        Raises
        ------
        OptionError, OrderError
            For numbers below 0, or more rows than the epoch has.
        """
        epoch = check_count("epoch", epoch, minimum=0)
        rows_served = check_count("rows_served", rows_served, minimum=0)
        if rows_served > self.n_rows:
            msg = f"rows_served {rows_served} is beyond the {self.n_rows} rows of an epoch"
            raise OrderError(msg)
        self._position = self._next = Position(epoch, rows_served)
        self._next_was_set = True

    def begin(self) -> EpochIteration:
        """Begin an iteration at the next position; the next one begins the epoch after it."""
        iteration = EpochIteration(self._next)
        self._position, self._running = iteration.begin, weakref.ref(iteration)
        self._next, self._next_was_set = Position(iteration.begin.epoch + 1, 0), False
        return iteration

    def advance(self, iteration: EpochIteration, rows_served: int) -> None:
        """Move the position to that of an iteration which hands over a batch."""
        self._position = Position(iteration.begin.epoch, rows_served)

    def finish(self, iteration: EpochIteration) -> None:
        """Move the position behind an iteration which hands over its last batch."""
        iteration.is_finished = True
        following = Position(iteration.begin.epoch + 1, 0)
        if self._next_was_set and self._next == Position(iteration.begin.epoch, 0):
            self._next, self._next_was_set = following, False
        self._position = self._next if self._next_was_set else following

    def _rows_of(self, iteration: EpochIteration) -> Iterator[int]:
        epoch, served = iteration.begin
        order = self.rows(epoch)
        for start in range(served, self.n_rows, _LIST_ROWS):
            rows = order[start : start + _LIST_ROWS].tolist()
            if start + len(rows) == self.n_rows:
                yield from rows[:-1]
                self.finish(iteration)
                yield rows[-1]
            else:
                yield from rows
        if not iteration.is_finished:
            self.finish(iteration)
