"""Division of rows into training, validation and test, with whole groups kept together.

Examples
--------
>>> from galahstream.survey.splits import split_rows
>>> split_rows(20, (0.70, 0.15, 0.15), seed=42).tolist().count(0)
14
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError, SplitError
from galahstream.validation import MAX_SEED, check_count

SplitName: TypeAlias = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = get_args(SplitName)
"""The splits in the order of their numbers: training 0, validation 1, test 2."""


def permutation(n: int, *entropy: int) -> npt.NDArray[np.int64]:
    """Return the integers 0 to n - 1 in an order that depends on `entropy` alone.

    This is a stable argsort of PCG64's raw output: numpy guarantees that bit stream
    forever, and guarantees no stability for ``Generator.permutation``.

    Parameters
    ----------
    n : int
        How many integers.
    *entropy : int
        Non-negative integers, such as a seed and an epoch.

    Returns
    -------
    ndarray, shape (n,), int64
    """
    keys = np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(n)
    return np.argsort(keys, kind="stable").astype(np.int64, copy=False)


def check_seed(seed: object) -> int:
    """Return a seed as ``int``.

    Raises
    ------
    SplitError
        If it is not an integer from 0 to `MAX_SEED`, the largest seed that the files
        of a store or a model can hold.
    """
    try:
        return check_count("seed", seed, minimum=0, maximum=MAX_SEED)
    except OptionError as error:
        raise SplitError(str(error)) from None


def split_rows(
    n_rows: int,
    fractions: Sequence[float] | npt.NDArray[np.floating],
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
        Fractions of training, validation and test, which sum to 1. The sizes are
        ``int(f * N)`` for the first two, and the rest; a fraction of exactly 0 gives
        an empty split.
    seed : int
        Seed of the draw.
    groups : ndarray, shape (N,), optional
        Rows with equal values, such as visits of one star, stay together. The
        sizes then hold to within one group.
    allow_empty : bool
        Allow that a split with a fraction above 0 is empty (stores used only for
        prediction).

    Returns
    -------
    ndarray, shape (N,), uint8

    Raises
    ------
    SplitError
        If the fractions do not sum to 1, or leave a split empty whose fraction is above 0.
    """
    fractions = check_fractions(fractions)
    n_train, n_val = int(fractions[0] * n_rows), int(fractions[1] * n_rows)
    if fractions[2] == 0 and fractions[1] == 0:
        n_train = n_rows
    elif fractions[2] == 0:
        n_val = n_rows - n_train
    entropy = check_seed(seed)
    n_groups, group_of_row = n_rows, np.arange(n_rows)
    if groups is not None:
        values, group_of_row = np.unique(groups, return_inverse=True)
        n_groups = len(values)
    drawn = permutation(n_groups, entropy)
    group_sizes = np.bincount(group_of_row, minlength=n_groups)
    # A group belongs to the split in which its last row falls.
    rows_drawn = np.cumsum(group_sizes[drawn])
    split_of_group = np.empty(n_groups, dtype=np.uint8)
    split_of_group[drawn] = np.searchsorted((n_train, n_train + n_val), rows_drawn, side="left")
    split = split_of_group[group_of_row]
    if not allow_empty:
        _raise_if_empty(split, fractions, None if groups is None else n_groups)
    return split


def check_fractions(
    fractions: Sequence[float] | npt.NDArray[np.floating],
) -> tuple[float, float, float]:
    """Return the fractions of training, validation and test as plain floats.

    Raises
    ------
    SplitError
        If they are not three numbers from 0 to 1 that sum to 1.
    """
    try:
        values = tuple(float(fraction) for fraction in fractions)
    except (TypeError, ValueError):
        values = ()
    if len(values) != 3 or not all(math.isfinite(value) and value >= 0 for value in values):
        msg = (
            f"split {values or fractions} cannot be used; expected three fractions from 0 to 1: "
            f"train, val, test"
        )
        raise SplitError(msg)
    if abs(sum(values) - 1) > 1e-9:
        msg = f"split {values} sums to {sum(values):g}; the three fractions must sum to 1"
        raise SplitError(msg)
    return values


def _raise_if_empty(
    split: npt.NDArray[np.uint8], fractions: tuple[float, float, float], n_groups: int | None
) -> None:
    counts = np.bincount(split, minlength=3)
    for name, fraction, count in zip(SPLIT_NAMES, fractions, counts, strict=True):
        if count == 0 and fraction > 0:
            of_groups = "" if n_groups is None else f" in {n_groups} groups"
            msg = (
                f"split {fractions} of {len(split)} rows{of_groups} leaves no row for {name!r}; "
                f"convert more stars, or give fractions that leave at least one row each, or 0"
            )
            raise SplitError(msg)
