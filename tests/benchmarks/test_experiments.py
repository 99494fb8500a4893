"""The published experiments: what is claimed of curves, and runs that are not repeated."""

from pathlib import Path

import pytest

from benchmarks.experiments import FAST, LARGE, LONG, SMALL, STANDARD, Curves, claims, draw, run
from tests.conftest import Pair

FALLING = [1 / epoch for epoch in range(1, 11)]


def curves(validation: list[float], training: list[float] = FALLING) -> list[Curves]:
    return [Curves(training, validation, 1.0, "cpu")]


AS_REPORTED = {
    STANDARD: curves(FALLING),
    FAST: curves([2 * loss for loss in FALLING]),
    SMALL: curves(FALLING),
    LARGE: curves(FALLING),
    LONG: curves([*FALLING, 0.1, 0.1, 0.11, 0.11, 0.12]),
}


def test_curves_as_they_were_reported_agree() -> None:
    assert all(claim.agrees for claim in claims(AS_REPORTED))


@pytest.mark.parametrize(
    ("name", "other", "reported"),
    [
        (STANDARD, curves(FALLING, [1.0, 1.1, *FALLING[2:]]), "falls at every epoch"),
        (STANDARD, curves([0.1, *FALLING[1:]]), "falls over the epochs"),
        (FAST, curves([0.5 * loss for loss in FALLING]), "0.01 ends worse"),
        (SMALL, curves([1.3 * loss for loss in FALLING]), "about where 32 does"),
        (LARGE, curves([0.7 * loss for loss in FALLING]), "about where 32 does"),
        (LONG, curves([*FALLING, 0.09, 0.08, 0.07, 0.06, 0.07]), "nothing is gained"),
        (LONG, curves([*FALLING, 0.099, 0.098, 0.097, 0.096, 0.095]), "begins to rise"),
    ],
)
def test_a_result_that_disagrees_is_reported_as_it_is(
    name: str, other: list[Curves], reported: str
) -> None:
    disagreeing = [claim for claim in claims({**AS_REPORTED, name: other}) if not claim.agrees]
    assert any(reported in str(claim) for claim in disagreeing)
    assert all(str(claim).endswith("(disagrees)") for claim in disagreeing)


@pytest.mark.slow
def test_a_finished_training_is_not_repeated_and_the_figure_is_drawn(
    pair: Pair, tmp_path: Path
) -> None:
    first = run(pair.folder, tmp_path / "work", rounds=1)
    models = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.pt")}
    assert len(models) == 5
    again = run(pair.folder, tmp_path / "work", rounds=1)
    assert {path: path.stat().st_mtime_ns for path in models} == models
    assert again.figures == first.figures
    assert len(again.notes) == 6
    draw(again, tmp_path / "experiments.png")
    assert (tmp_path / "experiments.png").read_bytes().startswith(b"\x89PNG")
