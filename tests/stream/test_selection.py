"""Loaders over `Subset`, `random_split` and `ConcatDataset` against torch's own reading."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    Subset,
    TensorDataset,
    random_split,
)

import galahstream as gs
from galahstream.errors import OptionError, OrderError
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader
from galahstream.stream.options import WorkerType
from galahstream.stream.selection import SpectraSelection, select_items
from tests.conftest import N_PIXELS, Pair, make_pair

Batch: TypeAlias = tuple[torch.Tensor, ...]
WORKERS: list[Any] = [
    (0, "thread"),
    (2, "thread"),
    pytest.param(2, "process", marks=pytest.mark.slow),
]


class Survey(NamedTuple):
    """Two stores of the same pixels in other formats and encodings."""

    first: Store
    second: Store

    def datasets(self, **options: Any) -> list[SpectraDataset]:
        """Return three datasets with the same labels, all scaled as those of the first store."""
        train = SpectraDataset(self.first, **options)
        options = {**options, "target_transform": train.target_transform}
        return [
            train,
            SpectraDataset(self.first, "val", **options),
            SpectraDataset(self.second, "all", **options),
        ]


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    folder: Path = tmp_path_factory.mktemp("selection")
    first = gs.convert(make_pair(folder / "a").folder, folder / "first")
    second = gs.convert(
        make_pair(folder / "b", 40, seed=1).folder, folder / "second.h5",
        format="hdf5", dtype="uint16",
    )  # fmt: skip
    return Survey(first, second)


@pytest.fixture
def dataset(survey: Survey) -> SpectraDataset:
    return SpectraDataset(survey.first, return_ids=True)


def ids(batches: Any) -> list[int]:
    return [int(star) for batch in batches for star in batch[-1]]


def check_equal(actual: Sequence[Batch], expected: Sequence[Batch]) -> None:
    assert len(actual) == len(expected)
    for batch, other in zip(actual, expected, strict=True):
        assert len(batch) == len(other)
        assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))


INDICES: list[Any] = [
    [3, 1, 41, 1, -1, 0, 3],
    range(40, 0, -3),
    np.array([5, 4, 9], dtype=np.uint8),
    torch.tensor([7, 0, 7]),
    [torch.tensor(3), np.int32(2)],
    (),
]


@pytest.mark.parametrize(("workers", "worker_type"), WORKERS)
@pytest.mark.parametrize("indices", INDICES, ids=repr)
def test_a_subset_comes_in_the_order_of_its_indices(
    dataset: SpectraDataset, indices: Any, workers: int, worker_type: WorkerType
) -> None:
    subset = Subset(dataset, indices)
    with SpectraLoader(subset, 4, num_workers=workers, worker_type=worker_type) as loader:
        batches = list(loader)
        assert len(loader) == len(batches)
        assert loader.dataset is subset
    check_equal(batches, list(DataLoader(subset, 4)))


def build(plan: Any, leaves: Sequence[SpectraDataset]) -> Dataset[Any]:
    """Return the dataset of a plan: a leaf, a subset of one, or a concatenation of several."""
    if isinstance(plan, int):
        return leaves[plan]
    inner, seed = plan
    if isinstance(inner, list):
        return ConcatDataset([build(part, leaves) for part in inner])
    whole = build(inner, leaves)
    n_items = len(whole)  # type: ignore[arg-type]
    generator = np.random.default_rng(seed)
    count = int(generator.integers(n_items + 3)) if n_items else 0
    return Subset(whole, generator.integers(-n_items, max(n_items, 1), count).tolist())


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    parts = st.lists(inner, min_size=1, max_size=3)
    return st.tuples(st.one_of(inner, parts), st.integers(0, 2**31))


PLANS = st.recursive(st.integers(0, 2), nested, max_leaves=5)


@pytest.mark.slow
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(plan=PLANS, size=st.integers(1, 50), workers=st.integers(0, 2))
def test_any_nesting_gives_the_items_that_torch_gives(
    survey: Survey, plan: Any, size: int, workers: int
) -> None:
    whole: Any = build(plan, survey.datasets(return_ids=True))
    expected = [whole[index] for index in range(len(whole))]
    with SpectraLoader(whole, size, num_workers=workers) as loader:
        items = [item for batch in loader for item in zip(*batch, strict=True)]
    check_equal(items, expected)


@pytest.mark.parametrize(("workers", "worker_type"), WORKERS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"labels": None},
        {"return_ids": True, "labels": "teff"},
        {"transform": None},
        {"transform": np.nan_to_num},
        {"target_transform": None},
    ],
    ids=lambda options: " ".join(options) or "defaults",
)
def test_batches_of_several_stores_are_made_by_each_kind_of_worker(
    survey: Survey, options: dict[str, Any], workers: int, worker_type: WorkerType
) -> None:
    whole: Any = ConcatDataset(survey.datasets(**options))
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(1)).tolist()
    subset = Subset(whole, order)
    expected = list(DataLoader(subset, 8))
    with SpectraLoader(subset, 8, num_workers=workers, worker_type=worker_type) as loader:
        actual = list(loader)
    if options.get("labels", "") is None:
        actual, expected = [(flux,) for flux in actual], [(flux,) for flux in expected]
    check_equal(
        [tuple(tensor.nan_to_num(7) for tensor in batch) for batch in actual],
        [tuple(tensor.nan_to_num(7) for tensor in batch) for batch in expected],
    )


def test_a_window_selects_the_pixels_of_every_store(tmp_path: Path) -> None:
    grid = np.arange(N_PIXELS) + 5000.0
    stores = [
        gs.convert(make_pair(tmp_path / name).folder, tmp_path / f"{name}.h5",
                   format="hdf5", wavelength=grid)
        for name in "ab"
    ]  # fmt: skip
    whole: Any = ConcatDataset([SpectraDataset(store, window=(5010, 5019)) for store in stores])
    with SpectraLoader(whole, 30, shuffle=True) as loader:
        flux = torch.cat([flux for flux, _ in loader])
    assert flux.shape == (84, 10)


def test_the_flux_of_several_stores_is_written_where_the_batch_is(survey: Survey) -> None:
    items = select_items(ConcatDataset(survey.datasets()))
    out = np.empty((6, N_PIXELS), dtype=np.float32)
    indices = np.array([90, 0, 50, 1, 88, 3])
    flux, labels = items.read_valid_batch(indices, out)
    assert np.shares_memory(flux.numpy(), out)
    check_equal([(flux, labels)], [items.read_batch(indices)])


def test_random_split_shows_each_star_once_an_epoch(dataset: SpectraDataset) -> None:
    parts = random_split(dataset, [0.5, 0.5], torch.Generator().manual_seed(3))
    seen: list[int] = []
    for part in parts:
        with SpectraLoader(part, 8, shuffle=True) as loader:
            first, second = ids(loader), ids(loader)
            assert first != second
            assert sorted(first) == sorted(second) == sorted(dataset.ids[part.indices])
            assert loader.epoch == 2
            loader.set_epoch(0)
            assert ids(loader) == first
        seen += first
    assert sorted(seen) == sorted(dataset.ids)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(1, 30),
    cut=st.integers(1, 4),
    after=st.integers(1, 30),
    ranks=st.integers(1, 3),
    block=st.one_of(st.none(), st.integers(1, 9)),
)
def test_cut_anywhere_and_resumed_on_other_ranks_equals_uncut(
    survey: Survey, size: int, cut: int, after: int, ranks: int, block: int | None
) -> None:
    whole: Any = Subset(ConcatDataset(survey.datasets(return_ids=True)), range(80, 10, -1))
    options: dict[str, Any] = {"shuffle": True, "shuffle_block": block, "num_workers": 0}
    wanted = ids(SpectraLoader(whole, size, **options))
    loader = SpectraLoader(whole, size, **options)
    seen = ids(batch for _, batch in zip(range(cut), loader, strict=False))
    state = loader.state_dict()
    if state["epoch"] == 1 or 0 < len(whole) - len(seen) < ranks:
        return
    resumed = [
        SpectraLoader(whole, after, rank=rank, world_size=ranks, **options) for rank in range(ranks)
    ]
    for other in resumed:
        other.load_state_dict(state)
    steps = zip(*resumed, strict=True)
    assert seen + [star for step in steps for star in ids(step)] == wanted
    assert {other.epoch for other in resumed} == {1}


def test_blocks_are_runs_of_stored_rows_whatever_the_order_of_the_indices(
    dataset: SpectraDataset,
) -> None:
    chosen = np.random.default_rng(0).permutation(len(dataset))[:30]
    orders: list[list[int]] = []
    for indices in (chosen, np.sort(chosen)):
        loader = SpectraLoader(
            Subset(dataset, indices.tolist()), 4, shuffle=True, shuffle_block=5, num_workers=0
        )
        stored = dataset.ids[np.sort(chosen)]
        orders.append(ids(loader))
        assert orders[-1] == stored[loader.order.rows(0)].tolist()
        state = loader.state_dict()
    assert orders[0] == orders[1]
    loader = SpectraLoader(
        Subset(dataset, chosen.tolist()), 4, shuffle=True, shuffle_block=5, num_workers=0
    )
    loader.load_state_dict(state)


def test_every_row_of_each_dataset_is_requested_once_from_the_disk(
    survey: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = survey.datasets()
    for block in (None, 4):
        requested: list[list[int]] = [[] for _ in datasets]
        for dataset, told in zip(datasets, requested, strict=True):
            monkeypatch.setattr(
                dataset, "prefetch", lambda items, told=told: told.extend(items.tolist())
            )
        loader = SpectraLoader(
            ConcatDataset(datasets), 5, shuffle=True, shuffle_block=block, num_workers=0
        )
        list(loader)
        for dataset, told in zip(datasets, requested, strict=True):
            assert sorted(told) == list(range(len(dataset)))


def test_a_memory_budget_holds_for_every_store(
    survey: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[Path] = []
    for store in survey:
        monkeypatch.setattr(store, "release_pages", lambda path=store.path: released.append(path))
    list(SpectraLoader(ConcatDataset(survey.datasets()), memory_budget=1, num_workers=0))
    assert set(released) == {store.path for store in survey}


def state_of(dataset: Any, **options: Any) -> dict[str, Any]:
    return SpectraLoader(dataset, num_workers=0, **options).state_dict()


def test_a_state_belongs_to_the_chosen_rows(survey: Survey) -> None:
    train, val, other = survey.datasets()
    second = SpectraDataset(survey.second)
    states = [
        state_of(dataset)
        for dataset in (
            Subset(train, [1, 2, 3]), Subset(train, [1, 2, 4]), Subset(train, [3, 2, 1]),
            Subset(train, [1, 2]), Subset(val, [1, 2, 3]), Subset(second, [1, 2, 3]),
            Subset(train + val, [1, 2, 3]), Subset(train + val, [1, 2, len(train)]),
            Subset(train + other, [1, 2, 3]), Subset(other + train, [1, 2, 3]), train,
        )
    ]  # fmt: skip
    assert len({tuple(state.items()) for state in states}) == len(states)
    loader = SpectraLoader(Subset(train, [1, 2, 3]), num_workers=0)
    for state, name in zip(
        states[1:6], ["selection", "selection", "rows", "split", "store"], strict=True
    ):
        with pytest.raises(OrderError, match=f"another order: {name} was"):
            loader.load_state_dict(state)


def test_the_same_rows_chosen_in_another_way_have_the_same_state(survey: Survey) -> None:
    train, val, other = survey.datasets()
    again = SpectraDataset(survey.first.path)
    assert state_of(Subset(train, range(len(train)))) == state_of(train)
    assert state_of(Subset(Subset(train, [9, 8, 7]), [2, 0])) == state_of(Subset(train, [7, 9]))
    assert state_of(Subset(train, [1]) + Subset(again, [5])) == state_of(Subset(train, [1, 5]))
    assert state_of(train + val) == state_of(again + val)
    halves = [Subset(train, range(20)), Subset(again, range(20, len(again)))]
    assert state_of(ConcatDataset([*halves, other])) == state_of(train + other)


def test_a_state_belongs_to_the_rows_that_remain_without_missing_labels(
    pair: Pair, tmp_path: Path
) -> None:
    labels = pair.labels.copy()
    labels[:3, 4], labels[5:8, 5] = np.nan, np.nan
    np.save(pair.folder / "labels.npy", labels)
    store = gs.convert(pair.folder, tmp_path / "store")
    teff, logg = (
        SpectraDataset(store, "all", labels=name, missing="drop") for name in ("teff", "logg")
    )
    assert len(teff) == len(logg)
    with pytest.raises(OrderError, match="selection was"):
        SpectraLoader(teff).load_state_dict(state_of(logg))
    chosen: Any = Subset(ConcatDataset([teff]), range(len(teff)))
    assert state_of(chosen) == state_of(teff)


def test_frameworks_can_rebuild_a_loader_of_a_subset(dataset: SpectraDataset) -> None:
    subset = Subset(dataset, [9, 3, 3, 20, 17])
    loader = SpectraLoader(subset, 2, shuffle=True, num_workers=0)
    expected = [ids(loader) for _ in range(3)]
    loader.set_epoch(0)
    rebuilt = SpectraLoader(loader.dataset, 2, sampler=loader.sampler)
    assert ids(rebuilt) == expected[0]
    assert ids(DataLoader(loader.dataset, 2, sampler=loader.sampler)) == expected[1]
    by_batches = SpectraLoader(loader.dataset, batch_sampler=loader.batch_sampler)
    assert ids(by_batches) == expected[2]


def test_a_sampler_of_the_users_is_checked_against_the_subset(dataset: SpectraDataset) -> None:
    subset = Subset(dataset, [9, 3, 20])
    with SpectraLoader(subset, 8, sampler=[2, -1, 0]) as loader:
        assert ids(loader) == dataset.ids[[20, 20, 9]].tolist()
    with SpectraLoader(subset, 8, sampler=[3]) as loader, pytest.raises(IndexError, match="item 3"):
        list(loader)


def test_later_changes_of_the_indices_have_no_effect(dataset: SpectraDataset) -> None:
    subset = Subset(dataset, [4, 5])
    with SpectraLoader(subset, 8) as loader:
        subset.indices[0] = 6  # type: ignore[index]
        assert ids(loader) == dataset.ids[[4, 5]].tolist()


def test_an_error_of_a_transform_names_the_store_and_row_it_was_made_of(survey: Survey) -> None:
    train, _, other = survey.datasets(transform=root)  # of -0.5
    with (
        SpectraLoader(ConcatDataset([Subset(train, []), other])) as loader,
        pytest.raises(OptionError, match=rf"{survey.second.path}: the transform made NaN of row"),
    ):
        list(loader)


def root(flux: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(flux))


class Stars(Dataset[Any]):
    """A dataset of the user's."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.zeros(3)


