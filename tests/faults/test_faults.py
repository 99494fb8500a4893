import json
import subprocess
import sys
from pathlib import Path


def test_a_conversion_cut_at_any_file_call_goes_on_to_the_same_bytes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.interrupted", "--every", "11", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    for counts in json.loads(done.stdout).values():
        assert counts["points"] > 50
        assert counts["killed"] > 20
        assert counts["went on"] > 20
        assert "wrong" not in counts


def test_no_damage_is_silent() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.damage", "--flips", "80", "--cuts", "20", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["flips"] == 400
    assert counts["truncations"] == 100
    assert counts["found before its batch"] > 20
    assert counts["refused at open"] > 100
    assert "silent" not in counts


def test_random_faults_end_well() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.soak", "--seconds", "8", "--seed", "5"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert " 0 wrong" in done.stdout


def test_malformed_files_are_read_or_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.fuzz", "--seconds", "8", "--seed", "3"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "findings: 0" in done.stdout
