"""A store is the source of another store, and of its repair."""

from pathlib import Path

import numpy as np
import pytest

import galahstream as gs
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.plan import plan_conversion
from galahstream.conversion.repair import repair
from galahstream.conversion.store_source import StoreSource
from galahstream.errors import DamagedRowError, LabelError, OptionError
from galahstream.sources.base import Source
from galahstream.sources.memory import MemorySource
from galahstream.store import Store
from tests.conftest import Pair, make_pair
from tests.sources.contract import SourceContract

UNITS = ["mass", "age", "l_bol", "dist", "teff[kK]", "logg", "fe_h", "snr"]


class TestStoreSource(SourceContract):
    @pytest.fixture
    def source(self, store: Store) -> Source:
        return StoreSource(store.path, ["snr", "temp=teff"])


@pytest.mark.slow
class TestStoreSourceWithErrors(SourceContract):
    @pytest.fixture
    def source(self, pair: Pair, tmp_path: Path) -> Source:
        return StoreSource(gs.convert(pair.with_errors, tmp_path / "store").path)


@pytest.fixture
def original(pair: Pair, tmp_path: Path) -> Store:
    pair.spectra[11] = np.nan
    np.save(pair.folder / "spectra.npy", pair.spectra)
    np.save(pair.folder / "ids.npy", 1000 - np.arange(60))
    np.save(pair.folder / "wavelength.npy", np.linspace(5000, 5100, 64))
    return gs.convert(
        pair.folder, tmp_path / "store", labels=UNITS, split=(0.5, 0.2, 0.3), seed=7, on_bad="skip"
    )


def assert_same(one: Store, other: Store) -> None:
    assert np.array_equal(one.flux[:], other.flux[:], equal_nan=True)
    for name in ("labels", "wavelength", "ids", "split"):
        assert one.arrays[name].tobytes() == other.arrays[name].tobytes()
    for name in ("labels", "wavelength", "split", "split_seed", "groups", "skipped"):
        assert getattr(one.manifest, name) == getattr(other.manifest, name)


@pytest.mark.parametrize("options", [{"format": "hdf5"}, {"format": "hdf5", "compression": "gzip"}])
def test_another_format_keeps_everything(
    original: Store, tmp_path: Path, options: dict[str, str]
) -> None:
    there = gs.convert(original, tmp_path / "there.h5", **options)  # type: ignore[arg-type]
    assert_same(there, original)
    back = gs.convert(there.path, tmp_path / "back")
    assert_same(back, original)


@pytest.mark.parametrize("options", [{"format": "hdf5"}, {"format": "hdf5", "compression": "gzip"}])
def test_another_format_keeps_errors(pair: Pair, tmp_path: Path, options: dict[str, str]) -> None:
    first = gs.convert(pair.with_errors, tmp_path / "first")
    there = gs.convert(first, tmp_path / "there.h5", **options)  # type: ignore[arg-type]
    back = gs.convert(there.path, tmp_path / "back", seed=7)
    for store in (there, back):
        assert store.error is not None
        assert first.error is not None
        order = np.argsort(store.source_row)
        expected = first.error[:][np.argsort(first.source_row)]
        assert store.error[:][order].tobytes() == expected.tobytes()
        assert store.manifest.error_counts is not None
        assert store.manifest.error_counts.unknown == 6


def test_what_the_source_said_of_its_stars_is_kept(tmp_path: Path) -> None:
    class Noted(MemorySource):
        notes = ("3 stars lack a camera",)

    store = gs.convert(Noted(np.ones((20, 8), np.float32)), tmp_path / "store")
    assert gs.convert(store, tmp_path / "again.h5").info()["notes"] == list(Noted.notes)


def test_a_new_split_is_that_of_the_source(pair: Pair, tmp_path: Path) -> None:
    first = gs.convert(pair.folder, tmp_path / "first", split=(0.3, 0.3, 0.4), seed=1)
    again = gs.convert(first, tmp_path / "again", split=(0.70, 0.15, 0.15))
    direct = gs.convert(pair.folder, tmp_path / "direct")
    assert_same(again, direct)
    assert np.array_equal(again.source_row, direct.source_row)


