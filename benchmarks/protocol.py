"""Measuring side by side: each round runs every contender once, in an order of its own.

The machine's mood, and what one leaves in the caches for the next, then fall on all
alike. A ratio is taken by round; it is given as the median over the rounds,
with the interval that holds it in at least 95 of 100 cases, whatever the
distribution (order statistics of the binomial; 7 rounds: all of them).
"""

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm

from benchmarks.machine import described

ROUNDS = 7
MIN_SECONDS = 0.3
"""What short epochs are repeated for, to outlast a hiccup of the machine."""


@dataclass(frozen=True)
class Ratio:
    """One figure over another: the median of the ratios by round, and its interval."""

    name: str
    over: str
    median: float
    low: float
    high: float
    wanted: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the interval holds what was wanted, or lies above it."""
        if self.wanted is None:
            return ""
        return "reached" if self.high >= self.wanted else "not reached"


@dataclass
class Result:
    """What a benchmark found: figures of every round, and ratios between them."""

    benchmark: str
    title: str
    unit: str
    figures: dict[str, list[float]]
    ratios: list[Ratio]
    settings: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=described)


def interleaved(
    contenders: Mapping[str, Callable[[int], float]], rounds: int = ROUNDS, warm_up: int = 1
) -> dict[str, list[float]]:
    """Return the figure that each contender gives in each round; warm-up rounds do not count.

    Parameters
    ----------
    contenders : mapping of str to callable
        Each takes the number of the round and returns its figure.
    rounds, warm_up : int
    """
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for number in tqdm(range(warm_up + rounds), unit=" rounds", disable=None):
        for name in random.Random(number).sample(list(contenders), len(contenders)):
            figure = contenders[name](number)
            if number >= warm_up:
                figures[name].append(figure)
    return figures


def ratio(
    figures: Mapping[str, Sequence[float]], name: str, over: str, wanted: float | None = None
) -> Ratio:
    """Return one contender's figures over another's of the same rounds."""
    found = sorted(a / b for a, b in zip(figures[name], figures[over], strict=True))
    skip = _outside(len(found))
    return Ratio(name, over, median(found), found[skip], found[-1 - skip], wanted)


def median(values: Sequence[float]) -> float:
    """Return the median."""
    middle = sorted(values)[(len(values) - 1) // 2 : len(values) // 2 + 1]
    return sum(middle) / len(middle)


def timed(run: Callable[[], int], least_seconds: float = 0) -> float:
    """Return how many a second a run makes, over as many runs as outlast `least_seconds`."""
    start, count, now = time.perf_counter(), 0, 0.0
    while now == 0 or now - start < least_seconds:
        count += run()
        now = time.perf_counter()
    return count / (now - start)


def _outside(count: int) -> int:
    """Return how many values lie outside the 95 % interval of the median, on either side."""
    below = 0.0
    for skip in range(count):
        below += math.comb(count, skip) / 2**count
        if 2 * below > 0.05:
            return max(skip - 1, 0)
    return 0
