import os
import signal
import threading
from collections.abc import Iterator

import pytest

from galahstream.system.interrupts import delayed_interrupts


@pytest.fixture(autouse=True)
def _python_handles_interrupts() -> Iterator[None]:
    """A shell's background jobs are started with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_comes_after_the_block() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117  the outer block must catch it
        with delayed_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("first")
            steps.append("second")
    assert steps == ["first", "second"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_the_block_restores_the_handler() -> None:
    with pytest.raises(ValueError, match="in the block"), delayed_interrupts():
        raise ValueError("in the block")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_and_ignored_interrupts_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handlers = []

    def block() -> None:
        with delayed_interrupts():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        block()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert handlers == [signal.default_int_handler, signal.SIG_IGN]
