import io
import time

import pytest

from galahstream.system.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(10, "converting") as bar:
        bar.update(10)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("enabled", "seconds"), [(False, 2.0), (True, 0.0)])
def test_nothing_is_drawn_for_short_work_or_when_disabled(
    monkeypatch: pytest.MonkeyPatch, enabled: bool, seconds: float
) -> None:
    terminal = _on_terminal(monkeypatch, seconds)
    with progress_bar(10, "converting", enabled=enabled) as bar:
        bar.update(10)
    assert "converting" not in terminal.getvalue()


def test_long_work_shows_description_and_count(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _on_terminal(monkeypatch, 2.0)
    with progress_bar(10, "epoch 1", unit=" batches", initial=4) as bar:
        bar.set_postfix(loss="0.5", refresh=False)
        bar.update(2)
    shown = terminal.getvalue()
    assert "epoch 1" in shown
    assert "6/10" in shown
    assert "loss=0.5" in shown


def _on_terminal(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Terminal:
    """Replace stderr by a terminal, and the clock by one that advances with every call."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    now = [time.time()]

    def clock() -> float:
        now[0] += seconds
        return now[0]

    monkeypatch.setattr("tqdm.std.time", clock)
    return terminal
