"""Open and read malformed files of every kind in child processes with limits.

``python -m tests.faults.fuzz --seconds 600`` prints the outcomes. A file
may be read or rejected; an exception of another class, a crash, more than a
gigabyte or more than ten seconds is a finding, and its file is kept.
"""

import argparse
import importlib.util
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import torch

from galahstream.conversion.convert import convert
from galahstream.errors import GalahStreamError
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.recipe import Recipe
from galahstream.learn.trained_model import TrainedModel, load_model, save_model
from galahstream.sources.open import open_source
from galahstream.store import open_store
from galahstream.store.manifest import signed
from tests.conftest import make_pair

_MOST_BYTES = 1024**3
_MOST_SECONDS = 10
_EACH = 40  # cases of one child process
VALUES: list[Any] = [0, -1, 1, 2, 10**12, 2**31, 2**63, 2**64, 10**4000, 1e308, -0.5, True, None]
VALUES += ["", "x" * 5000, "../../etc/passwd", "\x00", "float32", [], {}, [[[[]]]], {"a": {"b": 1}}]


def _read_store(path: Path) -> None:
    with open_store(path) as store:
        store.info()
        store.verify()
        _ = store.flux[:3]
        if store.error is not None:
            _ = store.error[:3]


def _read_source(path: Path) -> None:
    source = open_source(path)
    source.read_labels()
    for number, _ in enumerate(source.iter_blocks(16)):
        if number == 8:
            break


def _read_model(path: Path) -> None:
    model = load_model(path)
    model(torch.zeros(2, model.n_pixels))


class Kind:
    """One kind of file: a valid one, its reader, and how it is malformed."""

    def __init__(
        self, path: Path, file: Path, read: Callable[[Path], None], spoil: Any = None
    ) -> None:
        self.path, self.file, self.read = path, file, read
        self.good = file.read_bytes()
        self._spoil = spoil or mutated

    def spoilt(self, generator: np.random.Generator) -> bytes:
        """Return a malformed file."""
        return bytes(self._spoil(self.good, generator))


def kinds(folder: Path) -> dict[str, Kind]:
    """Create valid files of every kind in a folder."""
    made = make_pair(folder / "raw", 20, 16)
    pair = made.folder
    npy = convert(pair, folder / "store", progress=False).path
    errors = convert(made.with_errors, folder / "errors", progress=False).path
    hdf5 = convert(pair, folder / "store.h5", format="hdf5", progress=False).path
    gzip = convert(pair, folder / "gzip.h5", format="hdf5", compression="gzip", progress=False).path
    with h5py.File(folder / "source.h5", "w") as file:
        file["spectra"] = np.load(pair / "spectra.npy")
        file["teff"] = np.arange(20.0)
        file.create_dataset("ids", data=np.arange(20), chunks=(7,), compression="gzip")
    numbers = (1.0, 2.0, 3.0)
    recipe = Recipe(
        16, ("a", "b", "c"), ("K", "", ""), numbers, numbers, 0.2, 1.0, None, None, "0", 42
    )
    save_model(TrainedModel(SpectraCNN(16, 3), recipe), folder / "model.pt")
    files = {
        "store npy, manifest": Kind(npy, npy / "manifest.json", _read_store),
        "store npy, claims": Kind(npy, npy / "manifest.json", _read_store, other_claims),
        "store npy, flux": Kind(npy, npy / "flux.npy", _read_store),
        "store npy, labels": Kind(npy, npy / "labels.npy", _read_store, other_header),
        "store npy, errors": Kind(errors, errors / "error.npy", _read_store),
        "store npy, error claims": Kind(
            errors, errors / "manifest.json", _read_store, other_claims
        ),
        "store hdf5": Kind(hdf5, hdf5, _read_store),
        "store hdf5, gzip": Kind(gzip, gzip, _read_store),
        "source npy": Kind(pair, pair / "spectra.npy", _read_source),
        "source npy, header": Kind(pair, pair / "spectra.npy", _read_source, other_header),
        "source npy, labels": Kind(pair, pair / "labels.npy", _read_source, other_header),
        "source hdf5": Kind(folder / "source.h5", folder / "source.h5", _read_source),
        "model": Kind(folder / "model.pt", folder / "model.pt", _read_model),
        "model, recipe": Kind(folder / "model.pt", folder / "model.pt", _read_model, other_recipe),
    }
    if importlib.util.find_spec("astropy"):
        stars = _fits_stars(folder / "stars")
        first = min(stars.iterdir())
        files["source fits"] = Kind(stars, first, _read_source)
    if importlib.util.find_spec("pyarrow"):
        table = _parquet_table(folder / "survey.parquet", np.load(pair / "spectra.npy"))
        files["source parquet"] = Kind(table, table, _read_source)
    return files


