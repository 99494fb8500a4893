"""Ranks that train one network together, as torchrun starts them: real processes on the CPU."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from galahstream.cli.main import main
from galahstream.conversion.convert import convert
from galahstream.learn.distributed import Ranks
from galahstream.learn.step import TrainingStep
from galahstream.learn.trained_model import load_model
from galahstream.store import Store
from galahstream.system.launch import launched_by_torchrun
from tests.conftest import make_pair

ROOT = Path(__file__).parents[2]
# 211 training stars: their last batches differ by a star from rank to rank.
STARS = 302
GLOBAL_BATCH = 36


def torchrun(ranks: int, *arguments: str) -> "subprocess.Popen[str]":
    """Start ranks on this machine."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         "--nproc-per-node", str(ranks), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def options_of(store: Path, out: Path, ranks: int, *more: str) -> list[str]:
    """Return the words of a training whose global batches do not depend on the ranks."""
    return [
        "train", str(store), "--out", str(out), "--batch-size", str(GLOBAL_BATCH // ranks),
        "--model", "compact", "--device", "cpu", *more,
    ]  # fmt: skip


def losses(run: Path) -> list[list[float]]:
    """Return training and validation loss of each epoch."""
    with (run / "history.csv").open() as file:
        return [[float(row["train_loss"]), float(row["val_loss"])] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def gappy_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a store whose labels have gaps and errors."""
    folder = tmp_path_factory.mktemp("ranks")
    pair = make_pair(folder / "raw", stars=STARS)
    generator = np.random.default_rng(7)
    teff, logg = pair.labels[:, 4].copy(), pair.labels[:, 5].copy()
    teff[generator.random(STARS) < 0.2] = np.nan
    columns = [teff, logg, np.full(STARS, 50.0), np.full(STARS, 0.1)]
    np.save(pair.folder / "labels.npy", np.stack(columns, axis=1))
    names = ["teff[K]", "logg[dex]", "e_teff[K]", "e_logg[dex]"]
    return convert(pair.folder, folder / "store", labels=names)


@given(n=st.integers(0, 100), world_size=st.integers(1, 9))
def test_shares_are_all_items_once_and_differ_by_one(n: int, world_size: int) -> None:
    shares = [list(Ranks(rank, world_size).share(n)) for rank in range(world_size)]
    assert list(chain(*shares)) == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_only_torchrun_makes_a_process_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert launched_by_torchrun() == (0, 1, 0)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert launched_by_torchrun() == (1, 4, 1)


def test_only_train_runs_on_several_ranks_and_the_first_one_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], npy_store: Store
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, said in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert main(["info", str(npy_store.path)]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("start this command without it") == said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "settings"),
    [
        (2, ["--missing", "drop", "--schedule", "cosine"]),
        (3, ["--missing", "mask", "--loss", "full-nll", "--label-errors", "--clip-norm", "1",
             "--augment", "noise=20:200"]),
    ],
)  # fmt: skip
def test_ranks_learn_what_one_process_learns(
    gappy_store: Store, tmp_path: Path, ranks: int, settings: list[str]
) -> None:
    settings = [*settings, "--labels", "teff,logg", "--epochs", "3"]
    together = torchrun(
        ranks, "-m", "galahstream", *options_of(gappy_store.path, tmp_path / "ranks", ranks),
        *settings, "--json",
    )  # fmt: skip
    assert main(options_of(gappy_store.path, tmp_path / "alone", 1) + settings) == 0
    printed, messages = together.communicate(timeout=120)
    assert together.returncode == 0, messages
    metrics = json.loads(printed)  # printed once
    assert metrics["settings"]["ranks"] == ranks
    assert f"{GLOBAL_BATCH} stars, {GLOBAL_BATCH // ranks} stars on each of {ranks}" in messages
    assert messages.count("epoch 3/3") == 1
    expected = losses(tmp_path / "alone")
    assert np.allclose(losses(tmp_path / "ranks"), expected, rtol=0, atol=1e-4)
    alone = json.loads((tmp_path / "alone" / "metrics.json").read_text())
    assert metrics["test"]["teff"]["n"] == alone["test"]["teff"]["n"]
    assert metrics["test"]["teff"]["rmse"] == pytest.approx(alone["test"]["teff"]["rmse"], rel=1e-3)
    weights = load_model(tmp_path / "ranks" / "model.pt").state_dict()
    for name, other in load_model(tmp_path / "alone" / "model.pt").state_dict().items():
        assert torch.allclose(weights[name], other, atol=1e-3), name
    assert "torchrun" in metrics["record"]["command"]
    files = [{path.name for path in (tmp_path / run).iterdir()} for run in ("ranks", "alone")]
    assert len(files[0]) == len(files[1])


@pytest.mark.slow
def test_a_killed_rank_ends_the_others_and_another_number_of_ranks_resumes(
    gappy_store: Store, tmp_path: Path
) -> None:
    settings = ["--labels", "logg", "--epochs", "25"]
    words = options_of(gappy_store.path, tmp_path / "run", 2)
    together = torchrun(2, "-m", "galahstream", *words, *settings)
    assert together.stderr is not None
    for line in together.stderr:
        if "epoch 2/" in line:
            break
    (victim,) = [
        process
        for process in psutil.Process(together.pid).children()
        if process.environ().get("RANK") == "1"
    ]
    victim.send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    _, messages = together.communicate(timeout=60)
    assert together.returncode != 0
    assert time.monotonic() - killed_at < 30
    assert "rank      : 1" in messages
    assert "exitcode  : -9" in messages
    resumed = torchrun(
        3, "-m", "galahstream", *options_of(gappy_store.path, tmp_path / "run", 3), *settings,
        "--resume",
    )  # fmt: skip
    assert main(options_of(gappy_store.path, tmp_path / "whole", 1) + settings) == 0
    _, messages = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, messages
    assert "resuming in epoch" in messages
    whole = losses(tmp_path / "whole")
    assert len(whole) == 25
    # The first epochs, before rounding adds up.
    assert np.allclose(losses(tmp_path / "run")[:6], whole[:6], rtol=0, atol=1e-4)


SCRIPT = """
import json, sys
import galahstream as gs
from torch import distributed

distributed.init_process_group("gloo")
rank, found = distributed.get_rank(), {{}}
store, few, home = {paths!r}

def attempt(name, store, **options):
    options = {{"labels": ("logg",), "epochs": 1, "device": "cpu", "model": "compact", **options}}
    try:
        result = gs.train(store, f"{{home}}/{{name}}", batch_size=8, **options)
        found[name] = f"{{result.ranks}} ranks, {{result.test[0].n}} stars"
    except gs.GalahStreamError as error:
        found[name] = f"{{type(error).__name__}}: {{error}}"

attempt("missing", store if rank == 0 else store + "-not-there")
attempt("settings", store, lr=1e-3 * (1 + rank))
attempt("stores", store if rank == 0 else few, labels=("teff",), missing="drop")
attempt("in use", store)
attempt("in use", store)
attempt("few", few, labels=("teff",))
attempt("few again", few, labels=("teff",), loss="nll")
evaluation = gs.evaluate(gs.load_model(f"{{home}}/few/model.pt"), few)
found["evaluated"] = str(evaluation.n_stars)
json.dump(found, open(f"{{home}}/{{rank}}.json", "w"))
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_what_is_wrong_on_one_rank_is_an_error_on_all(gappy_store: Store, tmp_path: Path) -> None:
    # 14 training stars, and 3 and 3 for three ranks: one of them validates one star.
    few = convert(make_pair(tmp_path / "raw", stars=20).folder, tmp_path / "store")
    paths = (str(gappy_store.path), str(few.path), str(tmp_path))
    (tmp_path / "script.py").write_text(SCRIPT.format(paths=paths))
    ranks = torchrun(3, str(tmp_path / "script.py"))
    _, messages = ranks.communicate(timeout=120)
    assert ranks.returncode == 0, messages
    for rank in range(3):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert "RankError: rank 1: " in found["missing"]
        assert "-not-there does not exist" in found["missing"]
        assert "RankError: rank 1 has lr 0.002 and rank 0 has 0.001" in found["settings"]
        assert "RankError: rank 1 has store " in found["stores"]
        assert "RankError: rank 0: " in found["in use"]
        assert "holds a finished run" in found["in use"]
        assert found["few"] == found["few again"] == "3 ranks, 3 stars"
        assert found["evaluated"] == "3"


def test_a_step_alone_exchanges_nothing() -> None:
    assert Ranks().sum(torch.ones(2)).tolist() == [1.0, 1.0]
    assert Ranks().of_first("a") == "a"
    Ranks().check_equal({"seed": 1})
    with pytest.raises(KeyError), Ranks().together():
        raise KeyError
    assert TrainingStep.__init__.__defaults__ == (None, Ranks())
