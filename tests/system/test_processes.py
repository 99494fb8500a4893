import os
import threading
from collections.abc import Callable

import pytest

from galahstream.system.processes import PerProcess, safe_start_method


def run_in_fork(function: Callable[[], bool]) -> bool:
    """Return what a function gives in a forked child."""
    child = os.fork()
    if child == 0:
        os._exit(0 if function() else 1)
    return os.waitpid(child, 0)[1] == 0


def test_worker_processes_are_not_forked() -> None:
    assert safe_start_method() in ("forkserver", "spawn")


def test_a_value_is_made_once() -> None:
    value: PerProcess[object] = PerProcess()
    assert value.peek() is None
    first = value.get(object)
    assert value.get(object) is first
    assert value.peek() is first


def test_a_value_that_was_popped_is_made_again() -> None:
    value: PerProcess[object] = PerProcess()
    first = value.get(object)
    assert value.pop() is first
    assert value.pop() is None
    assert value.get(object) is not first


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_makes_its_own_value() -> None:
    value: PerProcess[int] = PerProcess()
    value.get(os.getpid)

    def is_own() -> bool:
        return value.peek() is None and value.pop() is None and value.get(os.getpid) == os.getpid()

    assert run_in_fork(is_own)
    assert value.peek() == os.getpid()


def test_threads_share_a_value() -> None:
    value: PerProcess[object] = PerProcess()
    first = value.get(object)
    values: list[object] = []
    thread = threading.Thread(target=lambda: values.append(value.get(object)))
    thread.start()
    thread.join()
    assert values == [first]