class NoisySubset(Subset[Any]):
    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [(item[0] + 1, *item[1:]) for item in super().__getitems__(indices)]


class NoisyDataset(SpectraDataset):
    def __getitem__(self, index: Any) -> Any:
        flux, *others = super().__getitem__(index)
        return (flux + 1, *others)


class NoisyConcat(ConcatDataset[Any]):
    def __getitem__(self, index: int) -> Any:
        flux, *others = super().__getitem__(index)  # type: ignore[no-untyped-call]
        return (flux + 1, *others)


class NamedSubset(Subset[Any]):
    """A subset with a name, and the items of any other."""

    name = "half"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda _: Stars(), "Stars"),
        (lambda _: TensorDataset(torch.zeros(3)), "TensorDataset"),
        (lambda _: [1, 2, 3], "list"),
        (lambda dataset: Subset(Stars(), [1]), "Stars"),
        (lambda dataset: ConcatDataset([dataset, Subset(Stars(), [1])]), "Stars"),
        (lambda dataset: ChainDataset([dataset]), "ChainDataset"),
        (lambda dataset: "store", "str"),
    ],
)
def test_other_datasets_are_rejected_by_name(
    dataset: SpectraDataset, make: Callable[[SpectraDataset], Any], name: str
) -> None:
    with pytest.raises(OptionError, match=rf"a {name} cannot be read .* torch's DataLoader"):
        SpectraLoader(make(dataset))


