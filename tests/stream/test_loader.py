from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from galahstream.errors import OptionError, OrderError
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader


def ids(loader: SpectraLoader) -> list[int]:
    return [int(star) for batch in loader for star in batch[-1]]


def test_each_star_is_seen_once_an_epoch_and_epochs_differ(npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store, return_ids=True)
    loader = SpectraLoader(dataset, 8, shuffle=True)
    first, second = ids(loader), ids(loader)
    assert sorted(first) == sorted(second) == sorted(dataset.ids.tolist())
    assert first != second
    assert loader.epoch == 2
    loader.set_epoch(0)
    assert ids(loader) == first


def test_the_order_is_the_same_for_every_number_of_workers(npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store, return_ids=True)
    wanted = SpectraLoader(dataset, 8, shuffle=True)
    epochs = [ids(wanted), ids(wanted)]
    for workers in (1, 2):
        with SpectraLoader(dataset, 8, shuffle=True, num_workers=workers) as loader:
            assert [ids(loader), ids(loader)] == epochs


def test_a_batch_is_one_tensor_without_a_copy(npy_store: Store) -> None:
    flux, labels = next(iter(SpectraLoader(SpectraDataset(npy_store), 8)))
    assert flux.shape == (8, 64)
    assert labels.shape == (8, 3)
    assert flux.is_contiguous()


def test_a_batch_that_is_kept_does_not_change(npy_store: Store) -> None:
    loader = SpectraLoader(SpectraDataset(npy_store), 8)
    kept = [flux for flux, _ in loader]
    copies = [flux.clone() for flux in kept]
    list(loader)
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(size=st.integers(1, 50), cut=st.integers(0, 41), after=st.integers(1, 50))
def test_cut_anywhere_and_resumed_equals_uncut(
    npy_store: Store, size: int, cut: int, after: int
) -> None:
    dataset = SpectraDataset(npy_store, return_ids=True)
    wanted = ids(SpectraLoader(dataset, size, shuffle=True))
    loader = SpectraLoader(dataset, size, shuffle=True)
    seen: list[int] = []
    for batch in loader:
        if len(seen) >= cut:
            break
        seen += batch[-1].tolist()
        state = loader.state_dict()
    else:
        return
    if not seen:
        return
    again = SpectraLoader(dataset, after, shuffle=True)
    again.load_state_dict(state)
    assert seen + ids(again) == wanted
    assert again.epoch == 1


def test_a_state_of_another_order_is_refused_by_name(npy_store: Store) -> None:
    state = SpectraLoader(SpectraDataset(npy_store), seed=1).state_dict()
    with pytest.raises(OrderError, match="seed"):
        SpectraLoader(SpectraDataset(npy_store), seed=2).load_state_dict(state)
    with pytest.raises(OrderError, match="split"):
        SpectraLoader(SpectraDataset(npy_store, "val"), seed=1).load_state_dict(state)


def test_frameworks_can_rebuild_it_from_its_sampler(npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store, return_ids=True)
    loader = SpectraLoader(dataset, 8)
    assert ids(SpectraLoader(dataset, 8, sampler=loader.sampler)) == ids(loader)
    rebuilt = SpectraLoader(dataset, batch_sampler=loader.batch_sampler)
    assert ids(rebuilt) == ids(SpectraLoader(dataset, 8))


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": None},
        {"seed": 2**63},
        {"seed": -1},
        {"batch_size": 2.5},
        {"num_workers": -1},
        {"worker_type": "x"},
        {"shuffle": True, "shuffle_block": 43},
        {"shuffle_block": 4},
        {"memory_budget": 0},
    ],
)
def test_bad_options_are_refused(npy_store: Store, options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        SpectraLoader(SpectraDataset(npy_store), **options)  # type: ignore[arg-type]


def test_a_block_shuffle_is_an_order_like_any_other(npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store, return_ids=True)
    with SpectraLoader(dataset, 8, shuffle=True, shuffle_block=5) as loader:
        first, second = ids(loader), ids(loader)
        assert sorted(first) == sorted(second) == sorted(dataset.ids.tolist())
        assert first != second
        loader.set_epoch(0)
        seen: list[int] = []
        for batch in loader:
            seen += batch[-1].tolist()
            if len(seen) == 16:
                state = loader.state_dict()
                break
    again = SpectraLoader(dataset, 3, shuffle=True, shuffle_block=5, num_workers=1)
    again.load_state_dict(state)
    assert seen + ids(again) == first
    with pytest.raises(OrderError, match="shuffle_block"):
        SpectraLoader(dataset, 3, shuffle=True).load_state_dict(state)


@pytest.mark.parametrize("block", [None, 4])
def test_every_row_is_announced_once_and_before_it_is_read(
    npy_store: Store, block: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = SpectraDataset(npy_store)
    told: list[int] = []
    monkeypatch.setattr(dataset, "prefetch", lambda items: told.extend(items.tolist()))
    read = dataset.read_valid_batch

    def reading(items: np.ndarray, *out: np.ndarray, **options: Any) -> tuple[torch.Tensor, ...]:
        assert set(items.tolist()) <= set(told)
        return read(items, *out, **options)

    monkeypatch.setattr(dataset, "read_valid_batch", reading)
    for group_bytes in (1, 4 * 1024 * 1024):
        monkeypatch.setattr("galahstream.stream.options.GROUP_BYTES", group_bytes)
        told.clear()
        loader = SpectraLoader(dataset, 5, shuffle=True, num_workers=0, shuffle_block=block)
        assert sum(len(flux) for flux, _ in loader) == 42
        assert sorted(told) == list(range(42))


def test_the_last_smaller_batch_can_be_left_out(npy_store: Store) -> None:
    with SpectraLoader(SpectraDataset(npy_store), 8, drop_last=True) as loader:
        assert [len(flux) for flux, _ in loader] == [8] * 5
        assert len(loader) == 5


def test_a_sampler_of_the_users_is_checked(npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store)
    with SpectraLoader(dataset, 8, sampler=[1, 2, 42]) as loader, pytest.raises(IndexError):
        list(loader)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_transform_that_makes_nan_or_another_shape_is_refused(
    npy_store: Store, n_workers: int
) -> None:
    for transform, text in (
        (lambda flux: flux[:, :5], "must keep both"),
        (lambda flux: flux.astype(np.float64), "float64"),
        (lambda flux: flux * np.nan, r"row \d+, pixel 0"),
    ):
        dataset = SpectraDataset(npy_store, transform=transform)
        with (
            SpectraLoader(dataset, 8, num_workers=n_workers) as loader,
            pytest.raises(OptionError, match=text),
        ):
            list(loader)


def test_any_collate_function_works_with_any_sampler(npy_store: Store) -> None:
    def collate(items: Any) -> dict[str, Any]:
        return {"name": "batch", "flux": torch.stack([flux for flux, _ in items])}

    dataset = SpectraDataset(npy_store)
    with SpectraLoader(dataset, 8, sampler=[4, 5, 6] * 5, collate_fn=collate) as loader:
        served = [(len(batch["flux"]), loader.state_dict()["rows_served"]) for batch in loader]
    assert served == [(8, 8), (7, 15)]