def _parquet_table(path: Path, flux: Any) -> Path:
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    grids = np.tile(np.arange(1.0, flux.shape[1] + 1), (len(flux), 1))
    spectrum = arrow.StructArray.from_arrays(
        [arrow.array(list(flux)), arrow.array(list(grids))], names=["flux", "lambda"]
    )
    table = {"spectrum": spectrum, "teff": np.arange(20.0), "object_id": np.arange(20)}
    parquet.write_table(arrow.table(table), path, row_group_size=7)
    return path


def mutated(good: bytes, generator: np.random.Generator) -> bytes:
    """Flip, overwrite, delete, repeat or truncate bytes of a file, a few times."""
    data = bytearray(good)
    for _ in range(int(generator.integers(1, 6))):
        # Most of what can go wrong is at the beginning of a file.
        span = len(data) if generator.random() < 0.5 else min(len(data), 512)
        place = int(generator.integers(max(span, 1)))
        size = int(generator.integers(1, 17))
        change = int(generator.integers(6))
        if change == 0 and data:
            data[place] ^= 1 << int(generator.integers(8))
        elif change == 1:
            data[place : place + size] = generator.bytes(size)
        elif change == 2:
            data[place : place + size] = bytes([int(generator.choice([0, 255, 127]))]) * size
        elif change == 3:
            data[place:place] = data[place : place + size]
        elif change == 4:
            del data[place : place + size]
        elif generator.random() < 0.3:
            del data[place:]
    return bytes(data)


def other_claims(good: bytes, generator: np.random.Generator) -> bytes:
    """Put unusual values into a manifest, with the digest that fits them."""
    body = json.loads(good)
    body.pop("digest")
    for _ in range(int(generator.integers(1, 3))):
        _spoil_one(body, generator)
    try:
        return signed(body).encode()
    except (ValueError, TypeError):
        return b"[" * 100_000


def other_header(good: bytes, generator: np.random.Generator) -> bytes:
    """Replace the header of a .npy file."""
    kinds_of = ["<f4", ">f8", "|O", "<U9", "|b1", "<c16", "<f2", "|V8", "<M8[s]", "f4,i8", "<i8", 3]
    shapes = [(20, 16), (10**12, 16), (-1, 16), (2**62, 4), (0, 0), (), (20,), (20, 16, 1), "ab"]
    fields = {
        "descr": kinds_of[int(generator.integers(len(kinds_of)))],
        "fortran_order": bool(generator.integers(2)),
        "shape": shapes[int(generator.integers(len(shapes)))],
    }
    if generator.random() < 0.2:
        fields["more"] = VALUES[int(generator.integers(5))]
    text = f"{fields!r}\n".encode()
    if generator.random() < 0.1:
        text = b"(" * 5000 + b"\n"
    version = int(generator.integers(1, 5))
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + good[128 : 128 + 2000]


def other_recipe(good: bytes, generator: np.random.Generator) -> bytes:
    """Put unusual values into a saved model."""
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        Path(file.name).write_bytes(good)
        content = torch.load(file.name, weights_only=True)
        target = content["recipe"] if generator.random() < 0.7 else content
        _spoil_one(target, generator)
        if generator.random() < 0.2:
            content["weights"] = {"features.0.weight": torch.zeros(1).expand(10**9)}
        torch.save(content, file.name)
        return Path(file.name).read_bytes()


