"""Interrupt conversions by a fault at every file call, and then start them again.

``python -m tests.faults.interrupted`` prints their number and outcomes.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from galahstream.conversion.convert import convert
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.run import convert_with
from galahstream.errors import DestinationExistsError
from galahstream.sources.base import Source
from tests.conftest import Pair, make_pair
from tests.faults.shim import FAULTS, Shim

KINDS: dict[str, dict[str, Any]] = {
    "npy": {"format": "npy"},
    "hdf5": {"format": "hdf5", "dtype": "uint16", "flux_range": (-1.0, 3.0)},
    "hdf5 in chunks": {"format": "hdf5", "chunk_rows": 7},
    "npy with errors": {"format": "npy"},
    "hdf5 with errors": {"format": "hdf5", "chunk_rows": 7},
}
_STARS, _PIXELS, _BLOCK_ROWS = 60, 64, 5


def source_of(pair: Pair, kind: str) -> Source | Path:
    """Return what a kind of store is made of."""
    return pair.with_errors if kind.endswith("with errors") else pair.folder


def contents(path: Path) -> dict[str, bytes]:
    """Return the bytes of a file, or of all files of a folder."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def in_a_child(work: Any, point: int, fault: str) -> tuple[str, int]:
    """Run `work` in a fork with a shim; return how it ended, and its number of file calls."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        shim = Shim(point, fault)
        shim.install()
        try:
            work()
            ended = "done"
        except OSError:
            ended = "raised an OSError"
        except BaseException as error:
            ended = f"raised {type(error).__name__}: {error}"
        with open(writing, "wb", closefd=False) as pipe:
            pipe.write(json.dumps([ended, shim.count]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    ended, count = json.loads(text) if text else ("killed", 0)
    return str(ended), int(count)


def run(folder: Path, kind: str, every: int = 1) -> Counter[str]:
    """Interrupt conversions of one kind at each `every`-th file call; return counts.

    ``wrong`` counts what must not happen: other bytes, an incomplete store under the
    final name, a file left over, an exception other than `OSError`.
    """
    pair = make_pair(folder / "raw", _STARS, _PIXELS)
    other = make_pair(folder / "other", _STARS, _PIXELS, seed=1)
    options = {**KINDS[kind], "progress": False}
    with convert(source_of(pair, kind), folder / "complete", **options) as store:
        complete = contents(store.path)
    with convert(source_of(other, kind), folder / "older", **options) as store:
        older = contents(store.path)
    counts: Counter[str] = Counter({"wrong": 0})
    for overwrite in (False, True):
        home = folder / "home"
        dest = home / "store"

        def work(jobs: int, dest: Path = dest, overwrite: bool = overwrite) -> None:
            in_blocks = ConvertOptions(
                jobs=jobs,
                overwrite=overwrite,
                block_bytes=4 * _PIXELS * _BLOCK_ROWS,
                **options,
            )
            convert_with(source_of(pair, kind), dest, in_blocks).close()

        def fresh(home: Path = home, overwrite: bool = overwrite) -> None:
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            if overwrite:
                copy = shutil.copytree if (folder / "older").is_dir() else shutil.copy
                copy(folder / "older", home / "store")

        fresh()
        _, n_calls = in_a_child(lambda: work(1), 0, "")
        for point in range(1, n_calls + 1, every):
            for fault in FAULTS:
                fresh()
                jobs = 1 + (point + len(fault)) % 2
                ended, _ = in_a_child(lambda jobs=jobs: work(jobs), point, fault)
                counts["points"] += 1
                counts[ended if ended in ("killed", "raised an OSError", "done") else "wrong"] += 1
                published = contents(dest) if dest.exists() else None
                allowed = [None, complete, older] if overwrite else [None, complete]
                if published not in allowed:
                    counts["wrong"] += 1
                    print(
                        kind,
                        overwrite,
                        point,
                        fault,
                        ended,
                        "an incomplete store was published",
                        file=sys.stderr,
                    )
                counts["resumed"] += _will_resume(home)
                try:
                    work(2)
                except DestinationExistsError:
                    counts["published before it was cut"] += 1
                left = [path.name for path in home.iterdir() if path != dest]
                if not dest.exists() or contents(dest) != complete or left:
                    counts["wrong"] += 1
                    print(kind, overwrite, point, fault, ended, left, file=sys.stderr)
    return counts


def _will_resume(home: Path) -> int:
    journals = list(home.glob(".*.partial/journal"))
    return int(bool(journals) and len(journals[0].read_text().splitlines()) > 1)


def main() -> int:
    """Print the counts of each kind of store; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="interrupt at each N-th file call (1)"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    counts = {}
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            counts[kind] = run(Path(folder), kind, options.every)
        if not options.json:
            print(f"{kind}: " + ", ".join(f"{n:,} {name}" for name, n in counts[kind].items()))
    if options.json:
        print(json.dumps(counts))
    return 1 if any(of_kind["wrong"] for of_kind in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
