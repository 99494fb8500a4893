"""The tables of the documents are made from kept results of one version of the code."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.machine import UNKNOWN, Code
from benchmarks.protocol import Result, ratio
from benchmarks.report import RESULTS, as_text, load_result, publish
from benchmarks.tables import MixedResultsError, write_tables
from benchmarks.throughput import BEST, PUBLISHED

MARKED = "before\n<!-- benchmarks: begin -->\nold\n<!-- benchmarks: end -->\nafter\n"
FIGURES = {BEST: [2.0, 3.0], PUBLISHED: [1.0, 1.0]}
RESULT = Result(
    "throughput", "Title", "spectra/s", FIGURES, [ratio(FIGURES, BEST, PUBLISHED, 2)], {},
    code=Code("a" * 40, is_clean=True),
)  # fmt: skip


def documents(folder: Path) -> tuple[Path, Path]:
    readme, performance = folder / "README.md", folder / "performance.md"
    readme.write_text(MARKED)
    performance.write_text(MARKED)
    return readme, performance


@pytest.mark.slow
def test_a_result_is_kept_and_read_again(tmp_path: Path) -> None:
    path = publish(RESULT, tmp_path)
    loaded = load_result(path)
    assert as_text(loaded) == as_text(RESULT)
    assert (loaded.machine, loaded.code) == (RESULT.machine, RESULT.code)
    assert loaded.ratios[0].goal == 2


@pytest.mark.slow
def test_the_tables_are_made_from_the_kept_results(tmp_path: Path) -> None:
    publish(RESULT, tmp_path)
    readme, performance = documents(tmp_path)
    write_tables(tmp_path, readme, performance)
    text = performance.read_text()
    assert f"| Title: {BEST} | {PUBLISHED} | 2.5 (2 to 3) | 2, reached |" in text
    assert "commit aaaaaaaaaa." in text
    text = readme.read_text()
    assert "| the published script, everything in memory | 2.5 times as fast (2 to 3) |" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="lacks"):
        write_tables(tmp_path, readme, performance)


@pytest.mark.slow
def test_no_table_mixes_results_of_different_code(tmp_path: Path) -> None:
    publish(RESULT, tmp_path)
    publish(replace(RESULT, benchmark="cold", code=Code("b" * 40, is_clean=True)), tmp_path)
    publish(replace(RESULT, benchmark="peers", code=Code("a" * 40, is_clean=False)), tmp_path)
    readme, performance = documents(tmp_path)
    with pytest.raises(MixedResultsError) as caught:
        write_tables(tmp_path, readme, performance)
    message = str(caught.value)
    assert "cold.json at commit bbbbbbbbbb;" in message
    assert "peers.json at commit aaaaaaaaaa with uncommitted changes;" in message
    assert "throughput.json at commit aaaaaaaaaa;" in message
    assert readme.read_text() == MARKED


def test_no_results_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no results"):
        write_tables(tmp_path, *documents(tmp_path))


def test_the_kept_results_can_be_read() -> None:
    for path in RESULTS.glob("*.json"):
        assert load_result(path).benchmark == path.stem


def test_the_commit_is_the_last_that_changed_code(tmp_path: Path) -> None:
    assert Code.current(tmp_path) == Code(UNKNOWN, is_clean=False)

    def git(*arguments: str) -> str:
        settings = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *settings, *arguments],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    (tmp_path / "galahstream").mkdir()
    module = tmp_path / "galahstream" / "module.py"
    module.write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "code")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "README.md").write_text("text")
    git("add", ".")
    git("commit", "-qm", "text")
    assert Code.current(tmp_path) == Code(commit, is_clean=True)
    module.write_text("2")
    assert Code.current(tmp_path) == Code(commit, is_clean=False)
