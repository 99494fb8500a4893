"""The benchmarks run on a small survey, and keep what they measured."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ingest, memory, throughput, verification
from benchmarks.__main__ import BENCHMARKS
from benchmarks.disk import evict, read_rows, read_sequentially, resident_pages
from benchmarks.report import publish
from tests.conftest import Pair

ROOT = Path(__file__).parents[2]
EXTRAS = ("numba", "astropy", "fitsio", "pyarrow", "huggingface_hub", "matplotlib")


def skip_where_files_live_in_memory(folder: Path) -> None:
    (folder / "probe").write_bytes(bytes(8192))
    try:
        evict(folder / "probe")
    except RuntimeError as error:
        pytest.skip(f"this file system keeps its files in memory: {error}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("baseline", {}),
        ("throughput", {}),
        ("cold", {"times": 2}),
        ("cold", {}),
        ("verification", {}),
    ],
)
def test_a_benchmark_prints_a_table_and_keeps_json_and_a_picture(
    pair: Pair,
    tmp_path: Path,
    name: str,
    options: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if name in ("cold", "verification"):
        skip_where_files_live_in_memory(tmp_path)
    for module in (throughput, verification):  # seconds of each figure, which are not looked at
        monkeypatch.setattr(module, "MIN_SECONDS", 0.01)
    (tmp_path / "work").mkdir()
    result = BENCHMARKS[name].run(pair.folder, tmp_path / "work", rounds=2, **options)
    path = publish(result, tmp_path / "out", BENCHMARKS[name].draw)
    printed = capsys.readouterr().out
    kept = json.loads(path.read_text())
    assert {len(values) for values in kept["figures"].values()} == {2}
    assert all(figure in printed for figure in kept["figures"])
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    if name == "baseline":
        assert kept["settings"]["spectra"] == 10 * (42 + 9)
        assert min(kept["settings"]["private_mb"].values()) > 50


@pytest.mark.slow
def test_the_command_runs_a_benchmark_and_publishes_its_result(pair: Pair, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "convert", str(pair.folder), "--rounds", "2",
         "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "out" / "convert.json").read_text())
    assert all(figure in done.stdout for figure in kept["figures"])
    assert (tmp_path / "out" / "convert.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_conversion_of_star_files_is_measured_without_fitsio_too(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fitsio", None)
    result = ingest.run(pair.folder, tmp_path, rounds=1, stars=20)
    assert set(result.figures) > {ingest.NATIVE, ingest.PREPARED}
    assert ingest.FITSIO not in result.figures
    assert any(ingest.FITSIO in note and "bench" in note for note in result.notes)
    assert [*result.settings["memory_mb"]] == [10, 20]
    (folder,) = tmp_path.glob("20-*")
    assert len([*folder.rglob("*.fits")]) == 80
    assert len([*folder.iterdir()]) == 20


@pytest.mark.slow
def test_a_store_larger_than_its_cache_is_measured(pair: Pair, tmp_path: Path) -> None:
    skip_where_files_live_in_memory(tmp_path)
    result = memory.run(pair.folder, tmp_path / "work", rounds=1, times=2, seconds=0.1)
    assert set(result.figures) > {memory.PLAIN, memory.GLOBAL_PREAD}
    assert all(len(sizes) == 4 for sizes in result.settings["memory_mb"].values())


def test_a_file_is_evicted_and_read_raw(tmp_path: Path) -> None:
    skip_where_files_live_in_memory(tmp_path)
    path = tmp_path / "file"
    path.write_bytes(bytes(300_000))
    assert resident_pages(path).any()
    evict(path)
    assert not resident_pages(path).any()
    assert read_sequentially(path, 290_000, 4096) == 290_000
    assert read_rows(path, np.arange(3) * 70_000, 70_000, 2) == 3
    assert resident_pages(path).any()


@pytest.mark.slow
def test_the_list_of_benchmarks_needs_no_package_of_an_extra() -> None:
    code = (
        "import runpy, sys; sys.argv = ['benchmarks', '--help'];"
        f"sys.modules.update(dict.fromkeys({EXTRAS}));"
        "runpy.run_module('benchmarks', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "throughput" in done.stdout