def test_options_tell_a_kept_split_from_a_drawn_one(original: Store) -> None:
    def settings(**options: object) -> dict[str, object]:
        chosen = ConvertOptions(**options)  # type: ignore[arg-type]
        source = StoreSource(original.path)
        plan = plan_conversion(source, chosen, {})
        return {one.name: one.value for one in (*chosen.settings, *plan.settings(source))}

    kept, drawn = settings(), settings(seed=42)
    assert {name for name in kept if kept[name] != drawn[name]} == {"the splits of the stars"}


def test_groups_and_nominal_wavelengths_are_kept(tmp_path: Path) -> None:
    raw = make_pair(tmp_path / "raw", stars=20, pixels=16384)
    np.save(raw.folder / "ids.npy", np.arange(20) // 2)
    first = gs.convert(raw.folder, tmp_path / "first", groups="ids")
    again = gs.convert(first, tmp_path / "again", labels=[])
    assert again.wavelength_is_nominal
    assert again.manifest.groups == "ids"
    assert np.array_equal(again.split, first.split)


@pytest.mark.parametrize("flux_range", [None, (-3.0, 9.0), (-0.6, 1e4)])
def test_16_bits_stay_the_same_codes(
    pair: Pair, tmp_path: Path, flux_range: tuple[float, float] | None
) -> None:
    first = gs.convert(pair.folder, tmp_path / "a", dtype="uint16", flux_range=flux_range)
    again = gs.convert(
        first, tmp_path / "b.h5", format="hdf5", dtype="uint16", flux_range=flux_range
    )
    assert np.array_equal(first.digests, again.digests)
    exact = gs.convert(again, tmp_path / "c")
    assert exact.flux.dtype == np.float32
    assert exact.flux[:].tobytes() == first.flux[:].tobytes()


def test_every_code_survives(tmp_path: Path) -> None:
    codes = np.arange(65536)
    flux = (-0.5 + 5e-5 * codes)[:65535].reshape(-1, 257)
    first = gs.convert(flux, tmp_path / "a", dtype="uint16")
    again = gs.convert(first, tmp_path / "b", dtype="uint16")
    assert np.array_equal(first.digests, again.digests)


def test_labels_are_chosen_and_keep_their_units(original: Store, tmp_path: Path) -> None:
    store = gs.convert(original, tmp_path / "a", labels=["teff", "g=logg", "fe_h[x]"])
    assert store.label_units == {"teff": "kK", "g": "dex", "fe_h": "x"}
    assert store.labels["g"].tobytes() == original.labels["logg"].tobytes()
    with pytest.raises(LabelError, match="no label 'nope'; the store has mass"):
        gs.convert(original, tmp_path / "b", labels=["nope"])


def test_the_source_is_never_the_destination(original: Store, tmp_path: Path) -> None:
    for dest in (original.path, original.path / "inner", tmp_path):
        for source in (original, original.path):
            with pytest.raises(OptionError, match="the source"):
                gs.convert(source, dest, overwrite=True)


def damage(store: Store, row: int) -> None:
    file = store.path / "flux.npy"
    data = bytearray(file.read_bytes())
    data[4096 + row * 64 * store.flux.dtype.itemsize] ^= 1
    file.write_bytes(data)


def test_a_damaged_row_is_never_converted(original: Store, tmp_path: Path) -> None:
    damage(original, 7)
    with pytest.raises(DamagedRowError, match="row 7 "):
        gs.convert(gs.open_store(original.path, verify="open"), tmp_path / "other")


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_a_store_is_repaired_from_another_one(original: Store, tmp_path: Path, dtype: str) -> None:
    copy = gs.convert(original, tmp_path / "copy.h5", format="hdf5")
    damaged = gs.convert(original, tmp_path / "damaged", dtype=dtype, seed=3)  # type: ignore[arg-type]
    for store, rows in ((damaged, [3, 40]), (original, [0, 50])):
        intact = store.flux[:]
        store.close()
        for row in rows:
            damage(store, row)
        assert repair(store.path, copy).tolist() == rows
        assert np.array_equal(gs.open_store(store.path).flux[:], intact, equal_nan=True)
