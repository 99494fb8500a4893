"""Measure contenders side by side: every round runs each of them once, in random order.

Slow moments of the machine, and what one contender leaves in the caches for the
next, then affect all of them alike. A ratio is taken per round and reported as
the median over the rounds, with its 95 % confidence interval from the order
statistics of the binomial distribution, which assumes nothing about the
distribution of the figures. With 7 rounds, the interval is their full range.
"""

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from benchmarks.machine import Code, Machine
from galahstream.system.progress import progress_bar

Contenders: TypeAlias = dict[str, Callable[[int], float]]
"""By name, what takes the number of the round and returns its figure."""
Verdict: TypeAlias = Literal["", "reached", "open", "missed"]

ROUNDS = 7
MIN_SECONDS = 0.3
"""Short epochs are repeated for this long, so that one hiccup of the machine matters little."""


@dataclass(frozen=True)
class Ratio:
    """One figure over another: the median of the ratios of all rounds, and its interval.

    Attributes
    ----------
    name, over : str
        The two contenders.
    median, low, high : float
        Median and limits of its 95 % confidence interval.
    goal : float, optional
        The ratio to reach.
    """

    name: str
    over: str
    median: float
    low: float
    high: float
    goal: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the goal is reached: "open" if it lies within the interval."""
        if self.goal is None:
            return ""
        if self.low >= self.goal:
            return "reached"
        return "open" if self.high >= self.goal else "missed"

    @property
    def interval(self) -> str:
        """Median and interval in one phrase."""
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Result:
    """The outcome of a benchmark: the figures of every round, and ratios between them.

    Attributes
    ----------
    benchmark : str
        Name of the result's files.
    title, unit : str
    figures : mapping of str to list of float
        By contender, one figure per round.
    ratios : tuple of Ratio
    settings : mapping of str to object
        Whatever else is needed to repeat or understand the measurement.
    notes : tuple of str
        Lines to print below the table.
    machine : Machine
    code : Code
    """

    benchmark: str
    title: str
    unit: str
    figures: Mapping[str, Sequence[float]]
    ratios: Sequence[Ratio]
    settings: Mapping[str, Any]
    notes: Sequence[str] = ()
    machine: Machine = field(default_factory=Machine.current)
    code: Code = field(default_factory=Code.current)


def interleaved(
    contenders: Mapping[str, Callable[[int], float]], rounds: int = ROUNDS, warm_up: int = 1
) -> dict[str, list[float]]:
    """Return the figure of each contender in each round; warm-up rounds do not count."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    with progress_bar(warm_up + rounds, "measuring", unit=" rounds") as bar:
        for round_number in range(warm_up + rounds):
            for name in random.Random(round_number).sample(list(contenders), len(contenders)):
                figure = contenders[name](round_number)
                if round_number >= warm_up:
                    figures[name].append(figure)
            bar.update(1)
    return figures


def ratio(
    figures: Mapping[str, Sequence[float]], name: str, over: str, goal: float | None = None
) -> Ratio:
    """Return the figures of one contender over those of another in the same rounds."""
    ratios = sorted(a / b for a, b in zip(figures[name], figures[over], strict=True))
    skip = _values_outside_interval(len(ratios))
    return Ratio(name, over, median(ratios), ratios[skip], ratios[-1 - skip], goal)


def median(values: Sequence[float]) -> float:
    """Return the median."""
    middle = sorted(values)[(len(values) - 1) // 2 : len(values) // 2 + 1]
    return sum(middle) / len(middle)


def timed(run: Callable[[], int], min_seconds: float = 0) -> float:
    """Return items per second of a function that returns how many items it handled.

    It is called until `min_seconds` have passed, and at least once.
    """
    start = time.perf_counter()
    count, elapsed = run(), time.perf_counter() - start
    while elapsed < min_seconds:
        count += run()
        elapsed = time.perf_counter() - start
    return count / elapsed


def _values_outside_interval(count: int) -> int:
    """Return how many of the sorted values lie outside the 95 % interval on each side."""
    below = 0.0
    for skip in range(count):
        below += math.comb(count, skip) / 2**count
        if 2 * below > 0.05:
            return max(skip - 1, 0)
    return 0
