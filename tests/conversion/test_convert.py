"""Conversion of every kind of source, and every input that is rejected."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from galahstream.conversion.convert import convert
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.run import convert_with
from galahstream.errors import (
    BadSpectraError,
    GalahStreamError,
    LabelError,
    OptionError,
    SourceFormatError,
    SourceMissingError,
    SourceShapeError,
    SplitError,
    WavelengthError,
)
from galahstream.sources.base import Source
from galahstream.store import open_store
from galahstream.survey.provenance import Provenance
from tests.conftest import N_PIXELS, N_STARS, Pair


def saved(folder: Path, values: np.ndarray, order: str) -> Path:
    """Save spectra in C or Fortran order and return their folder."""
    folder.mkdir()
    in_order = np.asfortranarray(values) if order == "F" else np.ascontiguousarray(values)
    np.save(folder / "spectra.npy", in_order)
    return folder


DTYPES = ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "i1", "<i2", ">i4", "u1", ">u2", "<u4"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_dtype_and_order_becomes_the_same_float32(
    tmp_path: Path, dtype: str, order: str
) -> None:
    values = np.random.default_rng(1).uniform(1, 100, (40, 500)).astype(dtype)
    source = saved(tmp_path / "raw", values, order)
    store = convert(source, tmp_path / "store")
    assert np.array_equal(store.flux[:], values.astype(np.float32)[store.source_row])


def test_fortran_order_larger_than_a_tile_is_gathered_in_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galahstream.sources.npy.TILE_BYTES", 7 * 500 * 4)
    values = np.random.default_rng(1).normal(1, 0.1, (40, 500))
    (tmp_path / "raw").mkdir()
    np.save(tmp_path / "raw" / "spectra.npy", np.asfortranarray(values))
    options = ConvertOptions(block_bytes=3 * 500 * 4)
    store = convert_with(tmp_path / "raw", tmp_path / "store", options)
    assert np.array_equal(store.flux[:], values.astype(np.float32)[store.source_row])


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_pixel_too_large_for_float32_is_named_in_any_order(tmp_path: Path, order: str) -> None:
    values = np.ones((40, 500))
    values[7, 300] = 1e300
    source = saved(tmp_path / "raw", values, order)
    with pytest.raises(SourceShapeError, match="row 7, pixel 300"):
        convert(source, tmp_path / "store")


@pytest.mark.parametrize("format", ["npy", "hdf5"])
def test_the_store_does_not_depend_on_the_blocks(pair: Pair, tmp_path: Path, format: Any) -> None:
    expected = convert(pair.folder, tmp_path / "a", format=format).fingerprint
    options = ConvertOptions(format=format, block_bytes=7 * N_PIXELS * 4)
    assert convert_with(pair.folder, tmp_path / "b", options).fingerprint == expected


def test_ids_and_wavelength_beside_the_pair_are_taken(pair: Pair, tmp_path: Path) -> None:
    np.save(pair.folder / "ids.npy", np.arange(N_STARS) * 10)
    np.save(pair.folder / "wavelength.npy", np.linspace(5000, 5100, N_PIXELS))
    store = convert(pair.folder, tmp_path / "store")
    assert np.array_equal(store.ids, store.source_row * 10)
    assert store.wavelength[-1] == 5100
    assert not store.wavelength_is_nominal


def test_two_paths_are_a_source(pair: Pair, tmp_path: Path) -> None:
    shutil.move(pair.folder / "labels.npy", tmp_path / "elsewhere.npy")
    source = (pair.folder / "spectra.npy", tmp_path / "elsewhere.npy")
    assert convert(source, tmp_path / "store").labels["teff"].shape == (N_STARS,)


def test_spectra_without_labels_convert(pair: Pair, tmp_path: Path) -> None:
    (pair.folder / "labels.npy").unlink()
    for store in (
        convert(pair.folder, tmp_path / "npy"),
        convert(pair.folder, tmp_path / "hdf5", format="hdf5"),
    ):
        assert dict(store.labels) == {}
        assert store.flux[:].shape == (N_STARS, N_PIXELS)


def test_labels_are_mapped_by_order_number_and_unit(pair: Pair, tmp_path: Path) -> None:
    np.save(pair.folder / "labels.npy", pair.labels[:, :3])
    names = convert(pair.folder, tmp_path / "a", labels=["teff", "logg", "feh[dex]"])
    assert list(names.labels) == ["teff", "logg", "feh"]
    assert names.label_units == {"teff": "K", "logg": "dex", "feh": "dex"}
    mapped = convert(pair.folder, tmp_path / "b", labels={"x": 2})
    assert np.array_equal(mapped.labels["x"], pair.labels[mapped.source_row, 2])


def test_hdf5_with_named_datasets_converts(pair: Pair, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["spectra"] = pair.spectra
        file["T_EFF"] = pair.labels[:, 4]
        file["logg"] = pair.labels[:, 5]
        file["sobject_id"] = np.arange(N_STARS) + 7
        file["wavelength"] = np.linspace(5000, 5100, N_PIXELS)
    store = convert(tmp_path / "in.h5", tmp_path / "store", labels=["teff=T_EFF", "logg"])
    assert np.array_equal(store.flux[:], pair.spectra[store.source_row], equal_nan=True)
    assert np.array_equal(store.labels["teff"], pair.labels[store.source_row, 4])
    assert np.array_equal(store.ids, store.source_row + 7)
    assert store.wavelength[0] == 5000


def test_hdf5_with_one_table_of_labels_converts(pair: Pair, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["flux"] = pair.spectra
        file["labels"] = pair.labels
    store = convert(tmp_path / "in.h5", tmp_path / "store")
    assert np.array_equal(store.labels["fe_h"], pair.labels[store.source_row, 6])


def test_groups_stay_in_one_split(pair: Pair, tmp_path: Path) -> None:
    np.save(pair.folder / "ids.npy", np.arange(N_STARS) // 3)
    store = convert(pair.folder, tmp_path / "store", groups="ids")
    for star in np.unique(store.ids):
        assert len(np.unique(store.split[store.ids == star])) == 1


def test_label_statistics_count_missing_and_infinite_values(pair: Pair, tmp_path: Path) -> None:
    labels = pair.labels.copy()
    labels[0, 4], labels[1, 4] = np.nan, np.inf
    np.save(pair.folder / "labels.npy", labels)
    teff = convert(pair.folder, tmp_path / "store").info()["labels"]["teff"]
    assert teff["missing"] == 2
    assert teff["mean"] == pytest.approx(labels[2:, 4].mean())


def test_spectra_without_flux_raise_or_are_skipped_by_name(pair: Pair, tmp_path: Path) -> None:
    spectra = pair.spectra.copy()
    spectra[10], spectra[20] = 0, np.nan
    np.save(pair.folder / "spectra.npy", spectra)
    with pytest.raises(BadSpectraError, match="row 10"):
        convert(pair.folder, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    store = convert(pair.folder, tmp_path / "store", on_bad="skip")
    assert len(store) == N_STARS - 2
    assert [star for star, _ in store.manifest.skipped] == [10, 20]
    assert np.array_equal(store.flux[:], spectra[store.source_row], equal_nan=True)


def spoil_rows(folder: Path) -> None:
    np.save(folder / "labels.npy", np.zeros((N_STARS - 1, 8)))


def spoil_columns(folder: Path) -> None:
    np.save(folder / "labels.npy", np.zeros((N_STARS, 5)))


def spoil_dtype(folder: Path) -> None:
    np.save(folder / "spectra.npy", np.zeros((N_STARS, 9), dtype=np.complex64))


def spoil_shape(folder: Path) -> None:
    np.save(folder / "spectra.npy", np.zeros(N_STARS, dtype=np.float32))


def spoil_objects(folder: Path) -> None:
    np.save(folder / "labels.npy", np.array([[{}] * 8] * N_STARS), allow_pickle=True)


def spoil_empty(folder: Path) -> None:
    (folder / "spectra.npy").write_bytes(b"")


def spoil_truncated(folder: Path) -> None:
    data = (folder / "spectra.npy").read_bytes()
    (folder / "spectra.npy").write_bytes(data[:-1])


def spoil_claim(folder: Path) -> None:
    data = (folder / "spectra.npy").read_bytes()
    (folder / "spectra.npy").write_bytes(data.replace(b"(60, 64)", b"(60, 99)"))


def spoil_name(folder: Path) -> None:
    (folder / "spectra.npy").write_text("<?xml version='1.0'?><VOTABLE/>")


def spoil_missing(folder: Path) -> None:
    shutil.rmtree(folder)


def spoil_large(folder: Path) -> None:
    np.save(folder / "spectra.npy", np.full((N_STARS, 9), 1e300))


def spoil_wavelength(folder: Path) -> None:
    np.save(folder / "wavelength.npy", np.ones(N_PIXELS))


SPOILED: list[tuple[Callable[[Path], None], type[GalahStreamError], str]] = [
    (spoil_rows, SourceShapeError, "59 rows and the spectra have 60"),
    (spoil_columns, LabelError, "5 label columns"),
    (spoil_dtype, SourceShapeError, "complex64"),
    (spoil_shape, SourceShapeError, r"shape \(60,\)"),
    (spoil_objects, SourceFormatError, "pickled"),
    (spoil_empty, SourceFormatError, "empty"),
    (spoil_truncated, SourceFormatError, "truncated"),
    (spoil_claim, SourceFormatError, "claims"),
    (spoil_name, SourceFormatError, r"no \.npy header"),
    (spoil_missing, SourceMissingError, "does not exist"),
    (spoil_large, SourceShapeError, "row 0, pixel 0"),
    (spoil_wavelength, WavelengthError, "pixel 1"),
]


@pytest.mark.parametrize(("spoil", "error", "text"), SPOILED, ids=[s[0].__name__ for s in SPOILED])
def test_bad_input_raises_by_name_and_leaves_nothing(
    pair: Pair,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    error: type[GalahStreamError],
    text: str,
) -> None:
    spoil(pair.folder)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=text) as caught:
        convert(pair.folder, tmp_path / "store")
    assert str(pair.folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "content", [b"", b"<?xml version='1.0'?><VOTABLE/>", b"\x89HDF\r\n\x1a\n123"]
)
def test_a_file_that_is_not_what_its_name_says_raises(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "survey.hdf5").write_bytes(content)
    with pytest.raises(SourceFormatError, match=r"survey\.hdf5"):
        convert(tmp_path / "survey.hdf5", tmp_path / "store")


@pytest.mark.parametrize("format", ["npy", "hdf5"])
def test_a_source_that_fails_half_way_leaves_nothing(
    pair: Pair, tmp_path: Path, format: Any
) -> None:
    spectra = pair.spectra.copy()
    spectra[50] = 0
    np.save(pair.folder / "spectra.npy", spectra)
    options = ConvertOptions(format=format, block_bytes=7 * N_PIXELS * 4)
    with pytest.raises(BadSpectraError, match="row 50"):
        convert_with(pair.folder, tmp_path / "store", options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


@pytest.mark.slow
@pytest.mark.parametrize("format", ["npy", "hdf5"])
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_the_store_does_not_depend_on_the_jobs(
    pair: Pair, tmp_path: Path, format: Any, dtype: Any
) -> None:
    stores = []
    for jobs in (1, 2, 7):
        options = ConvertOptions(
            format=format, dtype=dtype, jobs=jobs, block_bytes=3 * N_PIXELS * 4
        )
        stores.append(convert_with(pair.folder, tmp_path / str(jobs), options))
    assert len({store.fingerprint for store in stores}) == 1
    assert all(store.verify().tolist() == [] for store in stores)


def test_an_error_of_one_thread_ends_the_conversion_at_the_first_bad_row(
    pair: Pair, tmp_path: Path
) -> None:
    spectra = pair.spectra.copy()
    spectra[[20, 21, 30, 59]] = 0
    np.save(pair.folder / "spectra.npy", spectra)
    for jobs in (1, 4):
        with pytest.raises(BadSpectraError, match="row 20 "):
            options = ConvertOptions(jobs=jobs, block_bytes=2 * N_PIXELS * 4)
            convert_with(pair.folder, tmp_path / "store", options)


def unusable_values(folder: Path) -> dict[str, Any]:
    labels = np.load(folder / "labels.npy")
    labels[7, 3] = 1e200
    np.save(folder / "labels.npy", labels)
    return {}


def unprintable_name(folder: Path) -> dict[str, Any]:
    with h5py.File(folder / "in.h5", "w") as file:
        file["spectra"] = np.load(folder / "spectra.npy")
        file["t\u00a0eff"] = np.ones(N_STARS)
    return {"source": folder / "in.h5"}


def unprintable_unit(folder: Path) -> dict[str, Any]:
    return {"labels": [*"abcdefg", "h[km\u00a0s-1]"]}


def long_name(folder: Path) -> dict[str, Any]:
    return {"labels": [*"abcdefg", "h" * 300]}


def large_seed(folder: Path) -> dict[str, Any]:
    return {"seed": 2**128 - 1}


@pytest.mark.parametrize("format", ["npy", "hdf5"])
@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (unusable_values, "label 'dist' cannot be stored: .*found inf"),
        (unprintable_name, r"label 't\\xa0eff' cannot be stored: name: .*printable text"),
        (unprintable_unit, "label 'h' cannot be stored: unit: .*printable text"),
        (long_name, "label 'h+' cannot be stored: name: .*256 characters"),
        (large_seed, "seed .* from 0 to"),
    ],
)
def test_what_a_store_could_not_hold_raises_by_name_before_anything_is_written(
    pair: Pair,
    tmp_path: Path,
    prepare: Callable[[Path], dict[str, Any]],
    message: str,
    format: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = convert(pair.folder, tmp_path / "store").fingerprint
    options = prepare(pair.folder)
    source = options.pop("source", pair.folder)

    def no_store_files(*arguments: Any) -> None:
        pytest.fail("files of the store were created")

    monkeypatch.setattr("galahstream.conversion.run.StoreWriter", no_store_files)
    with pytest.raises((OptionError, LabelError, SplitError), match=message):
        convert(source, tmp_path / "store", format=format, overwrite=True, **options)
    assert open_store(tmp_path / "store").fingerprint == good
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "store"]


def test_the_manifest_says_how_the_store_was_made(pair: Pair, tmp_path: Path) -> None:
    npy = convert(pair.folder, tmp_path / "npy").manifest
    assert (npy.chunk_rows, npy.compression) == (1, None)
    assert npy.provenance == Provenance(reader="NpyPairSource")
    gzip = convert(
        pair.folder, tmp_path / "gzip.h5", format="hdf5", chunk_rows=7, compression="gzip"
    ).manifest
    assert (gzip.chunk_rows, gzip.compression) == (7, "gzip")
    with h5py.File(tmp_path / "gzip.h5") as file:
        assert (file["flux"].chunks[0], file["flux"].compression) == (7, "gzip")


def test_a_source_of_the_user_is_converted(tmp_path: Path) -> None:
    class Flat(Source):
        name, n_pixels = "flat spectra", 8

        def __len__(self) -> int:
            return 20

        def iter_blocks(
            self, block_rows: int, first_row: int = 0
        ) -> Iterator[npt.NDArray[np.float32]]:
            for row in range(first_row, 20, block_rows):
                yield np.ones((min(block_rows, 20 - row), 8), dtype=np.float32)

    store = convert(Flat(), tmp_path / "store")
    assert store.manifest.provenance == Provenance()
    assert (store.flux[:] == 1).all()
