"""Run converter and loader with random faults.

``python -m tests.faults.soak --seconds 600`` prints the faults and their outcomes.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from galahstream.conversion.convert import convert
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.run import convert_with
from galahstream.errors import DamagedRowError, StoreChangedError, WorkerError
from galahstream.store import open_store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader
from tests.conftest import make_pair
from tests.faults.interrupted import KINDS, contents, in_a_child, source_of
from tests.faults.shim import FAULTS

_STARS, _PIXELS, _BLOCK_ROWS = 90, 64, 5
_MOST_CALLS = 160
_JOIN_TIMEOUT_S = 10.0  # seconds until a lost worker must have become an error


class Soak:
    """Sources, intact stores, and the scenes that are played with them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.generator = np.random.default_rng(seed)
        self.pair = make_pair(folder / "raw", _STARS, _PIXELS)
        self.stores = {}
        for number, (kind, options) in enumerate(KINDS.items()):
            source = source_of(self.pair, kind)
            with convert(source, folder / str(number), progress=False, **options) as made:
                self.stores[kind] = made.path
        self.counts: Counter[str] = Counter()

    @property
    def scenes(self) -> list[Callable[[], str]]:
        """The scenes; each returns its outcome, and fails by raising."""
        return [self.conversion, self.killed_worker, self.raising_transform, self.changed_file,
                self.damaged_row, self.resumed_epoch]  # fmt: skip

    def play(self) -> None:
        """Play one scene."""
        scene = self._choose(self.scenes)
        try:
            self.counts[f"{scene.__name__}: {scene()}"] += 1
        except Exception as error:
            self.counts["wrong"] += 1
            print(f"{scene.__name__}: {type(error).__name__}: {error}", file=sys.stderr)

    def conversion(self) -> str:
        """Interrupt a conversion, several times, and start it again until it is done."""
        kind = self._choose(list(KINDS))
        home = self.folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        ended, times = "", 0
        while ended != "done":
            times += 1
            jobs = int(self.generator.integers(1, 4))

            def work(jobs: int = jobs) -> None:
                signal.alarm(60)
                options = ConvertOptions(
                    jobs=jobs,
                    overwrite=True,
                    progress=False,
                    block_bytes=4 * _PIXELS * _BLOCK_ROWS,
                    **KINDS[kind],
                )
                convert_with(source_of(self.pair, kind), home / "store", options).close()

            point = int(self.generator.integers(1, _MOST_CALLS))
            ended, _ = in_a_child(work, point, self._choose(list(FAULTS)))
            assert ended in ("done", "raised an OSError", "killed"), ended
            if (home / "store").exists():
                assert contents(home / "store") == contents(self.stores[kind])
        return f"complete after {'one run' if times == 1 else 'several runs'}"

    def killed_worker(self) -> str:
        """Kill a worker process in mid-epoch, and resume with other workers."""
        dataset = self._dataset()
        expected, seen = self._sequence(dataset), []
        loader = SpectraLoader(dataset, 4, shuffle=True, worker_type="process", prefetch_factor=1)
        asked = time.monotonic()
        try:
            for number, (*_, ids) in enumerate(loader):
                seen += ids.tolist()
                if number == 1:
                    state = loader.state_dict()
                    at_that_time = list(seen)
                    workers = [
                        worker.pid
                        for child in psutil.Process().children()
                        for worker in child.children()
                    ]
                    os.kill(self._choose(workers), signal.SIGKILL)
                asked = time.monotonic()
            ended = "was not missed"
        except WorkerError:
            assert time.monotonic() - asked < _JOIN_TIMEOUT_S
            ended = "an error"
        finally:
            loader.close()
        with SpectraLoader(dataset, 7, shuffle=True) as others:
            others.load_state_dict(state)
            rest = [star for *_, ids in others for star in ids.tolist()]
        assert at_that_time + rest == expected
        return ended

    def raising_transform(self) -> str:
        """Have a transform raise in a worker thread."""
        bad = int(self.generator.integers(1, 10))

        def transform(flux: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            nonlocal bad
            bad -= 1
            if bad == 0:
                msg = "not today"
                raise RuntimeError(msg)
            return np.nan_to_num(flux)

        dataset = SpectraDataset(self._choose(list(self.stores.values())), transform=transform)
        with SpectraLoader(dataset, 5, shuffle=True) as loader:
            try:
                for _ in loader:
                    pass
            except RuntimeError as error:
                return "an error" if "batch" not in error.__notes__[0] else "an error with batch"
        msg = "the transform's error was lost"
        raise AssertionError(msg)

    def changed_file(self) -> str:
        """Write to, cut or replace flux or errors of an open store, which are read with pread."""
        path = self._copy()
        with open_store(path, reading="pread") as store:
            name = self._choose(list(store.spectra))
            file = path / f"{name}.npy" if path.is_dir() else path
            dataset = SpectraDataset(store, return_error=store.error is not None)
            with SpectraLoader(dataset, 3, shuffle=True, prefetch_factor=1) as loader:
                try:
                    for number, _ in enumerate(loader):
                        if number == 2:
                            self._change(file)
                except StoreChangedError:
                    return "an error"
        msg = "the change was not noticed"
        raise AssertionError(msg)

    def damaged_row(self) -> str:
        """Flip one bit of one row of flux or errors."""
        path = self._copy()
        with open_store(path, verify="open") as store:
            row = int(self.generator.integers(len(store)))
            array = store.spectra[self._choose(list(store.spectra))]
            file, _, span = array.locate(row).rpartition(", bytes ")
            data = bytearray(Path(file).read_bytes())
            first, last = (int(part) for part in span.split(" to "))
            data[int(self.generator.integers(first, last + 1))] ^= 1
            Path(file).write_bytes(data)
            has_errors = store.error is not None
        dataset = SpectraDataset(path, "all", return_ids=True, return_error=has_errors)
        star = dataset.store.ids[row]
        with SpectraLoader(dataset, 6, shuffle=True, prefetch_factor=1) as loader:
            try:
                for *_, ids in loader:
                    assert star not in ids.tolist()
            except DamagedRowError as error:
                named = f"row {row} (star {star})" in str(error)
                return "an error that names the row" if named else "an error without row"
        msg = f"row {row} was handed out"
        raise AssertionError(msg)

    def resumed_epoch(self) -> str:
        """Cut an epoch at random places, and resume with other batches, workers and ranks."""
        dataset = self._dataset()
        expected, state = self._sequence(dataset), None
        seen: list[int] = []
        while len(seen) < len(expected):
            ranks = min(int(self.generator.integers(1, 4)), len(expected) - len(seen))
            size, workers = int(self.generator.integers(1, 20)), int(self.generator.integers(3))
            loaders = [
                SpectraLoader(dataset, size, True, num_workers=workers, rank=rank, world_size=ranks)
                for rank in range(ranks)
            ]
            for loader in loaders:
                if state is not None:
                    loader.load_state_dict(state)
            until = int(self.generator.integers(1, 6))
            for number, batches in enumerate(zip(*loaders, strict=True)):
                seen += [star for batch in batches for star in batch[-1].tolist()]
                state = loaders[0].state_dict()
                if number == until:
                    break
            for loader in loaders:
                loader.close()
        assert seen == expected
        return "the uncut sequence"

    def _choose(self, things: list[Any]) -> Any:
        return things[int(self.generator.integers(len(things)))]

    def _dataset(self) -> SpectraDataset:
        store = open_store(self._choose(list(self.stores.values())))
        return SpectraDataset(store, return_ids=True, return_error=store.error is not None)

    def _sequence(self, dataset: SpectraDataset) -> list[int]:
        order = SpectraLoader(dataset, shuffle=True).order.rows()
        return [int(star) for star in dataset.ids[order]]

    def _copy(self) -> Path:
        path: Path = self._choose(list(self.stores.values()))
        copy = self.folder / "copy"
        if copy.is_dir():
            shutil.rmtree(copy)
        copy.unlink(missing_ok=True)
        if path.is_dir():
            shutil.copytree(path, copy)
        else:
            shutil.copy(path, copy)
        return copy

    def _change(self, path: Path) -> None:
        change = self._choose(["write", "cut", "replace"])
        if change == "write":
            with path.open("r+b") as file:
                file.seek(-3, os.SEEK_END)
                file.write(b"\x00")
            os.utime(path)
        elif change == "cut":
            os.truncate(path, path.stat().st_size - 4)
        else:
            other = path.with_name("other")
            shutil.copy(path, other)
            other.replace(path)


def main() -> int:
    """Play scenes for a time and print the counts; return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="(600)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), options.seed)
        while time.monotonic() < until:
            soak.play()
    for name, count in sorted(soak.counts.items()):
        print(f"{count:7,} {name}")
    print(f"{sum(soak.counts.values()):7,} scenes, {soak.counts['wrong']} wrong")
    return 1 if soak.counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
