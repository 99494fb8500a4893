"""Keywords of DataLoader: each has its effect, or an error that says why it has none."""

import inspect
import itertools
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from galahstream.errors import OptionError
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader
from galahstream.stream.options import DataLoaderKeywords, StreamOptions, WorkerType


def options(**keywords: Any) -> StreamOptions:
    num_workers = keywords.pop("num_workers", 2)
    worker_type = keywords.pop("worker_type", "thread")
    others = cast(DataLoaderKeywords, keywords)
    return StreamOptions.checked(num_workers, worker_type, None, None, others)


def test_every_keyword_of_data_loader_is_known_here() -> None:
    theirs = set(inspect.signature(DataLoader).parameters)
    ours = set(inspect.signature(SpectraLoader).parameters)
    assert theirs - ours == set(DataLoaderKeywords.__annotations__)


def test_the_defaults_of_data_loader_are_accepted(npy_store: Store) -> None:
    """Frameworks that rebuild a loader pass all of them."""
    dataset = SpectraDataset(npy_store)
    defaults: dict[str, Any] = {
        name: parameter.default
        for name, parameter in inspect.signature(DataLoader).parameters.items()
        if name in DataLoaderKeywords.__annotations__
    }
    pools: list[tuple[int, WorkerType]] = [(0, "thread"), (2, "thread"), (2, "process")]
    for workers, worker_type in pools:
        loader = SpectraLoader(
            dataset,
            num_workers=workers,
            worker_type=worker_type,
            **defaults,
        )
        assert len(loader) == 2


def test_attributes_of_a_loader_can_be_passed_to_a_plain_one_and_to_its_own_class(
    npy_store: Store,
) -> None:
    dataset = SpectraDataset(npy_store)
    loader = SpectraLoader(
        dataset, 8, True, 3, shuffle_block=4, prefetch_factor=4, timeout=5, persistent_workers=True
    )
    attributes = {name: value for name, value in vars(loader).items() if not name.startswith("_")}
    names = set(inspect.signature(DataLoader).parameters)
    given = {name: value for name, value in attributes.items() if name in names}
    given.pop("batch_sampler")
    plain = DataLoader(**{**given, "shuffle": None})
    assert sum(len(flux) for flux, _ in plain) == 42
    names |= set(inspect.signature(SpectraLoader).parameters)
    given = {name: value for name, value in attributes.items() if name in names}
    rebuilt = SpectraLoader(**{**given, "shuffle": False, "batch_sampler": None})
    assert rebuilt.order is loader.order
    assert sum(len(flux) for flux, _ in rebuilt) == 42
    assert loader.epoch == 2


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"generator": torch.Generator()}, "give seed= instead"),
        ({"in_order": False}, "in order"),
        ({"pin_memory_device": "xpu"}, "pin_memory_device 'xpu' cannot be used"),
        ({"prefetch_factor": 2, "num_workers": 0}, "needs workers"),
        ({"prefetch_factor": 0}, "prefetch_factor 0 .* at least 1"),
        ({"persistent_workers": True, "num_workers": 0}, "needs workers"),
        ({"timeout": 1, "num_workers": 0}, "needs workers"),
        ({"timeout": -1}, "seconds, 0 or more"),
        ({"timeout": float("nan")}, "seconds, 0 or more"),
        ({"timeout": "soon"}, "seconds, 0 or more"),
        ({"multiprocessing_context": "spawn"}, "worker_type='process'"),
        ({"multiprocessing_context": "spawn", "num_workers": 0}, "needs workers"),
        ({"multiprocessing_context": "x", "worker_type": "process"}, "'x' is not known; expected"),
        ({"worker_init_fn": print}, "worker_type='process'"),
        ({"worker_type": "fibre"}, "'fibre' is not known; expected thread or process"),
    ],
)
def test_a_keyword_without_effect_is_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        options(**keywords)


def test_an_unknown_keyword_is_a_type_error(npy_store: Store) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'batchsize'"):
        SpectraLoader(SpectraDataset(npy_store), batchsize=8)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"sampler": [1], "shuffle": True}, "shuffle=True"),
        ({"sampler": [1], "batch_sampler": [[1]]}, "leave out sampler"),
        ({"batch_sampler": [[1]], "drop_last": True}, "leave out sampler and drop_last"),
    ],
)
def test_two_orders_at_a_time_are_refused(
    npy_store: Store, keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        SpectraLoader(SpectraDataset(npy_store), **keywords)


def test_a_sampler_of_another_dataset_is_refused(npy_store: Store) -> None:
    sampler: Any = SpectraLoader(SpectraDataset(npy_store, "val")).sampler
    with pytest.raises(OptionError, match="for 9 rows, and the dataset has 42"):
        SpectraLoader(SpectraDataset(npy_store), sampler=sampler)


@pytest.mark.parametrize("batch_bytes", [1000, 2 * 1024 * 1024, 100 * 1024 * 1024])
def test_prefetch_factor_is_the_number_of_batches_that_each_worker_reads_ahead(
    batch_bytes: int,
) -> None:
    for factor, workers in itertools.product((1, 2, 5, 8), (1, 2, 3)):
        chosen = options(prefetch_factor=np.int64(factor), num_workers=np.int64(workers))
        together = chosen.batches_per_request(batch_bytes)
        ahead = together * chosen.depth(together)
        assert workers * factor - together < ahead <= workers * factor
        assert chosen.depth(together) >= workers


def test_workers_read_no_more_than_prefetch_factor_ahead(npy_store: Store) -> None:
    read: list[int] = []

    def noting(flux: np.ndarray) -> np.ndarray:
        read.append(len(flux))
        return np.asarray(np.nan_to_num(flux))

    dataset = SpectraDataset(npy_store, transform=noting)
    with SpectraLoader(dataset, 2, num_workers=1, prefetch_factor=1) as loader:
        for number, _ in enumerate(loader):
            assert len(read) <= number + 2


def test_pin_memory_without_an_accelerator_warns_as_in_data_loader(npy_store: Store) -> None:
    if torch.accelerator.is_available():
        pytest.skip("this machine has an accelerator")
    with pytest.warns(UserWarning, match="pin_memory=True has no effect") as caught:
        loader = SpectraLoader(SpectraDataset(npy_store), pin_memory=True, num_workers=0)
    assert caught[0].filename == __file__
    assert sum(len(flux) for flux, _ in loader) == 42


def test_pin_memory_pins_every_tensor_of_a_batch(
    npy_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: list[torch.Tensor] = []
    allocated: list[tuple[int, int]] = []
    empty = torch.empty

    def allocate(shape: tuple[int, int], *, pin_memory: bool, **kind: Any) -> torch.Tensor:
        assert pin_memory
        allocated.append(shape)
        return empty(shape, **kind)

    def pin(tensor: torch.Tensor, *device: object) -> torch.Tensor:
        pinned.append(tensor)
        return tensor

    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
    loader = SpectraLoader(SpectraDataset(npy_store), 32, pin_memory=True, num_workers=0)
    monkeypatch.setattr(torch, "empty", allocate)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    assert sum(len(flux) for flux, _ in loader) == 42
    assert len(pinned) == 4
    assert allocated


def test_collate_fn_gets_the_items_of_a_batch(npy_store: Store) -> None:
    def collate(items: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {"flux": torch.stack([flux for flux, _ in items])}

    dataset = SpectraDataset(npy_store)
    with (
        SpectraLoader(dataset, 8) as plain,
        SpectraLoader(dataset, 8, collate_fn=collate) as loader,
    ):
        for batch, (flux, _) in zip(loader, plain, strict=True):
            assert torch.equal(batch["flux"], flux)
