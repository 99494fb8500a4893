"""The contract of an open store, for every format, encoding and way of reading, and errors."""

import dataclasses
import json
import multiprocessing
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import DamagedRowError, OptionError, StoreFormatError
from galahstream.sources.base import Source
from galahstream.store import SpectraStore, Store, open_store
from galahstream.store.formats import format_of
from galahstream.store.layout import MEMBER_NAMES
from galahstream.store.manifest import ErrorCounts, signed
from galahstream.store.quantization import DEFAULT_RANGE, Float16, Float32, Quantized16
from galahstream.store.readers import Reading
from galahstream.store.row_array import RowArray, RowSpan
from tests.conftest import N_PIXELS, N_STARS, Pair, make_pair

LABELS = ("mass", "age", "l_bol", "dist", "teff", "logg", "fe_h", "snr")
ENCODINGS: dict[str, Float32 | Quantized16] = {
    "float32": Float32(),
    "uint16": Quantized16.over(*DEFAULT_RANGE),
}
KINDS = [(dtype, has_errors) for dtype in ENCODINGS for has_errors in (False, True)]
ROWS = np.array([41, 3, 3, 0, 59, 17])
DAMAGED = 17


@dataclass(frozen=True)
class Example:
    """A store on disk, and what it was made of."""

    path: Path
    pair: Pair
    encoding: Float32 | Quantized16
    has_errors: bool

    @property
    def source(self) -> Source | Path:
        """What the store was made of."""
        return self.pair.with_errors if self.has_errors else self.pair.folder

    def expected(self, store: Store) -> npt.NDArray[np.float32]:
        """Return the flux that the store has to give, shape (N, L)."""
        return self.encoding.decode(self.encoding.encode(self.pair.spectra[store.source_row]))

    def expected_error(self, store: Store) -> npt.NDArray[np.float32]:
        """Return the errors that the store has to give, shape (N, L)."""
        errors = self.pair.errors[store.source_row]
        is_known = (errors >= 2.0**-24) & (errors <= 65504)
        known = np.where(is_known, errors, np.nan)
        return known.astype(np.float16).astype(np.float32)

    def expected_arrays(self, store: Store) -> list[tuple[RowArray, npt.NDArray[np.float32]]]:
        """Return the flux and the errors of the store with what they have to give."""
        arrays = [(store.flux, self.expected(store))]
        if store.error is not None:
            arrays.append((store.error, self.expected_error(store)))
        return arrays


def damage(path: Path, row: int, name: str = "flux") -> None:
    """Change one pixel of a row of flux or errors, leaving everything else as it is."""
    if (path / "members").is_dir():
        member, member_row = (np.load(path / f"{each}.npy")[row] for each in MEMBER_NAMES)
        damage(sorted((path / "members").iterdir())[member], int(member_row), name)
        return
    if path.is_dir():
        values = np.load(path / f"{name}.npy", mmap_mode="r+")
        values[row, 5] += 1
        values.flush()
        return
    with h5py.File(path, "r+") as file:
        file[name][row, 5] += 1


def read_row(store: Store, row: int) -> npt.NDArray[np.float32]:
    """Read a row, in a process that the store is sent to."""
    if store.error is not None:
        _ = store.error[row]
    return store.flux[row]


def manifest_body(path: Path) -> dict[str, Any]:
    """Return the fields of a store's manifest without their digest."""
    body: dict[str, Any] = json.loads(format_of(path).read_manifest(path))
    del body["digest"]
    return body


def write_manifest(path: Path, body: dict[str, Any]) -> None:
    """Replace the manifest of a store by another one, with the digest that fits."""
    if path.is_dir():
        (path / "manifest.json").write_text(signed(body))
        return
    with h5py.File(path, "r+") as file:
        file.attrs["manifest"] = np.bytes_(signed(body))


