"""Which rows train, which validate and which test, with whole groups together.

Examples
--------
>>> from galahstream.survey.splits import split_rows
>>> split_rows(20, (0.70, 0.15, 0.15), seed=42).tolist().count(0)
14
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from galahstream.errors import SplitError

SPLIT_NAMES = ("train", "val", "test")


def permutation(n: int, *entropy: int) -> npt.NDArray[np.int64]:
    """Return the numbers 0 to n - 1 in an order that depends on `entropy` alone.

    A stable argsort of PCG64's raw output: numpy promises that bit stream for
    ever, and promises no stability for ``Generator.permutation``.

    Parameters
    ----------
    n : int
        How many numbers.
    *entropy : int
        Non-negative integers, such as a seed and an epoch.

    Returns
    -------
    ndarray, shape (n,), int64
    """
    keys = np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(n)
    return np.argsort(keys, kind="stable").astype(np.int64, copy=False)


def check_seed(seed: int) -> int:
    """Return the seed, or raise `SplitError` where it is no integer from 0 up."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        msg = f"seed {seed!r} cannot be used; expected an integer from 0 up"
        raise SplitError(msg)
    return int(seed)


def split_rows(
    n_rows: int,
    fractions: Sequence[float],
    seed: int,
    groups: npt.NDArray[np.generic] | None = None,
    *,
    allow_empty: bool = False,
) -> npt.NDArray[np.uint8]:
    """Assign each row to training (0), validation (1) or test (2).

    Parameters
    ----------
    n_rows : int
        Number of rows N.
    fractions : sequence of 3 floats
        Parts of training, validation and test, which sum to 1. The sizes are
        ``int(f * N)`` for the first two, and the rest.
    seed : int
        Seed of the draw.
    groups : ndarray, shape (N,), optional
        Rows with equal values, such as visits of one star, stay together. The
        sizes then hold to within one group.
    allow_empty : bool
        Accept a part without rows (for stores that nothing is trained on).

    Returns
    -------
    ndarray, shape (N,), uint8

    Raises
    ------
    SplitError
        If the fractions are no split of 1, or leave a part empty.
    """
    sizes = _sizes(n_rows, fractions)
    entropy = check_seed(seed)
    names, member = (
        (None, np.arange(n_rows)) if groups is None else np.unique(groups, return_inverse=True)
    )
    n_groups = n_rows if names is None else len(names)
    drawn = permutation(n_groups, entropy)
    group_sizes = np.bincount(member, minlength=n_groups)
    # Rows drawn up to and with each group; a group belongs to the part in which its last row falls.
    drawn_rows = np.cumsum(group_sizes[drawn])
    part_of_drawn = np.searchsorted(np.cumsum(sizes[:2]), drawn_rows, side="left")
    part_of_group = np.empty(n_groups, dtype=np.uint8)
    part_of_group[drawn] = part_of_drawn
    split = part_of_group[member]
    if not allow_empty:
        _refuse_empty(split, fractions, n_groups if names is not None else None)
    return split


def _sizes(n_rows: int, fractions: Sequence[float]) -> tuple[int, int, int]:
    parts = tuple(float(part) for part in fractions)
    if len(parts) != 3 or not all(math.isfinite(part) and part >= 0 for part in parts):
        msg = f"split {parts} cannot be used; expected three parts from 0 to 1: train, val, test"
        raise SplitError(msg)
    if abs(sum(parts) - 1) > 1e-9:
        msg = f"split {parts} sums to {sum(parts):g}; the three parts must sum to 1"
        raise SplitError(msg)
    n_train, n_val = int(parts[0] * n_rows), int(parts[1] * n_rows)
    return n_train, n_val, n_rows - n_train - n_val


def _refuse_empty(
    split: npt.NDArray[np.uint8], fractions: Sequence[float], n_groups: int | None
) -> None:
    counts = np.bincount(split, minlength=3)
    for name, count in zip(SPLIT_NAMES, counts, strict=True):
        if count == 0:
            of_groups = "" if n_groups is None else f" in {n_groups} groups"
            msg = (
                f"split {tuple(fractions)} of {len(split)} rows{of_groups} leaves no row for "
                f"{name!r}; convert more stars, or give parts that leave at least one row each"
            )
            raise SplitError(msg)
