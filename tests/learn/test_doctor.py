"""The parts of training, measured on stores of every kind."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from galahstream.cli.main import main
from galahstream.conversion.convert import convert
from galahstream.errors import LabelError, OptionError
from galahstream.learn.doctor import examine
from galahstream.learn.run import TrainOptions
from galahstream.sources.memory import MemorySource
from galahstream.store import Store
from galahstream.store.layout import FormatName
from tests.conftest import make_pair


@pytest.mark.slow
@pytest.mark.parametrize("format", ["npy", "hdf5"])
@pytest.mark.parametrize(
    "options",
    [
        TrainOptions(device="cpu"),
        TrainOptions(device="cpu", augment="noise=20:200", shuffle_block=8),
    ],
)
def test_every_part_has_a_rate(tmp_path: Path, format: FormatName, options: TrainOptions) -> None:
    pair = make_pair(tmp_path / "raw", stars=100)
    store = convert(pair.folder, tmp_path / "store", format=format)
    diagnosis = examine(store.path, options, seconds=0.01)
    rates = asdict(diagnosis.rates)
    assert rates.pop("transfer") is None
    assert all(rate > 0 for rate in rates.values())
    assert diagnosis.setting.access == store.flux.access
    assert diagnosis.setting.shuffle_block == options.shuffle_block


def test_a_store_without_labels_is_refused(tmp_path: Path) -> None:
    flux = np.ones((40, 64), dtype=np.float32)
    store = convert(MemorySource(flux), tmp_path / "store")
    with pytest.raises(LabelError, match="training needs a store with labels"):
        examine(store.path, seconds=0.01)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_a_time_that_cannot_be_is_refused(toy_store: Store, seconds: float) -> None:
    with pytest.raises(OptionError, match="expected a time above 0"):
        examine(toy_store.path, seconds=seconds)


def test_the_command_prints_a_line_per_part_and_a_sentence(
    toy_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["doctor", str(toy_store.path), "--seconds", "0.01", "--device", "cpu"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:-1]] == [
        "reading", "verification", "decoding", "first data", "data", "step", "together",
    ]  # fmt: skip
    assert " bounds training: " in lines[-1]
    assert main([*arguments, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["sentence"].split(" ")[0] in lines[-1] or data["bound"] != "step"
    assert set(data) == {"spectra_per_s", "waiting_share", "bound", "sentence", "setting"}
