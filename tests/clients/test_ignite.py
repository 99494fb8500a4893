"""Ignite's Engine over the loader."""

from typing import Any

from ignite.engine import Engine
from torch.utils.data import DataLoader

from galahstream.stream.loader import SpectraLoader
from tests.clients.conftest import MakeLoader
from tests.clients.helper import (
    BATCH,
    CUT,
    EPOCHS,
    LIMIT,
    N_BATCHES,
    Epochs,
    Zipped,
    check_full_epochs,
    expected,
    flat,
    ids_of,
)


class Recorder:
    """An engine that notes the stars of each epoch; `part` chooses one of zipped loaders."""

    def __init__(self, part: int | None = None, stop: int = 0) -> None:
        self.seen: Epochs = [[] for _ in range(EPOCHS)]
        self.part = part
        self.stop = stop
        self.engine = Engine(self.step)

    def step(self, engine: Any, batch: Any) -> None:
        own = batch if self.part is None else batch[self.part]
        self.seen[engine.state.epoch - 1] += ids_of(own)
        if engine.state.iteration == self.stop:
            engine.terminate()

    def run(self, loader: Any, **options: Any) -> Epochs:
        self.engine.run(loader, max_epochs=EPOCHS, **options)
        return self.seen


def test_four_epochs(loader: SpectraLoader, plain: DataLoader[Any]) -> None:
    check_full_epochs(Recorder().run(loader), loader, Recorder().run(plain))


def test_limited_batches_take_the_next_ones_as_ignite_does(
    loader: SpectraLoader, plain: DataLoader[Any]
) -> None:
    seen, peer = (Recorder().run(one, epoch_length=LIMIT) for one in (loader, plain))
    assert [len(epoch) for epoch in seen] == [len(epoch) for epoch in peer]
    stream = expected(loader, 0) + expected(loader, 1)
    assert flat(seen) == stream[: len(flat(seen))]
    assert len(set(flat(seen)[: len(loader.dataset)])) == len(loader.dataset)
    assert loader.epoch == 1


def test_a_run_that_is_cut_in_mid_epoch_is_resumed_where_it_was(make_loader: MakeLoader) -> None:
    loader, first = make_loader(), Recorder(stop=CUT)
    first.run(loader)
    assert loader.state_dict()["rows_served"] == (CUT - N_BATCHES) * BATCH
    resumed, second = make_loader(), Recorder()
    resumed.load_state_dict(loader.state_dict())
    second.engine.load_state_dict(
        {"iteration": CUT, "max_epochs": EPOCHS, "epoch_length": N_BATCHES}
    )
    second.engine.run(resumed)
    assert flat(first.seen) + flat(second.seen) == flat(
        [expected(resumed, epoch) for epoch in range(EPOCHS)]
    )
    assert resumed.epoch == EPOCHS


def test_two_loaders_side_by_side(make_loader: MakeLoader, plain: DataLoader[Any]) -> None:
    for part in (0, 1):
        loaders = [make_loader(1), make_loader(2)]
        seen = Recorder(part).run(Zipped(*loaders))
        check_full_epochs(seen, loaders[part], Recorder().run(plain))
