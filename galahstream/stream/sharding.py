"""Which rows of an epoch belong to one of several ranks: pure functions of the order."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError, OrderError
from galahstream.validation import check_count


@dataclass(frozen=True)
class RankShard:
    """The rows of an epoch that one rank reads, and where each of its batches ends.

    Global batch k is a slice of the order with `batch_size` rows per rank. The rows
    of the last one are divided as evenly as possible; a remainder of fewer rows than
    ranks joins the batch before it. So all ranks have the same number of batches, and
    each row belongs to exactly one rank.

    Attributes
    ----------
    rows : ndarray, shape (m,), int64
        The rows of the rank, batch after batch.
    sizes : list of int
        Number of rows in each of its batches.
    served : list of int
        Rows of the epoch consumed by all ranks together after each batch.
    """

    rows: npt.NDArray[np.int64]
    sizes: list[int]
    served: list[int]


def shard_epoch(
    order: npt.NDArray[np.int64],
    begin: int,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    *,
    drop_last: bool = False,
) -> RankShard:
    """Return what a rank reads of an epoch.

    Parameters
    ----------
    order : ndarray, shape (n,), int64
        The rows of the complete epoch.
    begin : int
        Number of rows at its beginning that were consumed before.
    batch_size : int
        Rows per batch and rank.
    rank, world_size : int
    drop_last : bool
        Skip a last global batch of fewer than `batch_size` rows per rank.

    Raises
    ------
    OrderError
        If fewer rows remain than there are ranks.
    """
    remaining = order[begin:]
    global_size = batch_size * world_size
    if drop_last:
        remaining = remaining[: len(remaining) - len(remaining) % global_size]
    elif 0 < len(remaining) < world_size:
        msg = (
            f"{len(remaining)} rows of the epoch remain for {world_size} ranks; resume with at "
            f"most {len(remaining)} ranks, or start the next epoch (set_epoch)"
        )
        raise OrderError(msg)
    n_full, n_last = divmod(len(remaining), global_size)
    if 0 < n_last < world_size:
        n_full, n_last = n_full - 1, n_last + global_size
    full = remaining[: n_full * global_size].reshape(n_full, world_size, batch_size)
    last = remaining[len(remaining) - n_last :]
    last = last[n_last * rank // world_size : n_last * (rank + 1) // world_size]
    ends = [begin + (number + 1) * global_size for number in range(n_full)]
    return RankShard(
        rows=np.concatenate((full[:, rank].reshape(-1), last)),
        sizes=[batch_size] * n_full + ([len(last)] if n_last else []),
        served=ends + ([begin + len(remaining)] if n_last else []),
    )


def count_batches(n_rows: int, batch_size: int, world_size: int, *, drop_last: bool) -> int:
    """Return the number of batches that each rank gets of `n_rows` rows."""
    n_full, n_last = divmod(n_rows, batch_size * world_size)
    return n_full + int(not drop_last and n_last >= world_size)


def check_rank(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return rank and world size as plain integers.

    Raises
    ------
    OptionError
        If one is missing, or if the rank is not below the world size.
    """
    if rank is None or world_size is None:
        msg = f"rank {rank} of world_size {world_size}: give both, or neither"
        raise OptionError(msg)
    world_size = check_count("world_size", world_size, minimum=1)
    rank = check_count("rank", rank, minimum=0)
    if rank >= world_size:
        msg = f"rank {rank} of {world_size}; ranks are counted from 0 to {world_size - 1}"
        raise OptionError(msg)
    return rank, world_size
