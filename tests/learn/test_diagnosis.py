"""Which part bounds training, and what is advised, for parts of any speed."""

from dataclasses import replace
from typing import Any

import pytest

from galahstream.learn.diagnosis import Bound, Diagnosis, Rates, Setting

# A network on a GPU that waits for everything.
RATES = Rates(
    first_data=9e4,
    data=1e5,
    reading=5e5,
    verification=1e5,
    decoding=6e4,
    transfer=1e6,
    step=2e5,
    together=9e4,
)
SETTING = Setting(
    device="cuda",
    model="reference",
    batch_size=32,
    num_workers=2,
    cores=8,
    kernels="numba",
    shuffle_block=None,
    dtype="float32",
    access="mapped",
    store_bytes=10**9,
    free_memory=10**10,
)
LARGE: dict[str, Any] = {"store_bytes": 10**11}


@pytest.mark.parametrize(
    ("rates", "setting", "bound", "advice"),
    [
        ({}, {}, "decoding", "use more workers (--workers 8)"),
        ({}, {"num_workers": 8}, "decoding", "learn from fewer pixels (--window)"),
        ({}, {"kernels": "numpy"}, "decoding", "pip install 'galahstream[fast]'"),
        ({"step": 50.0}, {}, "step", "larger batches (--batch-size)"),
        ({"step": 50.0}, {"device": "cpu"}, "step", "--model compact) or a GPU is faster"),
        ({"step": 50.0}, {"device": "cpu", "model": "compact"}, "step", "a GPU is faster"),
        ({"step": 50.0}, LARGE, "step", "a smaller network (--model compact)"),
        ({"first_data": 5e3}, LARGE, "disk", "convert to 16 bits (--dtype uint16)"),
        ({"first_data": 5e3}, LARGE, "disk", "read longer runs (--shuffle-block 64)"),
        (
            {"first_data": 5e3},
            {**LARGE, "dtype": "uint16", "shuffle_block": 64},
            "disk",
            "only a faster disk or more memory",
        ),
        ({"first_data": 5e3}, {}, "decoding", "more workers"),  # it stays in memory
        ({"first_data": 5e3, "step": 4e3}, LARGE, "step", "larger batches"),
        ({"reading": 6.5e4}, {"access": "h5py"}, "reading", "--format npy"),
        ({"reading": 6.5e4}, {"num_workers": 8}, "reading", "as fast as this machine's memory"),
        ({"transfer": 1e5}, {}, "transfer", "fewer pixels (--window)"),
    ],
)
def test_the_slowest_part_is_named_with_a_cure(
    rates: dict[str, float], setting: dict[str, Any], bound: Bound, advice: str
) -> None:
    diagnosis = Diagnosis(replace(RATES, **rates), replace(SETTING, **setting))
    assert diagnosis.bound == bound
    assert advice in diagnosis.sentence


def test_the_device_waits_while_training_is_slower_than_its_steps() -> None:
    assert Diagnosis(RATES, SETTING).waiting_share == pytest.approx(0.55)
    assert Diagnosis(replace(RATES, together=2.1e5), SETTING).waiting_share == 0


def test_the_sentence_about_the_network_has_the_time_of_a_step() -> None:
    sentence = Diagnosis(replace(RATES, step=100.0, together=98.0), SETTING).sentence
    assert "a step of 32 stars takes 320.0 ms, spectra arrive 1,000.0 times as fast" in sentence
    assert "the device waits 2% of the time" in sentence
