"""Short runs of the programs behind ``make faults``, ``damage``, ``fuzz`` and ``soak``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults


def printed(program: str, *arguments: str) -> str:
    """Run a program of this folder, which must find nothing wrong, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.faults.{program}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_a_conversion_cut_at_any_file_call_resumes_to_the_same_bytes() -> None:
    for counts in json.loads(printed("interrupted", "--every", "19", "--json")).values():
        assert counts["points"] > 50
        assert counts["killed"] > 20
        assert counts["resumed"] > 20
        assert counts["wrong"] == 0


def test_no_damage_is_silent() -> None:
    counts = json.loads(printed("damage", "--flips", "80", "--cuts", "20", "--json"))
    assert counts["flips"] == 560
    assert counts["truncations"] == 140
    assert counts["found before its batch"] > 20
    assert counts["rejected at open"] > 100
    assert "silent" not in counts


def test_malformed_files_are_read_or_rejected() -> None:
    assert "findings: 0" in printed("fuzz", "--seconds", "4", "--seed", "3")


def test_random_faults_end_well() -> None:
    assert " 0 wrong" in printed("soak", "--seconds", "4", "--seed", "5")
