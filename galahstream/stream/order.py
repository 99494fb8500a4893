"""Which row comes when: a pure function of (seed, epoch, number of rows)."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from galahstream.splits import check_seed, permutation


def epoch_order(n_rows: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order of an epoch, the numbers 0 to n_rows - 1, shape (n_rows,), int64.

    It depends on the three arguments alone, never on machine, workers or ranks.
    """
    return permutation(n_rows, seed, epoch)


class EpochOrder(Sampler[int]):
    """The order in which a loader asks for the rows of a dataset.

    Attributes
    ----------
    epoch : int
        The epoch that the next iteration gives the order of.
    served : int
        Rows at the beginning of that epoch to leave out, as they were served before.
    """

    def __init__(self, n_rows: int, *, shuffle: bool, seed: int) -> None:
        self.n_rows = n_rows
        self.shuffle = shuffle
        self.seed = check_seed(seed)
        self.epoch = 0
        self.served = 0

    def __len__(self) -> int:
        return self.n_rows - self.served

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            order = epoch_order(self.n_rows, self.seed, self.epoch)
        else:
            order = np.arange(self.n_rows)
        return iter(order[self.served :].tolist())
