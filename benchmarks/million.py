"""A collection of a million stars whose flux takes no space: opening, order, resume, memory.

The flux files are sparse, 65 GB in name, and are not read.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.protocol import Contenders, Result, interleaved
from galahstream.conversion.collection import merge
from galahstream.conversion.plan import label_columns
from galahstream.store.formats.npy import NpyFormat
from galahstream.store.layout import StoreSpec
from galahstream.store.manifest import Manifest, PixelCounts
from galahstream.store.writer import StoreWriter, array_digests, checked_manifest_size

STARS, MEMBERS, PIXELS = 1_000_000, 200, 16_384
_LABELS = (("teff", "K"), ("logg", "dex"), ("fe_h", "dex"))
_MEASURE = """
import json, sys, time
import psutil
import galahstream as gs
begin = time.perf_counter()
store = gs.open_store(sys.argv[1], reading="mapped")
opened = time.perf_counter()
dataset = gs.SpectraDataset(store)
made = time.perf_counter()
loader = gs.SpectraLoader(dataset, shuffle=True)
loader.order.rows(3)
ordered = time.perf_counter()
state = dict(loader.state_dict(), epoch=3, rows_served=320_000)
again = gs.SpectraLoader(dataset, shuffle=True)
again.load_state_dict(state)
resumed = time.perf_counter()
memory = psutil.Process().memory_full_info()
print(json.dumps({
    "open the store": opened - begin, "make the dataset": made - opened,
    "order of an epoch": ordered - made, "load a state": resumed - ordered,
    "private MB": memory.uss / 1e6,
}))
"""


def run(source: Path, work: Path, rounds: int = 3) -> Result:
    """Measure seconds; `source` is not used."""
    collection = _collection(work)
    kept: list[dict[str, float]] = []

    def measured(_: int) -> float:
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(collection)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        kept.append(json.loads(done.stdout))
        return sum(value for name, value in kept[-1].items() if name != "private MB")

    contenders: Contenders = {"all of it": measured}
    figures = interleaved(contenders, rounds)
    figures |= {name: [one[name] for one in kept] for name in kept[0] if name != "private MB"}
    manifest = (collection / "manifest.json").stat().st_size
    memory = [round(one["private MB"]) for one in kept]
    return Result(
        "million",
        f"A collection of {STARS:,} stars in {MEMBERS} members",
        "s",
        figures,
        [],
        {"stars": STARS, "members": MEMBERS, "private_mb": memory, "manifest_bytes": manifest},
        [
            f"private memory afterwards: {max(memory)} MB, torch included",
            f"size of the manifest: {manifest / 1e3:,.0f} kB",
        ],
    )


def _collection(work: Path) -> Path:
    path, parts = work / "million", work / "million-parts"
    if path.exists():
        return path
    parts.mkdir(parents=True, exist_ok=True)
    size = STARS // MEMBERS
    members = [_member(parts / str(number), number * size, size) for number in range(MEMBERS)]
    begin = time.perf_counter()
    merge(path, members).close()
    print(f"merged in {time.perf_counter() - begin:.1f} s")
    return path


def _member(path: Path, first: int, n_stars: int) -> Path:
    """Write a store whose flux file is a hole."""
    flux = path.with_suffix(".npy")
    np.lib.format.open_memmap(flux, "w+", np.float32, (n_stars, PIXELS)).flush()
    generator = np.random.default_rng(first)
    labels = generator.normal(size=(n_stars, len(_LABELS)))
    sizes = (int(0.7 * n_stars), int(0.15 * n_stars))
    split = np.repeat(np.arange(3, dtype=np.uint8), (*sizes, n_stars - sum(sizes)))
    spec = StoreSpec(n_stars, PIXELS, len(_LABELS), "float32")
    arrays: dict[str, npt.NDArray[Any]] = {
        "labels": labels,
        "wavelength": np.linspace(4713, 7886, PIXELS),
        "ids": np.arange(first, first + n_stars),
        "source_row": np.arange(n_stars),
        "split": split,
        "digests": np.zeros(n_stars, np.uint64),
    }
    manifest = Manifest(
        n_stars=n_stars,
        n_pixels=PIXELS,
        dtype="float32",
        wavelength="given",
        labels=label_columns(_LABELS, labels, split == 0),
        split=(0.7, 0.15, 0.15),
        split_sizes=(*sizes, n_stars - sum(sizes)),
        split_seed=42,
        groups=None,
        pixel_counts=PixelCounts(),
        skipped=(),
        digests=array_digests(arrays, spec),
    )
    n_bytes = checked_manifest_size(manifest, str(path))
    with StoreWriter(path, NpyFormat(), spec, n_bytes, flux) as writer:
        writer.finish(arrays, manifest.to_json())
    flux.unlink()
    return path
