"""The cost of verifying each spectrum on its first read: first epochs against later ones."""

from functools import partial
from pathlib import Path

from benchmarks.disk import evict
from benchmarks.protocol import MIN_SECONDS, ROUNDS, Contenders, Result, interleaved, ratio, timed
from benchmarks.stores import store_of
from benchmarks.throughput import BATCH, bare_kernel
from galahstream.store import Store, open_store
from galahstream.store.store import Verification
from galahstream.store.verified_rows import VerifiedRows
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader


def run(source: Path, work: Path, rounds: int = ROUNDS) -> Result:
    """Measure spectra/s of epochs that verify what they read, warm and cold."""
    contenders: Contenders = {}
    loaders = []
    for dtype in ("float32", "uint16"):
        path = store_of(source, work, f"npy {dtype}")
        dataset = SpectraDataset(open_store(path))
        loader = SpectraLoader(dataset, BATCH, shuffle=True)
        loaders.append(loader)
        contenders[f"kernel, {dtype}"] = partial(bare_kernel, dataset, 2, 1)
        contenders[f"first epoch, {dtype}"] = partial(_epoch, loader, True)
        contenders[f"later epoch, {dtype}"] = partial(_epoch, loader, False)
        # A separate store, because pages of a mapped file cannot be dropped.
        (work / "cold").mkdir(exist_ok=True)
        cold_path = store_of(source, work / "cold", f"npy {dtype}")
        for verify in ("read", "open"):
            contenders[f"cold, verify={verify!r}, {dtype}"] = partial(_cold, cold_path, verify)
    figures = interleaved(contenders, rounds, warm_up=2)
    for loader in loaders:
        loader.close()
    ratios = []
    for dtype in ("float32", "uint16"):
        ratios += [
            ratio(figures, f"first epoch, {dtype}", f"kernel, {dtype}", 0.6),
            ratio(figures, f"first epoch, {dtype}", f"later epoch, {dtype}"),
            ratio(
                figures, f"cold, verify='read', {dtype}", f"cold, verify='open', {dtype}", 1.0
            ),
        ]  # fmt: skip
    settings = {"batch": BATCH, "rounds": rounds, "stars": len(dataset)}
    title = "Epochs that verify each spectrum when it is first read"
    return Result("verification", title, "spectra/s", figures, ratios, settings)


def _epoch(loader: SpectraLoader, is_first: bool, _: int) -> float:
    dataset = loader.dataset
    assert isinstance(dataset, SpectraDataset)
    store = dataset.store
    assert isinstance(store, Store)

    def epoch() -> int:
        if is_first:
            store.flux.verified = VerifiedRows(len(store))
        return sum(len(batch[0]) for batch in loader)

    return timed(epoch, MIN_SECONDS)


def _cold(path: Path, verify: Verification, round_number: int) -> float:
    evict(path / "flux.npy")
    with open_store(path, verify=verify) as store:
        loader = SpectraLoader(SpectraDataset(store), BATCH, shuffle=True, seed=round_number)
        with loader:
            return timed(lambda: sum(len(flux) for flux, _labels in loader))
