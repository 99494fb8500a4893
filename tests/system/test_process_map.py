"""Work in processes: in order, with few items ahead, and no process left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from galahstream.errors import SourceFormatError, WorkerError
from galahstream.system.process_map import ordered_process_map

pytestmark = pytest.mark.slow

# Enough of the module that starts processes to be run as a script.
SCRIPT = """
import itertools, sys, time
from galahstream.system.process_map import ordered_process_map

if __name__ == "__main__":
    for pid in ordered_process_map({work}, itertools.repeat(0.01), 2):
        print(pid, flush=True)
"""


def square(value: int) -> int:
    if value % 3 == 0:
        time.sleep(0.01)
    return value * value


def fail_at_seven(value: int) -> int:
    if value == 7:
        msg = "seven.fits is empty"
        raise SourceFormatError(msg)
    return value


def kill_at_seven(value: int) -> int:
    if value == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment whose Python finds the modules in a folder, and this library."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(folder)])}


def children() -> set[int]:
    """Return the processes of this one, without those that serve to start others."""
    names = ("forkserver", "resource_tracker")
    return {
        child.pid
        for child in psutil.Process().children(recursive=True)
        if not any(name in " ".join(child.cmdline()) for name in names)
    }


def test_results_come_in_order_and_few_items_are_ahead() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(1, 31):
            taken = item
            yield item

    for count, result in enumerate(ordered_process_map(square, items(), 2), 1):
        assert result == count**2
        assert taken <= count + 3
    assert count == 30


def test_an_error_of_the_work_is_raised_at_its_item() -> None:
    results = ordered_process_map(fail_at_seven, iter(range(30)), 2)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(SourceFormatError, match=r"seven\.fits is empty"):
        next(results)


def test_a_process_that_is_killed_is_an_error_that_says_so() -> None:
    with pytest.raises(WorkerError, match=r"killed.*memory.*--jobs"):
        list(ordered_process_map(kill_at_seven, iter(range(30)), 2))


def test_processes_end_with_an_iteration_that_is_left() -> None:
    before = children()
    results = ordered_process_map(square, iter(range(1000)), 2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert children() <= before | {os.getpid()}


def test_processes_import_neither_torch_nor_matplotlib(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(
        "import sys\n\ndef heavy(_):\n    return sorted({'torch', 'matplotlib'} & {*sys.modules})\n"
    )
    script = tmp_path / "script.py"  # the processes of pytest's are started with torch in them
    script.write_text(
        "import work\nfrom galahstream.system.process_map import ordered_process_map\n\n"
        "if __name__ == '__main__':\n"
        "    import torch\n"
        "    print(list(ordered_process_map(work.heavy, iter(range(2)), 1)))\n"
    )
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=_environment(tmp_path)
    )
    assert run.stdout == "[[], []]\n", run.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_one_that_started_it(tmp_path: Path, number: int) -> None:
    script = tmp_path / "script.py"
    (tmp_path / "work.py").write_text(
        "import os, time\n\ndef pid(seconds):\n    time.sleep(seconds)\n    return os.getpid()\n"
    )
    script.write_text("import work\n" + SCRIPT.format(work="work.pid"))
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=_environment(tmp_path),
    )
    assert parent.stdout is not None
    workers = {int(parent.stdout.readline()) for _ in range(20)}
    parent.send_signal(number)
    parent.stdout.close()
    parent.wait(20)
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
