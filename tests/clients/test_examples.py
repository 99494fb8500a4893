"""Every example runs with the real package, and each star comes once per epoch."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import galahstream as gs
from tests.clients.helper import N_PIXELS
from tests.conftest import make_pair

EXAMPLES = Path(__file__).parents[2] / "examples"
# 211 stars: in two processes, the last batches differ by one.
STARS, TRAINING = 302, 211
LINE = re.compile(r"^(?:(.*), )?epoch (\d+): (\d+) stars, (\d+) different$", re.MULTILINE)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    gs.convert(make_pair(folder / "raw", STARS, N_PIXELS).folder, folder / "store").close()
    return folder / "store"


def printed(words: list[str], folder: Path) -> list[tuple[str, int, int, int]]:
    """Run a script, and return what it printed of each epoch: name, number, stars, different."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(EXAMPLES.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return [
        (name, int(epoch), int(stars), int(different))
        for name, epoch, stars, different in LINE.findall(done.stdout)
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["lightning_trainer.py", "STORE"],
        ["lightning_trainer.py", "STORE", "2"],
        ["accelerate_loop.py", "STORE"],
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "accelerate_loop.py", "STORE"],
        ["ignite_engine.py", "STORE"],
        ["stateful_dataloader.py", "STORE"],
        ["skorch_net.py", "STORE"],
        ["hf_trainer.py", "STORE"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_each_star_comes_once_per_epoch(words: list[str], store: Path, tmp_path: Path) -> None:
    words = [str(store) if word == "STORE" else word for word in words]
    words = [str(EXAMPLES / word) if word.endswith(".py") else word for word in words]
    assert printed(words, tmp_path) == [("", epoch, TRAINING, TRAINING) for epoch in range(3)]


def test_torchs_own_loader_with_any_sampler(store: Path, tmp_path: Path) -> None:
    lines = printed([str(EXAMPLES / "plain_dataloader.py"), str(store)], tmp_path)
    once = {
        "dataset": TRAINING,
        "Subset": 106,
        "random_split": 106,
        "ConcatDataset": TRAINING,
        "RandomSampler, 2 processes": TRAINING,
    }
    for name, count in once.items():
        assert [line[2:] for line in lines if line[0] == name] == [(count, count)] * 2, name
    drawn = [line[2:] for line in lines if line[0] == "WeightedRandomSampler"]
    assert [stars for stars, _ in drawn] == [TRAINING] * 2
    assert all(0.5 * TRAINING < different < 0.75 * TRAINING for _, different in drawn)


def test_every_example_is_tested_and_in_the_documents() -> None:
    tests = Path(__file__).read_text()
    page = (EXAMPLES.parent / "docs" / "loops.md").read_text()
    for path in EXAMPLES.glob("*.py"):
        assert path.name in tests
        assert path.name in page
