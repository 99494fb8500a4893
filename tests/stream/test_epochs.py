"""Epochs as trainers expect them: which stars each iteration gives, and what the state says."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import RandomSampler

import galahstream as gs
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader
from tests.conftest import make_pair

BATCH = 16


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder: Path = tmp_path_factory.mktemp("epochs")
    return gs.convert(make_pair(folder / "raw", 300, 16).folder, folder / "store")


@pytest.fixture(params=[0, 2], ids=["no workers", "two threads"])
def loader(survey: Store, request: pytest.FixtureRequest) -> Iterator[SpectraLoader]:
    dataset = SpectraDataset(survey, return_ids=True)
    with SpectraLoader(dataset, BATCH, shuffle=True, num_workers=request.param) as loader:
        yield loader


def stars(batches: Any) -> list[int]:
    return [int(star) for batch in batches for star in batch[-1]]


def epoch(loader: SpectraLoader, number: int) -> list[int]:
    rows: list[int] = loader.dataset.ids[loader.order.rows(number)].tolist()
    return rows


def position(loader: SpectraLoader) -> tuple[Any, Any]:
    state = loader.state_dict()
    return state["epoch"], state["rows_served"]


def test_taking_exactly_the_batches_of_an_epoch_ends_it(loader: SpectraLoader) -> None:
    for number in range(3):
        iterator = iter(loader)
        assert stars(next(iterator) for _ in range(len(loader))) == epoch(loader, number)
        assert position(loader) == (number + 1, 0)
        assert loader.epoch == number + 1
        assert list(iterator) == []
        assert position(loader) == (number + 1, 0)


def test_an_iteration_that_a_zip_leaves_has_used_up_its_epoch(loader: SpectraLoader) -> None:
    for number in range(3):
        batches = [batch for _, batch in zip(range(3), loader, strict=False)]
        assert stars(batches) == epoch(loader, number)[: 3 * BATCH]
        # zip asks its iterators in turn, so that it takes no batch for the end of the range.
        assert position(loader) == (number, 3 * BATCH)
    assert stars(loader) == epoch(loader, 3)


def test_two_iterators_at_a_time_have_an_epoch_each(loader: SpectraLoader) -> None:
    first, second = (
        list(batches) for batches in zip(*zip(loader, loader, strict=True), strict=True)
    )
    assert stars(first) == epoch(loader, 0)
    assert stars(second) == epoch(loader, 1)
    assert position(loader) == (2, 0)
    assert stars(loader) == epoch(loader, 2)


def test_a_second_loader_that_a_zip_stops_has_used_up_its_epoch(survey: Store) -> None:
    dataset = SpectraDataset(survey, return_ids=True)
    with SpectraLoader(dataset, 70, True) as short, SpectraLoader(dataset, 16, True) as long:
        for number in range(3):
            batches = [batch for _, batch in zip(short, long, strict=False)]
            assert len(batches) == len(short) == 3
            assert stars(batches) == epoch(long, number)[:48]
            assert position(short) == (number + 1, 0)


def test_a_break_uses_up_the_epoch_and_its_state_resumes_it(loader: SpectraLoader) -> None:
    seen: list[int] = []
    for batch in loader:
        seen += stars([batch])
        if len(seen) == 2 * BATCH:
            break
    state = loader.state_dict()
    assert stars(loader) == epoch(loader, 1)
    loader.load_state_dict(state)
    assert len(loader) == 14
    assert len(loader.sampler) == 210  # type: ignore[arg-type]
    assert seen + stars(loader) == epoch(loader, 0)
    assert stars(loader) == epoch(loader, 1)


@pytest.mark.parametrize("steps", [1, 3])
def test_limited_epochs_see_as_many_stars_as_with_a_random_sampler(
    loader: SpectraLoader, steps: int
) -> None:
    seen: set[int] = set()
    peer: set[int] = set()
    sampler = RandomSampler(range(210), generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        seen |= set(stars(itertools.islice(loader, steps)))
        peer |= set(itertools.islice(sampler, steps * BATCH))
    assert abs(len(seen) - len(peer)) <= (4 if steps == 3 else 15)
    assert loader.epoch == 19


def test_next_iter_twenty_times_gives_twenty_batches(loader: SpectraLoader) -> None:
    for number in range(20):
        assert stars([next(iter(loader))]) == epoch(loader, number)[:BATCH]


def test_a_trainer_that_sets_the_epoch_after_iter_neither_disturbs_nor_repeats(
    loader: SpectraLoader,
) -> None:
    next(iter(loader))
    state = loader.state_dict()
    loader.load_state_dict(state)
    resumed = iter(loader)
    loader.order.set_epoch(0)
    assert position(loader) == (0, BATCH)
    assert stars(resumed) == epoch(loader, 0)[BATCH:]
    assert position(loader) == (1, 0)
    for number in (1, 2):
        loader.order.set_epoch(number)
        assert stars(loader) == epoch(loader, number)
    running = iter(loader)
    next(running)
    loader.set_epoch(9)
    assert stars(running) == epoch(loader, 3)[BATCH:]
    assert position(loader) == (9, 0)
    assert stars(loader) == epoch(loader, 9)


def test_drop_last_ends_the_epoch_with_its_last_batch(survey: Store) -> None:
    dataset = SpectraDataset(survey, return_ids=True)
    with SpectraLoader(dataset, BATCH, True, drop_last=True) as loader:
        iterator = iter(loader)
        assert stars(next(iterator) for _ in range(13)) == epoch(loader, 0)[: 13 * BATCH]
        assert position(loader) == (1, 0)
    with SpectraLoader(dataset, 300, True, drop_last=True) as loader:
        assert (len(loader), list(loader), loader.epoch) == (0, [], 1)


def test_a_sampler_of_the_users_keeps_its_own_iteration(survey: Store) -> None:
    dataset = SpectraDataset(survey, return_ids=True)
    sampler = RandomSampler(dataset, generator=torch.Generator().manual_seed(0))
    wanted = [list(sampler) for _ in range(2)]
    sampler.generator.manual_seed(0)
    with SpectraLoader(dataset, 64, sampler=sampler) as loader:
        for number in range(2):
            assert stars(loader) == dataset.ids[wanted[number]].tolist()
            assert position(loader) == (number + 1, 0)
        next(iter(loader))
        assert position(loader) == (2, 64)


def test_a_loader_that_is_rebuilt_from_its_sampler_goes_on_with_it(survey: Store) -> None:
    dataset = SpectraDataset(survey, return_ids=True)
    first = SpectraLoader(dataset, BATCH, shuffle=True, seed=5, num_workers=0)
    batches = list(itertools.islice(first, 2))
    state = first.state_dict()
    rebuilt = SpectraLoader(dataset, 7, sampler=first.sampler, num_workers=0)
    rebuilt.load_state_dict(state)
    assert stars(batches) + stars(rebuilt) == epoch(first, 0)
    assert rebuilt.state_dict() == {**state, "epoch": 1, "rows_served": 0}
    by_batches = SpectraLoader(dataset, batch_sampler=first.batch_sampler, num_workers=0)
    assert stars(by_batches) == epoch(first, 1)
    assert stars(by_batches) == epoch(first, 2)


LEG = st.tuples(
    st.sampled_from(["leave", "finish", "resume", "set_epoch", "exactly"]),
    st.integers(1, 60),  # batch size
    st.integers(0, 6),  # batches taken, or the epoch that is set
    st.integers(1, 3),  # ranks
)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(legs=st.lists(LEG, min_size=1, max_size=6))
def test_any_sequence_of_cuts_and_resumes_gives_the_stars_of_a_plain_model(
    survey: Store, legs: list[tuple[str, int, int, int]]
) -> None:
    """All ranks together give the rows from the model's position on, whatever came before."""
    dataset = SpectraDataset(survey, return_ids=True)
    current, served = 0, 0
    state: dict[str, Any] | None = None
    for kind, size, count, ranks in legs:
        loaders = [
            SpectraLoader(dataset, size, True, num_workers=0, rank=rank, world_size=ranks)
            for rank in range(ranks)
        ]
        for loader in loaders:
            if state is not None:
                loader.load_state_dict(state)
            if kind == "set_epoch":
                loader.set_epoch(count)
        if kind == "set_epoch":
            current, served = count, 0
        if 0 < len(dataset) - served < ranks:
            continue
        iterators = [iter(loader) for loader in loaders]
        limit = {"leave": count, "resume": count}.get(kind)
        steps = list(itertools.islice(zip(*iterators, strict=True), limit))
        seen = [star for step in steps for batch in step for star in stars([batch])]
        expected = epoch(loaders[0], current)[served:]
        assert seen == expected[: len(seen)]
        if limit is None or len(seen) == len(expected) > 0:
            assert len(seen) == len(expected)
            current, served = current + 1, 0
        else:
            served += len(seen)
        states = [loader.state_dict() for loader in loaders]
        assert all(other == states[0] for other in states)
        assert (states[0]["epoch"], states[0]["rows_served"]) == (current, served)
        if kind == "leave" and served:
            assert stars([next(iter(loaders[0]))])[0] == epoch(loaders[0], current + 1)[0]
        state = states[0]


def test_numpy_numbers_are_as_good_as_pythons(survey: Store) -> None:
    dataset = SpectraDataset(survey, return_ids=True)
    options: dict[str, Any] = {
        "batch_size": np.int64(16), "shuffle": np.bool_(True), "seed": np.int64(7),
        "num_workers": np.int32(2), "shuffle_block": np.int16(8), "memory_budget": np.int64(10**9),
        "rank": np.int64(0), "world_size": np.uint8(1), "drop_last": np.bool_(False),
    }  # fmt: skip
    plain = {name: value.item() for name, value in options.items()}
    with SpectraLoader(dataset, **options) as loader, SpectraLoader(dataset, **plain) as other:
        assert stars(loader) == stars(other)
        assert loader.state_dict() == other.state_dict()
        types = {type(value) for value in loader.state_dict().values()}
        assert types <= {str, int, bool, type(None)}
