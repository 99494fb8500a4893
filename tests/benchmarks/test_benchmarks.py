"""The benchmarks run, and say what they found in a form that can be kept."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import report
from benchmarks.disk import evict, read_rows, read_sequentially, resident_pages
from benchmarks.protocol import Result, interleaved, ratio
from benchmarks.report import as_text, publish, write_readme_table
from tests.conftest import Pair

ROOT = Path(__file__).parents[2]


def skip_where_files_live_in_memory(folder: Path) -> None:
    (folder / "probe").write_bytes(bytes(8192))
    try:
        evict(folder / "probe")
    except RuntimeError as error:
        pytest.skip(f"this file system keeps its files in memory: {error}")


@pytest.mark.parametrize("name", ["baseline", "throughput", "convert", "cold", "verification"])
def test_a_benchmark_prints_a_table_and_keeps_json_and_a_picture(
    pair: Pair, tmp_path: Path, name: str
) -> None:
    if name in ("cold", "verification"):
        skip_where_files_live_in_memory(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, str(pair.folder), "--rounds", "2",
         "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    assert {len(values) for values in kept["figures"].values()} == {2}
    assert all(figure in done.stdout for figure in kept["figures"])
    assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    if name == "baseline":
        assert kept["settings"]["spectra"] == 10 * (42 + 9)


def test_ratios_are_taken_by_round() -> None:
    figures = interleaved({"a": float, "b": lambda number: 2.0 * number}, rounds=7, warm_up=1)
    assert figures["a"] == [1, 2, 3, 4, 5, 6, 7]
    found = ratio(figures, "b", "a", wanted=2)
    assert (found.low, found.median, found.high, found.verdict) == (2, 2, 2, "reached")


def test_the_interval_leaves_out_what_chance_explains() -> None:
    figures = {"a": [float(value) for value in range(1, 21)], "b": [1.0] * 20}
    found = ratio(figures, "a", "b")
    # Order statistics 6 and 15 of 20 hold the median in 95.9 of 100 cases.
    assert (found.low, found.median, found.high) == (6, 10.5, 15)
    assert ratio(figures, "a", "b", wanted=16).verdict == "not reached"


def test_the_readmes_table_is_made_from_the_kept_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"a": [2.0, 3.0], "b": [1.0, 1.0]}
    result = Result("some", "Title", "s", figures, [ratio(figures, "a", "b", 2)], {})
    publish(result, tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- benchmarks: begin -->\nold\n<!-- benchmarks: end -->\nafter\n")
    monkeypatch.setattr(report, "_README", readme)
    write_readme_table(tmp_path)
    text = readme.read_text()
    assert "| Title: a | b | 2.5 (2 to 3) | 2, reached |" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="lacks"):
        write_readme_table(tmp_path)
    assert "a over b" in as_text(result)


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
