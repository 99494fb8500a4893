"""Standard output that is a closed pipe, a full disk, or of an encoding without Å and R²."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from galahstream.cli.main import main
from galahstream.cli.output import BROKEN_PIPE_STATUS, as_json
from galahstream.learn.metrics import LabelMetrics
from tests.conftest import Pair

COMMAND = (sys.executable, "-m", "galahstream")
ROOT = Path(__file__).parents[2]


def run_shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command in which ``$GS`` stands for galahstream."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "GS": " ".join(COMMAND), **variables
    }  # fmt: skip
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True, text=True, check=False, cwd=folder, env=environment,
        errors="surrogateescape",
    )  # fmt: skip


@pytest.fixture
def folder(pair: Pair, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return a folder with a store of the pair, named `store`."""
    assert main(["convert", str(pair.folder), str(pair.folder.parent / "store")]) == 0
    capsys.readouterr()
    return pair.folder.parent


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["info store", "info store --json", "convert --help"])
def test_a_reader_that_went_away_is_no_error(folder: Path, arguments: str) -> None:
    done = run_shell(f"(sleep 0.2; $GS {arguments}) | true", folder)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE_STATUS, "")
    done = run_shell(f"$GS {arguments} | head -1", folder)
    assert done.returncode in (0, BROKEN_PIPE_STATUS)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", ["info store", "convert --help", "--version"])
def test_a_full_disk_is_named_in_one_line(folder: Path, arguments: str) -> None:
    done = run_shell(f"$GS {arguments} > /dev/full", folder)
    assert done.returncode == 1
    assert done.stderr == (
        "galahstream: cannot write to standard output: No space left on device\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_without_a_character_fails_nothing(folder: Path, encoding: str) -> None:
    np.save(folder / "wavelength.npy", np.arange(64) + 5000.0)
    options = "--wavelength wavelength.npy --labels 'a,b,c,d,teff,logg,fe_h,σ[☉]'"
    done = run_shell(f"$GS convert raw other {options}", folder, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u03c3" in done.stdout
    assert "5063.00 " in done.stdout
    assert (folder / "other").is_dir()
    done = run_shell("$GS train --help", folder, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_name_that_is_not_text_fails_nothing(folder: Path) -> None:
    (folder / "store").rename(folder / os.fsdecode(b"\xff"))
    done = run_shell("$GS info $'\\xff'", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "60 stars" in done.stdout


@pytest.mark.slow
def test_closed_outputs_fail_nothing(folder: Path) -> None:
    assert run_shell("$GS info store >&-", folder).returncode == 0
    done = run_shell("$GS info nowhere 2>&-", folder)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.slow
def test_a_run_outlives_the_reader_of_its_progress(folder: Path) -> None:
    command = "$GS train store --epochs 1 --device cpu --out run 2> >(exit 0) > out"
    assert run_shell(command, folder).returncode == 0
    assert "RMSE" in (folder / "out").read_text()


def test_json_has_no_number_that_json_does_not_know() -> None:
    label = LabelMetrics("teff", "K", rmse=1.5, mae=1.0, bias=0.5, r2=float("nan"))
    data = {"labels": {"teff": vars(label)}, "range": (math.inf, 1.0), "text": "Å"}
    text = as_json(data)
    loaded = json.loads(text, parse_constant=pytest.fail)
    assert loaded["labels"]["teff"]["r2"] is None
    assert loaded["labels"]["teff"]["rmse"] == 1.5
    assert loaded["range"] == [None, 1.0]
    assert text.isascii()
