"""Augmented batches: a function of seed, epoch and row, whoever makes them."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

import galahstream as gs
from galahstream.conversion.convert import convert
from galahstream.errors import OptionError, WavelengthError
from galahstream.store import Store
from galahstream.stream import kernels
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader
from galahstream.stream.options import WorkerType
from galahstream.stream.selection import Selectable
from tests.conftest import N_PIXELS, Pair

AUGMENT = "noise=20:200,velocity=200,mask=0.1"
GRID = 6500 + 0.5 * np.arange(N_PIXELS)
Spectra = dict[int, npt.NDArray[np.float32]]


@pytest.fixture
def dataset(pair: Pair, tmp_path: Path) -> SpectraDataset:
    store = convert(pair.folder, tmp_path / "on-a-grid", wavelength=GRID)
    return SpectraDataset(store, return_ids=True)


def spectra(loader: SpectraLoader) -> Spectra:
    """Return the spectra of an epoch by the id of the star."""
    return {
        int(star): row.numpy().copy()
        for batch in loader
        for row, star in zip(batch[0], batch[-1], strict=True)
    }


def epoch(dataset: Selectable, number: int = 0, augment: Any = AUGMENT, **options: Any) -> Spectra:
    with SpectraLoader(dataset, shuffle=True, augment=augment, **options) as loader:
        loader.set_epoch(number)
        return spectra(loader)


def equal(one: Spectra, other: Spectra) -> bool:
    return set(one) == set(other) and all(np.array_equal(one[star], other[star]) for star in one)


def n_equal(one: Spectra, other: Spectra) -> int:
    return sum(np.array_equal(one[star], other[star]) for star in one)


@pytest.mark.parametrize("batch_size", [1, 7, 32])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_and_batches_do_not_change_a_spectrum(
    dataset: SpectraDataset, num_workers: int, batch_size: int
) -> None:
    wanted = epoch(dataset, 3)
    assert equal(epoch(dataset, 3, num_workers=num_workers, batch_size=batch_size), wanted)


@pytest.mark.slow
def test_processes_do_not_change_a_spectrum(dataset: SpectraDataset) -> None:
    wanted = epoch(dataset, 3)
    kind: WorkerType = "process"
    assert equal(epoch(dataset, 3, num_workers=2, worker_type=kind, batch_size=9), wanted)


def test_ranks_do_not_change_a_spectrum(dataset: SpectraDataset) -> None:
    ranks = [epoch(dataset, 1, batch_size=4, rank=rank, world_size=2) for rank in (0, 1)]
    assert set(ranks[0]).isdisjoint(ranks[1])
    assert equal(ranks[0] | ranks[1], epoch(dataset, 1))


@pytest.mark.parametrize("cut", [1, 3])
def test_an_epoch_that_is_cut_and_resumed_equals_an_uncut_one(
    dataset: SpectraDataset, cut: int
) -> None:
    with SpectraLoader(dataset, 8, shuffle=True, augment=AUGMENT) as loader:
        wanted = spectra(loader)
        wanted_next = spectra(loader)
        loader.set_epoch(0)
        parts = iter(loader)
        batches = [next(parts) for _ in range(cut)]
        state = loader.state_dict()
    seen = {
        int(star): row.numpy()
        for batch in batches
        for row, star in zip(batch[0], batch[-1], strict=True)
    }
    with SpectraLoader(dataset, 5, shuffle=True, augment=AUGMENT, num_workers=0) as again:
        again.load_state_dict(state)
        assert equal(seen | spectra(again), wanted)
        assert equal(spectra(again), wanted_next)


def test_epochs_seeds_and_rows_differ(dataset: SpectraDataset) -> None:
    first, plain = epoch(dataset), epoch(dataset, augment=None)
    for other in (epoch(dataset, 1), epoch(dataset, seed=7), plain):
        assert n_equal(first, other) == 0
    noise = epoch(dataset, augment=gs.AddNoise(50, 50))
    added = [noise[star] - plain[star] for star in list(plain)[:10]]
    for one, another in itertools.combinations(added, 2):
        assert not np.allclose(one, another)


def test_shuffle_blocks_and_samplers_of_others_do_not_change_a_spectrum(
    dataset: SpectraDataset,
) -> None:
    wanted = epoch(dataset)
    assert equal(epoch(dataset, shuffle_block=5), wanted)
    order = list(range(len(dataset)))[::-1]
    batches = [order[:20], order[20:]]
    for options in ({"sampler": order}, {"batch_sampler": batches}):
        with SpectraLoader(dataset, augment=AUGMENT, **options) as loader:
            assert equal(spectra(loader), wanted)
            assert equal(spectra(loader), epoch(dataset, 1))


def test_subsets_and_several_datasets_are_augmented_by_row(dataset: SpectraDataset) -> None:
    wanted = epoch(dataset, 2)
    chosen = [5, 0, 41]
    subset = epoch(Subset(dataset, chosen), 2)
    assert set(subset) == {int(dataset.ids[item]) for item in chosen}
    assert all(np.array_equal(subset[star], wanted[star]) for star in subset)
    val = SpectraDataset(
        dataset.store, "val", return_ids=True, target_transform=dataset.target_transform
    )
    both = epoch(ConcatDataset([dataset, val]), 2)
    assert all(np.array_equal(both[star], wanted[star]) for star in wanted)
    assert equal({star: both[star] for star in map(int, val.ids)}, epoch(val, 2))


def test_only_the_loader_augments(dataset: SpectraDataset) -> None:
    plain = epoch(dataset, augment=None)
    epoch(dataset)
    stars = {int(star): flux.numpy() for flux, _, star in DataLoader(dataset, batch_size=None)}
    assert equal(stars, plain)
    assert equal(epoch(dataset, augment=None), plain)


@pytest.mark.parametrize("transform", [None, np.square], ids=["none", "own"])
def test_other_transforms_see_augmented_flux(pair: Pair, tmp_path: Path, transform: Any) -> None:
    store = convert(pair.folder, tmp_path / "on-a-grid", wavelength=GRID)
    noise, log = gs.AddNoise(30, 60), gs.LogFlux(floor=1e-6)
    options: dict[str, Any] = {"return_ids": True, "labels": None}
    rows = [row for row in range(42) if np.isfinite(store.flux[[row]]).all()]
    logged = epoch(Subset(SpectraDataset(store, transform=log, **options), rows), augment=noise)
    own = epoch(Subset(SpectraDataset(store, transform=transform, **options), rows), augment=noise)
    for star, values in own.items():
        flux = values if transform is None else np.sqrt(values)
        usual = np.exp(logged[star]) > 0.1
        assert np.allclose(flux[usual], np.exp(logged[star])[usual], rtol=1e-5)


@pytest.mark.parametrize("options", [{"dtype": "uint16"}, {"format": "hdf5"},
                                     {"format": "hdf5", "chunk_rows": 7, "compression": "gzip"}],
                         ids=["uint16", "hdf5", "gzip"])  # fmt: skip
def test_every_kind_of_store_gives_the_same_draws(
    dataset: SpectraDataset, pair: Pair, tmp_path: Path, options: dict[str, Any]
) -> None:
    name = "other.h5" if options.get("format") == "hdf5" else "other"
    extra: dict[str, Any] = {"flux_range": (-1, 3)} if options.get("dtype") == "uint16" else {}
    store = convert(pair.folder, tmp_path / name, wavelength=GRID, **options, **extra)
    other = epoch(SpectraDataset(store, return_ids=True), 4)
    wanted = epoch(dataset, 4)
    finite = set(np.flatnonzero(np.isfinite(pair.spectra).all(axis=1)).tolist())
    for star in wanted:
        if star in finite:
            assert np.allclose(other[star], wanted[star], atol=1e-3)
    if not extra:
        assert equal(other, wanted)


def test_numpy_kernels_give_the_same_batches(
    dataset: SpectraDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = epoch(dataset, 2)
    monkeypatch.setattr(kernels, "best_backend", kernels.numpy_backend)
    other = epoch(SpectraDataset(dataset.store, return_ids=True), 2)
    assert all(np.allclose(other[star], wanted[star], rtol=1e-6, atol=1e-6) for star in wanted)


def test_masked_pixels_are_the_fill_value_of_the_transform(dataset: SpectraDataset) -> None:
    plain, masked = epoch(dataset, augment=None), epoch(dataset, augment="mask=0.5")
    changed = np.concatenate([masked[star][masked[star] != plain[star]] for star in plain])
    assert 0.4 < changed.size / (len(plain) * N_PIXELS) < 0.6
    assert (changed == 0).all()  # log 1


def test_what_cannot_be_augmented_is_refused_when_the_loader_is_made(
    npy_store: Store, pair: Pair, tmp_path: Path
) -> None:
    unknown = SpectraDataset(npy_store)
    selected: list[Selectable] = [Subset(unknown, [1, 2]), ConcatDataset([unknown, unknown])]
    for dataset in (unknown, *selected):
        with pytest.raises(WavelengthError, match="store: spectra cannot be shifted"):
            SpectraLoader(dataset, augment="velocity=2")
        SpectraLoader(dataset, augment="noise=20:200")
    with pytest.raises(OptionError, match=r"'blur=1'.*is not known"):
        SpectraLoader(unknown, augment="blur=1")
    with_errors = convert(pair.with_errors, tmp_path / "with-errors")
    with pytest.raises(OptionError, match=r"with-errors: augment='mask=0.1' .*return_error"):
        SpectraLoader(SpectraDataset(with_errors, return_error=True), augment="mask=0.1")


def test_a_framework_that_rebuilds_the_loader_keeps_the_augmentation(
    dataset: SpectraDataset,
) -> None:
    loader = SpectraLoader(dataset, 8, shuffle=True, augment=AUGMENT)
    assert str(loader.augment) == "velocity=200,noise=20:200,mask=0.1"
    rebuilt = SpectraLoader(dataset, 8, sampler=loader.sampler, augment=loader.augment)
    assert equal(spectra(rebuilt), epoch(dataset))


def test_memory_of_batches_is_the_users(dataset: SpectraDataset) -> None:
    with SpectraLoader(dataset, 8, augment=AUGMENT) as loader:
        kept = [batch[0] for batch in loader]
        copies = [flux.clone() for flux in kept]
        list(loader)
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))
