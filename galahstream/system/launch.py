"""Which of the processes that torchrun started this one is."""

import os
from typing import NamedTuple


class Launch(NamedTuple):
    """The place of a process among those that were started together.

    Attributes
    ----------
    rank, world_size : int
        The number of the process, from 0, and how many there are.
    local_rank : int
        Its number among those on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0


def launched_by_torchrun() -> Launch:
    """Return the place of this process, (0, 1, 0) if torchrun did not start it.

    Batch systems set RANK and WORLD_SIZE too, for programs that do not know torch.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Launch()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    return Launch(*(int(os.environ[name]) for name in names))