@pytest.fixture(scope="module")
def spawned() -> Iterator[Pool]:
    """A process that was spawned, not forked."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool


class StoreContract:
    """Tests that every store passes; a subclass names a format and its ways of reading."""

    options: ClassVar[dict[str, Any]] = {}
    readings: ClassVar[tuple[Reading, ...]] = ("auto", "mapped", "pread")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "example" in metafunc.fixturenames:
            ids = [dtype + (", errors" if has_errors else "") for dtype, has_errors in KINDS]
            metafunc.parametrize("example", KINDS, indirect=True, scope="class", ids=ids)
        if "reading" in metafunc.fixturenames:
            metafunc.parametrize("reading", self.readings)

    @pytest.fixture(scope="class")
    @classmethod
    def example(
        cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Example:
        dtype, has_errors = request.param
        folder = tmp_path_factory.mktemp("contract")
        pair = make_pair(folder / "raw")
        example = Example(folder / "store", pair, ENCODINGS[dtype], has_errors)
        cls.make(example, example.path)
        return example

    @classmethod
    def make(cls, example: Example, path: Path) -> None:
        """Make the store of an example."""
        dtype: Any = "float32" if isinstance(example.encoding, Float32) else "uint16"
        convert(example.source, path, dtype=dtype, **cls.options).close()

    @pytest.fixture
    def store(self, example: Example, reading: Reading) -> Iterator[Store]:
        with open_store(example.path, reading=reading) as store:
            yield store

    @pytest.fixture
    def copy(self, example: Example, tmp_path: Path) -> Path:
        """A store of its own."""
        self.make(example, tmp_path / "copy")
        return tmp_path / "copy"

    @pytest.fixture
    def damaged(self, copy: Path) -> Path:
        """A store of its own of which one pixel of flux was changed."""
        damage(copy, DAMAGED)
        return copy

    def test_arrays_are_those_of_the_source(self, store: Store, example: Example) -> None:
        assert len(store) == N_STARS
        assert store.n_pixels == N_PIXELS
        assert store.flux.shape == (N_STARS, N_PIXELS)
        assert store.ids.tolist() == store.source_row.tolist()
        assert sorted(store.source_row.tolist()) == list(range(N_STARS))
        for k, name in enumerate(LABELS):
            assert np.array_equal(store.labels[name], example.pair.labels[store.source_row, k])
        assert store.label_units["teff"] == "K"

    def test_rows_are_read_by_number_slice_list_mask_and_nothing(
        self, store: Store, example: Example
    ) -> None:
        selections: list[Any] = [
            slice(None), slice(5, 50, 7), slice(50, 5, -9), slice(9, 9), [9, 2, 2], [-1, 0], [],
            store.split == 2, np.zeros(N_STARS, dtype=bool), ROWS, ROWS.astype(np.uint8),
            0, -1, N_STARS - 1, -N_STARS, np.int32(7), np.array(8),
        ]  # fmt: skip
        for selection in selections:
            rows = selection if isinstance(selection, slice | int) else np.asarray(selection)
            if isinstance(rows, np.ndarray) and rows.size == 0:
                rows = slice(0, 0)
            for array, expected in example.expected_arrays(store):
                assert array[selection].tobytes() == expected[rows].tobytes(), selection
                assert array[selection].dtype == np.float32
        for array, expected in example.expected_arrays(store):
            assert [row.tobytes() for row in array] == [row.tobytes() for row in expected]

    def test_rows_that_do_not_exist_are_an_error(self, store: Store) -> None:
        wrong: list[Any] = [N_STARS, -N_STARS - 1, [0, N_STARS], 1.5, "3", [[0]], [True, False]]
        for selection in wrong:
            for array in store.spectra.values():
                with pytest.raises(IndexError, match="row"):
                    array[selection]

    def test_errors_are_there_if_the_source_has_them(self, store: Store, example: Example) -> None:
        assert list(store.spectra) == ["flux", "error"][: 1 + example.has_errors]
        assert ("error_counts" in manifest_body(store.path)) == example.has_errors
        assert ("error_digests" in store.arrays) == example.has_errors
        if store.error is None:
            assert store.manifest.error_counts is None
            return
        assert store.error.shape == store.flux.shape
        assert store.error.dtype == np.dtype("<f2")
        assert store.error.encoding == Float16()
        assert store.manifest.error_counts == ErrorCounts(1, 1, 2, 2)

    def test_stored_rows_are_the_encoded_flux(self, store: Store, example: Example) -> None:
        stored = store.flux.read_stored(ROWS)
        encoded = example.encoding.encode(example.pair.spectra[store.source_row[ROWS]])
        assert store.flux.encoding == example.encoding
        assert stored.dtype == store.flux.dtype == encoded.dtype
        assert stored.tobytes() == encoded.tobytes()

    def test_read_hands_out_each_row_once_and_in_order(
        self, store: Store, example: Example
    ) -> None:
        encoded = example.encoding.encode(example.pair.spectra[store.source_row])
        rows = np.random.default_rng(3).permutation(N_STARS)
        for largest in (32, N_STARS):  # unverified rows come in spans that fit into the cache
            positions: list[int] = []

            def consume(span: RowSpan, positions: list[int] = positions) -> None:
                positions += range(*span.positions.indices(N_STARS))
                assert len(span.starts) <= largest  # noqa: B023  called at once
                for position, start in zip(
                    positions[-len(span.starts) :], span.starts, strict=True
                ):
                    row = span.buffer[start : start + N_PIXELS]
                    assert row.tobytes() == encoded[rows[position]].tobytes()

            store.flux.read(rows, consume)
            assert positions == list(range(N_STARS))

    def test_rows_are_verified_when_they_are_first_read(self, store: Store) -> None:
        for array in store.spectra.values():
            assert array.verified is not None
            assert not array.verified.all_verified(ROWS)
            _ = array[ROWS]
            assert array.verified.all_verified(ROWS)
            assert not array.verified.all_verified(np.arange(N_STARS))
        assert store.verify().tolist() == []
        for array in store.spectra.values():
            assert array.verified is not None
            assert array.verified.all_verified(np.arange(N_STARS))

    def test_nothing_of_a_damaged_row_is_handed_out(self, damaged: Path, reading: Reading) -> None:
        with open_store(damaged, reading=reading) as store:
            others = np.delete(np.arange(N_STARS), DAMAGED)
            assert store.flux[others].shape == (N_STARS - 1, N_PIXELS)
            for rows in (DAMAGED, [3, DAMAGED], slice(None)):
                with pytest.raises(DamagedRowError) as caught:
                    _ = store.flux[rows]
                message = str(caught.value)
                assert f"row {DAMAGED} (star {store.ids[DAMAGED]})" in message
                assert store.locate(DAMAGED) in message
            assert store.verify().tolist() == [DAMAGED]

    def test_nothing_of_damaged_errors_is_handed_out(
        self, copy: Path, example: Example, reading: Reading
    ) -> None:
        if not example.has_errors:
            pytest.skip("a store without errors")
        damage(copy, 3, "flux")
        damage(copy, DAMAGED, "error")
        with open_store(copy, reading=reading) as store:
            assert store.error is not None
            assert store.flux[DAMAGED].shape == store.error[3].shape == (N_PIXELS,)
            for rows in (DAMAGED, [3, DAMAGED], slice(None)):
                with pytest.raises(DamagedRowError) as caught:
                    _ = store.error[rows]
                message = str(caught.value)
                assert f"row {DAMAGED} (star {store.ids[DAMAGED]})" in message
                assert store.error.locate(DAMAGED) in message
            assert store.verify().tolist() == [3, DAMAGED]

    def test_errors_that_are_only_claimed_are_an_error(self, copy: Path, example: Example) -> None:
        body = manifest_body(copy)
        if example.has_errors:
            body["digests"].pop("error_digests")
        else:
            body["error_counts"] = dict.fromkeys(vars(ErrorCounts()), 0)
        write_manifest(copy, body)
        with pytest.raises(StoreFormatError, match="'error_counts'"):
            open_store(copy)
        body["digests"]["error_digests"] = "0" * 16
        write_manifest(copy, body)
        with pytest.raises(StoreFormatError, match="error"):
            open_store(copy)

    def test_opened_with_verify_open_no_row_is_verified(
        self, damaged: Path, reading: Reading
    ) -> None:
        with open_store(damaged, verify="open", reading=reading) as store:
            assert store.flux.verified is None
            assert store.flux[DAMAGED].shape == (N_PIXELS,)
            assert store.verify().tolist() == [DAMAGED]
            assert pickle.loads(pickle.dumps(store)).flux.verified is None

    @pytest.mark.slow
    def test_it_pickles_to_a_spawned_process(
        self, store: Store, example: Example, spawned: Pool
    ) -> None:
        for array in store.spectra.values():
            _ = array[0]  # files are open
        assert len(pickle.dumps(store)) < 1024
        row = spawned.apply(read_row, (store, 7))
        assert row.tobytes() == example.expected(store)[7].tobytes()
        for array in store.spectra.values():
            assert array.verified is not None
            assert array.verified.all_verified(np.array([0, 7]))
            assert not array.verified.all_verified(np.array([8]))

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
    def test_it_survives_a_fork(self, store: Store, example: Example) -> None:
        expected = example.expected(store)
        _ = store.flux[0]  # files are open
        child = os.fork()
        if child == 0:
            os._exit(0 if store.flux[::7].tobytes() == expected[::7].tobytes() else 1)
        for row in range(0, N_STARS, 5):
            assert store.flux[row].tobytes() == expected[row].tobytes()
        assert os.waitpid(child, 0)[1] == 0

    def test_pickling_changes_nothing(self, store: Store) -> None:
        before = {name: id(value) for name, value in vars(store.flux).items()}
        assert pickle.dumps(store) == pickle.dumps(store)
        assert {name: id(value) for name, value in vars(store.flux).items()} == before
        assert pickle.loads(pickle.dumps(store)).fingerprint == store.fingerprint

    def test_info_describes_it(self, store: Store, reading: Reading) -> None:
        info, description = store.info(), store.describe()
        assert json.loads(json.dumps(info, allow_nan=False)) == info
        assert (info["path"], info["stars"], info["pixels"]) == (str(store.path), 60, N_PIXELS)
        assert (info["access"], info["access_reason"]) == (
            store.flux.access,
            store.flux.access_reason,
        )
        assert reading in ("auto", info["access"])
        assert info["split"] == {"train": 42, "val": 9, "test": 9}
        assert tuple(info["labels"]) == LABELS
        assert info["pixel_counts"] == {"nan": 1, "infinite": 1, "negative": 1, "zero": 1}
        counts = {"nan": 1, "infinite": 1, "zero_or_negative": 2, "outside": 2}
        assert info["error_counts"] == (None if store.error is None else counts)
        assert (info["quantization"] is None) == isinstance(store.flux.encoding, Float32)
        assert (info["chunk_rows"] is None) == (store.format != "hdf5")
        assert info["provenance"] == dataclasses.asdict(store.provenance)
        assert description.stars == 60
        assert description.labels == store.manifest.labels

    def test_it_reads_again_after_it_was_closed(self, store: Store, example: Example) -> None:
        for _ in range(3):
            for array, expected in example.expected_arrays(store):
                assert array[3].tobytes() == expected[3].tobytes()
            store.close()
        store.close()
        with store:
            _ = store.flux[3]
        for array, expected in example.expected_arrays(store):
            assert array[4].tobytes() == expected[4].tobytes()

    def test_prefetching_and_releasing_change_nothing(self, store: Store, example: Example) -> None:
        for _ in range(3):
            for array, expected in example.expected_arrays(store):
                array.prefetch(ROWS)
                assert array[ROWS].tobytes() == expected[ROWS].tobytes()
            store.release_pages()
            for array, expected in example.expected_arrays(store):
                assert array[:].tobytes() == expected.tobytes()
        store.close()
        store.release_pages()

    def test_a_row_is_located_in_its_file(self, store: Store) -> None:
        files = [str(file) for file in store.spectra_files]
        assert store.locate(7).rpartition(", ")[0].partition(", dataset")[0] in files
        assert store.locate(7) != store.locate(8)

    def test_rows_are_grouped_by_split_in_the_order_of_the_source(self, store: Store) -> None:
        rows = [np.arange(len(store))[store.rows_of(name)] for name in ("train", "val", "test")]
        assert np.array_equal(np.concatenate(rows), np.arange(len(store))[store.rows_of("all")])
        for code, part in enumerate(rows):
            assert (store.split[part] == code).all()
            assert (np.diff(store.source_row[part]) > 0).all()

    def test_numpys_error_settings_do_not_matter(self, store: Store, example: Example) -> None:
        with np.errstate(all="raise"):
            for array, expected in example.expected_arrays(store):
                assert array[:].tobytes() == expected.tobytes()
            assert store.verify().tolist() == []

    def test_it_is_a_spectra_store(self, store: Store) -> None:
        spectra: SpectraStore = store
        assert len(spectra) == N_STARS
        assert spectra.split_fingerprint != spectra.fingerprint

    def test_a_store_that_was_replaced_is_not_taken_for_the_old_one(
        self, example: Example, damaged: Path
    ) -> None:
        with open_store(damaged) as store:
            packed = pickle.dumps(store)
        options = {**self.options, "seed": 7, "overwrite": True}
        convert(example.pair.folder, damaged, dtype="float32", **options).close()
        with pytest.raises(StoreFormatError, match="was replaced"):
            pickle.loads(packed)


class CompressedContract(StoreContract):
    """Tests of stores that only HDF5 can read."""

    readings: ClassVar[tuple[Reading, ...]] = ("auto",)

    @pytest.mark.parametrize("way", ["mapped", "pread"])
    def test_they_cannot_be_mapped(self, example: Example, way: Reading) -> None:
        with pytest.raises(OptionError, match="h5py"):
            open_store(example.path, reading=way)