@pytest.mark.parametrize(
    ("make", "method"),
    [
        (lambda dataset: NoisySubset(dataset, [1]), "__getitems__ of Subset"),
        (lambda dataset: NoisyDataset(dataset.store), "__getitem__ of SpectraDataset"),
        (lambda dataset: NoisyConcat([dataset]), "__getitem__ of ConcatDataset"),
        (lambda dataset: Subset(NoisyDataset(dataset.store), [1]), "__getitem__ of SpectraDataset"),
    ],
)
def test_items_that_a_subclass_changes_are_never_silently_left_as_they_were(
    dataset: SpectraDataset, make: Callable[[SpectraDataset], Any], method: str
) -> None:
    with pytest.raises(OptionError, match=f"overrides {method}.* transform= of the dataset"):
        SpectraLoader(make(dataset))


def test_a_subclass_with_the_items_of_its_base_is_read(dataset: SpectraDataset) -> None:
    with SpectraLoader(NamedSubset(dataset, [3, 4])) as loader:
        assert ids(loader) == dataset.ids[[3, 4]].tolist()


@pytest.mark.parametrize(
    ("indices", "error"),
    [
        ([42], IndexError),
        ([0, -43], IndexError),
        ([True, False], TypeError),
        (np.ones(42, dtype=bool), TypeError),
        ([0.5], TypeError),
        (["a"], TypeError),
        ([[1]], TypeError),
        ({1, 2}, TypeError),
    ],
    ids=repr,
)
def test_indices_outside_or_of_another_type_are_errors_at_once(
    dataset: SpectraDataset, indices: Any, error: type[Exception]
) -> None:
    for subset in (Subset(dataset, indices), Subset(ConcatDataset([dataset]), indices)):
        with pytest.raises(error, match="item"):
            SpectraLoader(subset)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"labels": ("teff", "logg")}, r"labels differ, \('teff', 'logg'\) and"),
        ({"labels": ("logg", "teff", "fe_h")}, "labels differ"),
        ({"labels": None}, r"labels differ, \(\) and"),
        ({"transform": None}, r"transform differ, None and LogFlux\(floor=0.2"),
        ({"transform": gs.LogFlux(floor=0.1)}, "transform differ"),
        ({"target_transform": None}, "scaling of labels differ, 'None' and 'ZScore"),
        ({"target_transform": gs.ZScore("all")}, "scaling of labels differ"),
        ({"return_ids": True}, "return_ids differ, True and False"),
    ],
    ids=repr,
)
def test_datasets_that_prepare_items_differently_are_rejected_by_what_differs(
    survey: Survey, options: dict[str, Any], what: str
) -> None:
    first, other = SpectraDataset(survey.first), SpectraDataset(survey.first, "val", **options)
    with pytest.raises(
        OptionError, match=rf"\('val'\) and {survey.first.path} \('train'\).*their {what}"
    ):
        SpectraLoader(first + Subset(other, []))


