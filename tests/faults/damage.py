"""Damage stores: flip single bits, truncate files.

``python -m tests.faults.damage`` prints the number of damages and where each was found.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from galahstream.conversion.convert import convert
from galahstream.errors import GalahStreamError
from galahstream.store import open_store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader
from tests.conftest import make_pair
from tests.faults.interrupted import source_of

KINDS: dict[str, dict[str, Any]] = {
    "npy": {"format": "npy"},
    "npy, 16 bits": {"format": "npy", "dtype": "uint16", "flux_range": (-1.0, 3.0)},
    "hdf5": {"format": "hdf5"},
    "hdf5 in chunks": {"format": "hdf5", "chunk_rows": 7},
    "hdf5, gzip": {"format": "hdf5", "chunk_rows": 7, "compression": "gzip"},
    "npy with errors": {"format": "npy"},
    "hdf5 with errors": {"format": "hdf5"},
}
_STARS, _PIXELS = 60, 64


def batches_of(path: Path) -> Any:
    """Yield what a user gets from a store: its labels and grid, then batch after batch."""
    with open_store(path) as store:
        yield [torch.from_numpy(np.array(array)) for array in (store.wavelength, store.ids)]
        yield [torch.from_numpy(np.array(column)) for column in store.labels.values()]
        has_errors = store.error is not None
        dataset = SpectraDataset(
            store, "all", ["teff", "logg", "fe_h"], return_ids=True, return_error=has_errors
        )
        yield from SpectraLoader(dataset, 4, num_workers=0)


def outcome(path: Path, truth: list[Any]) -> str:
    """Return the outcome of opening and reading a damaged store."""
    number = 0
    try:
        for number, batch in enumerate(batches_of(path)):
            for tensor, expected in zip(batch, truth[number], strict=True):
                if not torch.equal(tensor.nan_to_num(7e7), expected.nan_to_num(7e7)):
                    return "silent"
    except GalahStreamError:
        return "rejected at open" if number == 0 else "found before its batch"
    except Exception as error:
        print(f"{path}: {type(error).__name__}: {error}", file=sys.stderr)
        return "another exception"
    return "changed nothing"


def run(folder: Path, kind: str, flips: int, cuts: int, seed: int) -> Counter[str]:
    """Damage a store of one kind, one damage at a time, and count the outcomes."""
    generator = np.random.default_rng(seed)
    pair = make_pair(folder / "raw", _STARS, _PIXELS)
    path = convert(source_of(pair, kind), folder / "store", progress=False, **KINDS[kind]).path
    truth = list(batches_of(path))
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    counts: Counter[str] = Counter()
    for number in range(flips + cuts):
        file = files[number % len(files)]
        intact = file.read_bytes()
        offset = int(generator.integers(len(intact)))
        file.unlink()  # HDF5 would use its cache of a file that is still open
        if number < flips:
            damaged = bytearray(intact)
            damaged[offset] ^= 1 << int(generator.integers(8))
            file.write_bytes(damaged)
        else:
            file.write_bytes(intact[:offset])
        counts["flips" if number < flips else "truncations"] += 1
        counts[outcome(path, truth)] += 1
        file.unlink()
        file.write_bytes(intact)
    return counts


def main() -> int:
    """Print the counts per kind of store; return 1 if a damage was silent or badly reported."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=600, help="bit flips per kind (600)")
    parser.add_argument("--cuts", type=int, default=150, help="truncations per kind (150)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    total: Counter[str] = Counter({"silent": 0, "another exception": 0})
    for number, kind in enumerate(KINDS):
        with tempfile.TemporaryDirectory() as folder:
            counts = run(Path(folder), kind, options.flips, options.cuts, options.seed + number)
        total += counts
        if not options.json:
            print(f"{kind}: " + ", ".join(f"{n:,} {name}" for name, n in counts.items()))
    wrong = total["silent"] + total["another exception"]
    print(json.dumps(total) if options.json else f"silent: {total['silent']}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
