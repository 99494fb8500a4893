"""Learning rates and early stops follow from the validation losses."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galahstream.learn.schedule import (
    PLATEAU_EPOCHS,
    PLATEAU_FACTOR,
    epochs_since_best,
    learning_rate,
)

LOSSES = st.lists(st.floats(0, 9) | st.just(math.nan), max_size=30)


@given(losses=LOSSES)
def test_a_constant_rate_is_always_the_first(losses: list[float]) -> None:
    assert learning_rate("constant", 0.1, 30, losses) == 0.1


@given(epochs=st.integers(1, 100))
def test_a_cosine_falls_from_the_first_rate_and_stays_above_0(epochs: int) -> None:
    rates = [learning_rate("cosine", 0.1, epochs, [1.0] * done) for done in range(epochs)]
    assert rates[0] == 0.1
    assert all(a > b > 0 for a, b in pairwise(rates))


@given(losses=LOSSES)
def test_a_plateau_never_raises_the_rate_and_halves_it_one_plateau_at_a_time(
    losses: list[float],
) -> None:
    rates = [learning_rate("plateau", 0.1, 99, losses[:done]) for done in range(len(losses) + 1)]
    lowered = [index for index in range(1, len(rates)) if rates[index] != rates[index - 1]]
    for index in lowered:
        assert rates[index] == pytest.approx(PLATEAU_FACTOR * rates[index - 1])
        assert epochs_since_best(losses[:index]) % PLATEAU_EPOCHS == 0
    assert all(b - a >= PLATEAU_EPOCHS for a, b in pairwise(lowered))


@pytest.mark.parametrize(
    ("losses", "n_plateaus"),
    [
        ([3, 2, 1, 0.5], 0),
        ([1, 2, 2], 0),
        ([1, 2, 2, 2], 1),
        ([1, 1, 1, 1], 1),
        ([1, 2, 2, 0.5, 2, 2], 0),
        ([1, 2, 2, 2, 2, 2, 2], 2),
        ([1, 2, 2, 2, 0.5, 2, 2, 2], 2),
        ([math.nan] * 3, 1),
    ],
)
def test_a_plateau_is_three_epochs_in_a_row_without_a_better_loss(
    losses: list[float], n_plateaus: int
) -> None:
    assert learning_rate("plateau", 1.0, 9, losses) == PLATEAU_FACTOR**n_plateaus


@given(losses=LOSSES)
def test_the_best_epoch_is_the_first_one_with_the_lowest_loss(losses: list[float]) -> None:
    known = [loss for loss in losses if not math.isnan(loss)]
    expected = len(losses) - 1 - losses.index(min(known)) if known else len(losses)
    assert epochs_since_best(losses) == expected
