r"""Random numbers of augmentation: functions of (seed, epoch, row), whoever computes them.

Each epoch has a 64-bit key, from numpy's ``SeedSequence((seed, epoch))``. The key of a row is
number `row` of the SplitMix64 sequence that starts at the key of the epoch (Steele, Lea and
Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA): a counter is multiplied
by an odd constant and its bits are mixed, so that any number of the sequence is computed
without those before it. The numbers of a row are the sequence that starts at its key: 0 gives
the SNR, 1 the velocity, and 2 + b the noise and the missing ones of its pixels ``1024 b`` to
``1024 b + 1023``.

Two hundred thousand spectra of 16,384 pixels take 3 · 10⁹ Gaussian numbers per second, more than
any generator gives. So the noise of 1,024 pixels is the sum of two runs of a table, each from one
of 65,536 offsets and with either sign. The table holds the quantiles of the normal distribution at
:math:`(k + 1/2) / 65536` in a random order, divided by :math:`\sqrt 2`, and NaN in place of a
random fraction of them if pixels are to be missing. What this means:

- the noise of a pixel is Gaussian, with values of 4 and 5 standard deviations 1 % and 10 % too
  rare, and none above 6.2;
- within 1,024 pixels, noise at a given distance has a fixed correlation, of the order of
  :math:`1/\sqrt{65536}` = 0.4 % and at most 1.6 %;
- two spectra share one of the two runs at the same place once in 16,384 times, and their noise
  then has a correlation of 1/2 over these 1,024 pixels.

For augmentation that does not matter; studies of noise need another generator.
"""

import math
from functools import cache, lru_cache
from statistics import NormalDist
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.stream.augmentation import (
    AddNoise,
    Augmentation,
    Compose,
    MaskPixels,
    ShiftVelocity,
)
from galahstream.survey.resampling import SPEED_OF_LIGHT
from galahstream.survey.splits import permutation

RUN_PIXELS = 1024
"""Pixels whose noise is the sum of two runs of the table."""

TABLE_BITS = 16
TABLE_SIZE = 2**TABLE_BITS
FIRST_RUN = 2
"""Number in the sequence of a row that chooses the runs of its first pixels."""

GAMMA = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)

_Keys: TypeAlias = npt.NDArray[np.uint64]
_Float32: TypeAlias = npt.NDArray[np.float32]

# The order of the table is part of what a draw is; changing it changes every augmented epoch.
_TABLE_SEED = 20201126


class RowDraws(NamedTuple):
    """The random numbers of n rows.

    Attributes
    ----------
    keys : ndarray, shape (n,), uint64
        Start of the sequence of each row.
    sigma : ndarray, shape (n,), float32
        Standard deviation of the noise; 0 without noise.
    displacement : ndarray, shape (n,), float32
        Change of wavelength, over the wavelength, from a pixel to where its flux comes from.
    """

    keys: _Keys
    sigma: _Float32
    displacement: _Float32

    def part(self, rows: slice) -> "RowDraws":
        """Return the numbers of some of the rows."""
        return RowDraws(self.keys[rows], self.sigma[rows], self.displacement[rows])


class EpochDraws(NamedTuple):
    """An augmentation, and the key of the epoch in which it is applied.

    Attributes
    ----------
    augmentation : Augmentation
    key : int
        From 0 to 2⁶⁴ - 1.
    """

    augmentation: Augmentation
    key: int

    @classmethod
    def of_epoch(cls, augmentation: Augmentation, seed: int, epoch: int) -> "EpochDraws":
        """Return the draws of an epoch of a run with this seed."""
        (key,) = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)
        return cls(augmentation, int(key))

    def of_rows(self, rows: npt.NDArray[np.int64]) -> RowDraws:
        """Return the random numbers of rows of a store."""
        keys = splitmix64(np.uint64(self.key), rows.astype(np.uint64))
        sigma = displacement = np.zeros(len(rows), dtype=np.float32)
        for step in Compose(self.augmentation).steps:
            if isinstance(step, AddNoise):
                low, high = np.log(step.snr_low), np.log(step.snr_high)
                sigma = np.exp(-(low + (high - low) * _uniform(keys, 0))).astype(np.float32)
            elif isinstance(step, ShiftVelocity):
                velocity = step.maximum * (2 * _uniform(keys, 1) - 1)
                redshift = velocity / SPEED_OF_LIGHT
                displacement = (-redshift / (1 + redshift)).astype(np.float32)
        return RowDraws(keys, sigma, displacement)


def splitmix64(key: _Keys | np.uint64, number: _Keys) -> _Keys:
    """Return number `number`, counted from 0, of the SplitMix64 sequence that starts at a key.

    >>> splitmix64(np.uint64(1234567), np.arange(2, dtype=np.uint64)).tolist()
    [6457827717110365317, 3203168211198807973]
    """
    bits = key + (number + np.uint64(1)) * GAMMA
    bits = (bits ^ (bits >> np.uint64(30))) * MIX_1
    bits = (bits ^ (bits >> np.uint64(27))) * MIX_2
    return bits ^ (bits >> np.uint64(31))


@lru_cache(maxsize=8)
def noise_table(augmentation: Augmentation) -> _Float32:
    """Return the table of noise: `TABLE_SIZE` values, and the first ones again for the last run.

    Returns
    -------
    ndarray, shape (65536 + 1024,), float32
        The sum of two runs has mean 0 and standard deviation 1, and is NaN where a pixel
        becomes missing, also after multiplication by 0.
    """
    table = _normal_table().copy()
    for step in Compose(augmentation).steps:
        if isinstance(step, MaskPixels):
            # A pixel is missing if it is in either run.
            share = 1 - math.sqrt(1 - step.fraction)
            count = min(max(round(share * TABLE_SIZE), 1), TABLE_SIZE - 1)
            table[permutation(TABLE_SIZE, _TABLE_SEED, 1)[:count]] = np.nan
    return np.concatenate((table, table[:RUN_PIXELS]))


@cache
def _normal_table() -> _Float32:
    half = TABLE_SIZE // 2
    normal = NormalDist()
    upper = np.array([normal.inv_cdf(0.5 + (k + 0.5) / TABLE_SIZE) for k in range(half)])
    quantiles = np.concatenate((-upper[::-1], upper))
    quantiles /= math.sqrt(2) * quantiles.std()
    return quantiles.astype(np.float32)[permutation(TABLE_SIZE, _TABLE_SEED, 0)]


def _uniform(keys: _Keys, number: int) -> npt.NDArray[np.float64]:
    """Return a number of each sequence as a float of at least 0 and below 1."""
    bits = splitmix64(keys, np.full(1, number, dtype=np.uint64))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
