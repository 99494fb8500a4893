"""Ratios, their intervals and verdicts."""

import pytest

from benchmarks.protocol import Ratio, Verdict, interleaved, ratio, timed


def test_ratios_are_taken_per_round() -> None:
    figures = interleaved({"a": float, "b": lambda number: 2.0 * number}, rounds=7, warm_up=1)
    assert figures["a"] == [1, 2, 3, 4, 5, 6, 7]
    measured = ratio(figures, "b", "a", goal=2)
    assert (measured.low, measured.median, measured.high, measured.verdict) == (2, 2, 2, "reached")


def test_the_interval_leaves_out_what_chance_explains() -> None:
    figures = {"a": [float(value) for value in range(1, 21)], "b": [1.0] * 20}
    measured = ratio(figures, "a", "b")
    # Order statistics 6 and 15 of 20 contain the median in 95.9 of 100 cases.
    assert (measured.low, measured.median, measured.high) == (6, 10.5, 15)


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (None, ""),
        (0.45, "reached"),
        (0.5, "reached"),
        (0.85, "open"),
        (1.67, "open"),
        (1.7, "missed"),
    ],
)
def test_a_goal_is_reached_if_the_lower_end_of_the_interval_reaches_it(
    goal: float | None, verdict: Verdict
) -> None:
    assert Ratio("a", "b", median=0.6, low=0.5, high=1.67, goal=goal).verdict == verdict


def test_short_runs_are_repeated() -> None:
    runs: list[int] = []

    def run() -> int:
        runs.append(1)
        return 5

    assert timed(run) > 0
    assert len(runs) == 1
    timed(run, min_seconds=0.01)
    assert len(runs) > 2
