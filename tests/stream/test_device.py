"""Hand-over to devices that are not here: stand-ins record every copy, pin and dtype."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from galahstream.errors import DeviceError
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.device import batch_memory, choose_device, to_device
from galahstream.stream.loader import SpectraLoader

MPS, CUDA = torch.device("mps"), torch.device("cuda")


class Recorder:
    """What was done to tensors and streams, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, pinned: bool) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.monkeypatch = monkeypatch

        def to(tensor: torch.Tensor, device: torch.device, *, non_blocking: bool) -> torch.Tensor:
            self.done.append(("copy", device.type, tensor.dtype, non_blocking))
            return tensor.clone()

        monkeypatch.setattr(torch.Tensor, "to", to)
        monkeypatch.setattr(torch.Tensor, "is_pinned", lambda tensor: pinned)
        monkeypatch.setattr(
            torch.Tensor, "record_stream", lambda tensor, stream: self.done.append(("keep", stream))
        )
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(self, "side"))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(self, "main"))
        monkeypatch.setattr(torch.cuda, "stream", self.on)

    @contextmanager
    def on(self, stream: "Stream") -> Iterator[None]:
        self.done.append(("on", stream.name))
        yield
        self.done.append(("off", stream.name))


class Stream:
    def __init__(self, recorder: Recorder, name: str) -> None:
        self.recorder, self.name = recorder, name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.name == self.name

    __hash__ = None  # type: ignore[assignment]

    def record_event(self) -> "Stream":
        return self

    def wait_event(self, event: "Stream") -> None:
        self.recorder.done.append((self.name, "waits for", event.name))

    def synchronize(self) -> None:
        self.recorder.done.append(("host waits for", self.name))


def two_batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.full((2, 3), float(n)), torch.ones(2, 1)) for n in range(2)]


def test_mps_gets_blocking_copies_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, pinned=True)
    found = list(to_device(two_batches(), MPS))
    assert [float(flux[0, 0]) for flux, _ in found] == [0, 1]
    assert recorder.done == [("copy", "mps", torch.float32, False)] * 4


@pytest.mark.parametrize("pinned", [True, False])
def test_cuda_gets_one_batch_ahead_over_a_side_stream(
    monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    recorder = Recorder(monkeypatch, pinned=pinned)
    copied = [
        ("on", "side"),
        ("copy", "cuda", torch.float32, pinned),
        ("copy", "cuda", torch.float32, pinned),
        ("off", "side"),
    ]
    main = Stream(recorder, "main")
    used = [
        ("main", "waits for", "side"),
        ("keep", main),
        ("keep", main),
        ("host waits for", "side"),
    ]
    batches = to_device(two_batches(), CUDA)
    first = next(batches)
    assert float(first[0][0, 0]) == 0
    assert recorder.done == [*copied, *copied, *used]
    assert len(list(batches)) == 1
    assert recorder.done == [*copied, *copied, *used, *used]


def test_flux_alone_is_handed_over_too(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorder(monkeypatch, pinned=True)
    for device in (MPS, CUDA):
        assert len(list(to_device([torch.ones(2, 3)], device))) == 1


def test_memory_is_pinned_for_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def empty(shape: tuple[int, int], **options: Any) -> torch.Tensor:
        asked.append(options)
        return torch.zeros(shape)

    monkeypatch.setattr(torch, "empty", empty)
    for device in (torch.device("cpu"), MPS):
        assert batch_memory((2, 3), device).dtype == np.float32
    assert asked == []
    assert batch_memory((2, 3), CUDA).shape == (2, 3)
    assert asked == [{"dtype": torch.float32, "pin_memory": True}]


def test_batches_on_the_cpu_are_handed_on_without_a_copy() -> None:
    batches = two_batches()
    for found, given in zip(to_device(batches, torch.device("cpu")), batches, strict=True):
        assert found[0] is given[0]


def test_a_loader_gives_its_batches_on_the_device(
    npy_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galahstream.stream.options.choose_device", lambda name: MPS)
    loader = SpectraLoader(SpectraDataset(npy_store), 8, device="mps")
    wanted = torch.cat([flux for flux, _ in SpectraLoader(SpectraDataset(npy_store), 8)])
    recorder = Recorder(monkeypatch, pinned=False)
    with loader:
        assert torch.equal(torch.cat([flux for flux, _ in loader]), wanted)
    assert set(recorder.done) == {("copy", "mps", torch.float32, False)}


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "mps", "meta", ""])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None and name == accelerator.type:
        pytest.skip(f"this machine has {name}")
    with pytest.raises(DeviceError, match=r"it has .*cpu"):
        choose_device(name)


def test_auto_is_a_device_of_this_machine() -> None:
    assert choose_device().type in ("cpu", "cuda", "mps")
    assert choose_device("cpu").type == "cpu"


def test_batches_of_any_shape_arrive_on_the_device() -> None:
    batch: dict[str, Any] = {"flux": torch.zeros(2, 3), "rest": [torch.zeros(2), "text", 7]}
    (moved,) = to_device(iter([batch]), torch.device("meta"))
    assert moved["flux"].device.type == moved["rest"][0].device.type == "meta"
    assert moved["rest"][1:] == ("text", 7)
