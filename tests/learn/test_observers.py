"""What the observers of a run write."""

from pathlib import Path

from galahstream.learn.observers.tensorboard import EventWriter
from galahstream.learn.run import RunFolder


def test_the_events_of_a_resumed_run_sort_behind_those_it_continues(tmp_path: Path) -> None:
    for first_epoch in (None, 1):
        EventWriter(RunFolder(tmp_path), first_epoch).close()
    seconds = [int(path.name.split(".")[3]) for path in sorted(tmp_path.iterdir())]
    assert len(set(seconds)) == 2