def _spoil_one(body: dict[str, Any], generator: np.random.Generator) -> None:
    place: Any = body
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[int(generator.integers(len(keys)))]
        inside = place[key]
        if isinstance(inside, dict | list) and inside and generator.random() < 0.7:
            place = inside
            continue
        if isinstance(place, dict) and generator.random() < 0.15:
            del place[key]
        else:
            place[key] = VALUES[int(generator.integers(len(VALUES)))]
        return


def _fits_stars(folder: Path) -> Path:
    from astropy.io import fits

    folder.mkdir()
    for camera in range(1, 5):
        parts = [fits.PrimaryHDU(), *(fits.ImageHDU(np.ones(4096, np.float32)) for _ in range(4))]
        fits.HDUList(parts).writeto(folder / f"131102002901012{camera}.fits")
    return folder


def run_cases(kind: Kind, first: int, last: int, seed: int, findings: Path) -> Counter[str]:
    """Open cases `first` to `last` of a kind in child processes and count the outcomes."""
    counts: Counter[str] = Counter()
    while first < last:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _open_all(kind, first, last, seed, writing)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            lines = pipe.read().splitlines()
        _, status = os.waitpid(child, 0)
        for line in lines:
            outcome, _, why = line.partition(" ")
            counts[outcome] += 1
            if outcome not in ("read", "rejected"):
                _keep(kind, first, seed, findings, why)
            first += 1
        if first < last:
            what = "time" if os.WTERMSIG(status) == signal.SIGALRM else "crash"
            counts[what] += 1
            _keep(kind, first, seed, findings, f"{what}, status {status}")
            first += 1
    return counts


def _open_all(kind: Kind, first: int, last: int, seed: int, pipe: int) -> None:
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    limit = psutil.Process().memory_info().vms + _MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number in range(first, last):
        kind.file.unlink()
        kind.file.write_bytes(kind.spoilt(np.random.default_rng((seed, number))))
        signal.alarm(_MOST_SECONDS)
        try:
            kind.read(kind.path)
            line = "read"
        except GalahStreamError:
            line = "rejected"
        except MemoryError:
            line = "memory"
        except BaseException as error:
            line = f"exception {type(error).__name__}: {error}".replace("\n", " ")[:300]
        signal.alarm(0)
        os.write(pipe, f"{line}\n".encode())
    os._exit(0)


def _keep(kind: Kind, number: int, seed: int, findings: Path, why: str) -> None:
    findings.mkdir(exist_ok=True, parents=True)
    name = f"{number}-{kind.file.name}"
    (findings / name).write_bytes(kind.spoilt(np.random.default_rng((seed, number))))
    print(f"{findings / name}: {why}", file=sys.stderr)


def main() -> int:
    """Open malformed files for a time; return 1 if any was neither read nor rejected."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="(600)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    parser.add_argument("--findings", type=Path, help="folder for the files of findings")
    options = parser.parse_args()
    findings = options.findings or Path(tempfile.gettempdir()) / "galahstream-findings"
    shutil.rmtree(findings, ignore_errors=True)
    until = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as folder:
        files = kinds(Path(folder))
        counts: dict[str, Counter[str]] = {name: Counter() for name in files}
        first = 0
        while time.monotonic() < until:
            for name, kind in files.items():
                into = findings / name.replace(", ", "-").replace(" ", "-")
                counts[name] += run_cases(kind, first, first + _EACH, options.seed, into)
                kind.file.write_bytes(kind.good)
            first += _EACH
    total: Counter[str] = sum(counts.values(), Counter())
    for name, of_kind in [*counts.items(), ("all", total)]:
        print(f"{name:<24}" + ", ".join(f"{n:,} {what}" for what, n in sorted(of_kind.items())))
    bad = sum(n for what, n in total.items() if what not in ("read", "rejected"))
    print(f"findings: {bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
