import errno
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from galahstream.errors import LockedError
from galahstream.system.lock import locked


def test_a_second_holder_is_refused_with_host_and_process_of_the_first(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", "store"):
        expected = f"process {os.getpid()} on host {platform.node()}"
        with pytest.raises(LockedError, match=expected), locked(tmp_path / "lock", "store"):
            pass


def test_a_lock_is_released_after_its_block_and_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path / "lock", "store"):
        raise RuntimeError
    with locked(tmp_path / "lock", "store"):
        pass
    assert (tmp_path / "lock").read_text() == ""


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from galahstream.system.lock import locked\n"
        "with locked(Path(sys.argv[1]), 'store'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], check=False)
    assert json.loads((tmp_path / "lock").read_text())[0] == platform.node()
    with locked(tmp_path / "lock", "store"):
        assert json.loads((tmp_path / "lock").read_text()) == [platform.node(), os.getpid()]


def test_the_lock_of_another_host_is_taken_over_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(json.dumps(["elsewhere", 12]))
    with (
        pytest.raises(LockedError, match=r"process 12 on host elsewhere.*--take-over"),
        locked(tmp_path / "lock", "store"),
    ):
        pass
    with locked(tmp_path / "lock", "store", take_over=True):
        pass


@pytest.mark.parametrize("alive", [True, False])
def test_without_file_system_locks_the_process_id_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr("fcntl.flock", no_locks)
    process = os.getppid() if alive else 2**22 + 1
    (tmp_path / "lock").write_text(json.dumps([platform.node(), process]))
    if alive:
        with pytest.raises(LockedError), locked(tmp_path / "lock", "store"):
            pass
    else:
        with locked(tmp_path / "lock", "store"):
            pass


def test_a_half_written_lock_counts_as_released(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text('["elsewh')
    with locked(tmp_path / "lock", "store"):
        pass
