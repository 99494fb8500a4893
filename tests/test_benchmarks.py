import json
import subprocess
import sys
from pathlib import Path

from galahstream.store import Store


def test_the_baseline_delivers_ten_epochs_and_ends_in_json(npy_store: Store) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "baseline", str(npy_store.path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    results = json.loads(done.stdout.splitlines()[-1])
    assert [row["workers"] for row in results] == [0, 2]
    assert all(row["spectra"] == 10 * (42 + 9) for row in results)
