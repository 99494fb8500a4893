"""Which row comes when: a pure function of seed, epoch, number of rows and block size."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from galahstream.errors import OptionError, OrderError
from galahstream.survey.splits import check_seed, permutation
from galahstream.validation import check_count

WINDOW_BLOCKS = 32
"""Blocks whose rows are mixed with one another in a block shuffle."""

# Numbers turned into a list at a time: a list of a million takes 36 MB.
_LISTED = 8192


def epoch_order(n_rows: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order of an epoch, the numbers 0 to n_rows - 1, shape (n_rows,), int64.

    It depends on the three arguments alone, never on machine, workers or ranks.
    """
    return permutation(n_rows, seed, epoch)


def block_order(n_rows: int, block: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return an order that reads blocks of neighbouring rows, shape (n_rows,), int64.

    The blocks come in a random order, and the rows of each 32 blocks that follow
    one another are mixed. A disk then reads long runs; :func:`shuffle_quality`
    tells what the mixing is worth.
    """
    n_blocks = -(-n_rows // block)
    starts = permutation(n_blocks, seed, epoch) * block
    rows = (starts[:, None] + np.arange(block)).reshape(-1)
    rows = rows[rows < n_rows]
    window = np.arange(n_rows) // (WINDOW_BLOCKS * block)
    # The place of each row in another global permutation orders the rows of its window.
    place = permutation(n_rows, seed, epoch, 1)
    return rows[np.lexsort((place, window))]


@dataclass(frozen=True)
class ShuffleQuality:
    """How random an order is, for rows that were sorted by what the network is to learn.

    Attributes
    ----------
    neighbours : float
        Rank correlation of rows that follow one another: 0 for a global shuffle.
    batch_spread : float
        Spread of the batches' mean row over that of a global shuffle, which is 1.
    """

    neighbours: float
    batch_spread: float

    def __str__(self) -> str:
        return (
            f"block shuffle: rank correlation of neighbours {self.neighbours:+.3f} (global "
            f"shuffle: 0), spread of batch means {self.batch_spread:.2f} (global shuffle: 1)"
        )


def shuffle_quality(order: npt.NDArray[np.int64], batch_size: int) -> ShuffleQuality:
    """Measure an order of the numbers 0 to n - 1, shape (n,), in batches."""
    n_rows, n_batches = len(order), len(order) // batch_size
    if n_batches < 2:
        msg = f"{n_rows} rows in batches of {batch_size}: quality needs two batches or more"
        raise OptionError(msg)
    means = order[: n_batches * batch_size].reshape(n_batches, batch_size).mean(axis=1)
    # The variance of a mean of batch_size out of n_rows numbers, drawn without replacement.
    expected = (n_rows + 1) * (n_rows - batch_size) / (12 * batch_size)
    return ShuffleQuality(
        neighbours=float(np.corrcoef(order[:-1], order[1:])[0, 1]),
        batch_spread=float(np.sqrt(np.mean((means - (n_rows - 1) / 2) ** 2) / expected)),
    )


@dataclass(frozen=True)
class Share:
    """What one of several ranks gets of an epoch: its rows, and where each batch of it ends.

    Global batch k is a slice of the order, of `batch_size` rows for each rank. The
    last one is shared out as evenly as can be; a rest of fewer rows than ranks
    joins the batch before it. So all ranks have equally many batches, and each
    row is one rank's.

    Attributes
    ----------
    rows : ndarray, shape (m,), int64
        The rank's rows, batch after batch.
    sizes : list of int
        Rows of each of its batches.
    served : list of int
        Rows of the epoch that all ranks together have got after each batch.
    """

    rows: npt.NDArray[np.int64]
    sizes: list[int]
    served: list[int]

    @classmethod
    def of(
        cls,
        order: npt.NDArray[np.int64],
        begin: int,
        batch_size: int,
        rank: int,
        world_size: int,
        *,
        drop_last: bool,
    ) -> "Share":
        """Share out what an epoch's order holds from `begin` on.

        Raises
        ------
        OrderError
            If fewer rows are left than there are ranks.
        """
        left = order[begin:]
        together = batch_size * world_size
        if drop_last:
            left = left[: len(left) - len(left) % together]
        elif 0 < len(left) < world_size:
            msg = (
                f"{len(left)} rows of the epoch are left for {world_size} ranks; go on with at "
                f"most {len(left)} ranks, or with the next epoch (set_epoch)"
            )
            raise OrderError(msg)
        n_whole, rest = divmod(len(left), together)
        if 0 < rest < world_size:
            n_whole, rest = n_whole - 1, rest + together
        whole = left[: n_whole * together].reshape(n_whole, world_size, batch_size)
        last = left[len(left) - rest :][rest * rank // world_size : rest * (rank + 1) // world_size]
        ends = [begin + (number + 1) * together for number in range(n_whole)]
        return cls(
            rows=np.concatenate((whole[:, rank].reshape(-1), last)),
            sizes=[batch_size] * n_whole + ([len(last)] if rest else []),
            served=ends + ([begin + len(left)] if rest else []),
        )


def count_batches(n_rows: int, batch_size: int, world_size: int, *, drop_last: bool) -> int:
    """Return the number of batches that each rank gets of so many rows."""
    n_whole, rest = divmod(n_rows, batch_size * world_size)
    return n_whole + int(not drop_last and rest >= world_size)


class EpochSampler(Sampler[int]):
    """The order in which a loader asks for the rows of a dataset.

    Attributes
    ----------
    epoch : int
        The epoch that the next iteration gives the order of.
    served : int
        Rows at the beginning of that epoch to leave out, as they were served before.
    """

    def __init__(self, n_rows: int, *, shuffle: bool, seed: int, block: int | None = None) -> None:
        self.n_rows = n_rows
        self.shuffle = shuffle
        self.seed = check_seed(seed)
        self.block = block
        self.epoch = 0
        self.served = 0
        if block is not None:
            check_count("shuffle_block", block, minimum=1)
            if not shuffle or block > n_rows:
                msg = (
                    f"shuffle_block {block} cannot be used for {n_rows} rows with "
                    f"shuffle={shuffle}; it shuffles blocks of at most all rows"
                )
                raise OptionError(msg)

    def __len__(self) -> int:
        return self.n_rows - self.served

    def __iter__(self) -> Iterator[int]:
        order = self.rows()
        for start in range(self.served, self.n_rows, _LISTED):
            yield from order[start : start + _LISTED].tolist()

    def rows(self) -> npt.NDArray[np.int64]:
        """Return the whole order of the epoch, shape (n_rows,), int64."""
        if not self.shuffle:
            return np.arange(self.n_rows)
        if self.block is None:
            return epoch_order(self.n_rows, self.seed, self.epoch)
        return block_order(self.n_rows, self.block, self.seed, self.epoch)