def test_labels_that_each_store_scales_by_its_own_mean_are_not_mixed(survey: Survey) -> None:
    first, second = (SpectraDataset(store) for store in survey)
    with pytest.raises(OptionError, match=r"scaling of labels .* target_transform of one of them"):
        SpectraLoader(first + second)


def test_stores_of_other_pixels_or_wavelengths_are_not_mixed(tmp_path: Path) -> None:
    short = gs.convert(make_pair(tmp_path / "a", pixels=32).folder, tmp_path / "short")
    pair = make_pair(tmp_path / "b").folder
    grids = [None, np.arange(N_PIXELS) + 5000.0, np.arange(N_PIXELS) + 5000.5]
    stores = [
        gs.convert(pair, tmp_path / f"store-{number}", wavelength=grid)
        for number, grid in enumerate(grids)
    ]
    flux = [SpectraDataset(store, labels=None) for store in (short, *stores)]
    with pytest.raises(OptionError, match="their pixels differ, 64 and 32"):
        SpectraLoader(flux[0] + flux[1])
    for first, other in ((1, 2), (2, 3)):
        with pytest.raises(OptionError, match="their wavelengths differ"):
            SpectraLoader(flux[first] + flux[other])
    assert isinstance(select_items(flux[1] + flux[1]), SpectraSelection)
