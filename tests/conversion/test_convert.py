"""From a source to a store: what is right, and every input that is refused."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from galahstream.conversion import pipeline
from galahstream.conversion.convert import convert
from galahstream.errors import (
    BadSpectraError,
    DestinationExistsError,
    GalahStreamError,
    LabelError,
    OptionError,
    SourceFormatError,
    SourceMissingError,
    SourceShapeError,
    SplitError,
    StorageFullError,
    WavelengthError,
)
from galahstream.stream.dataset import SpectraDataset
from tests.conftest import N_PIXELS, N_STARS, Pair, make_pair

DTYPES = ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "i1", "<i2", ">i4", "u1", ">u2", "<u4"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_dtype_and_order_becomes_the_same_float32(
    tmp_path: Path, dtype: str, order: str
) -> None:
    values = np.random.default_rng(1).uniform(1, 100, (40, 500)).astype(dtype)
    np.save(tmp_path / "spectra.npy", np.asarray(values, order=order))  # type: ignore[call-overload]
    store = convert(tmp_path, tmp_path / "store")
    assert np.array_equal(store.flux[:], values.astype(np.float32)[store.source_row])


def test_fortran_order_larger_than_a_tile_is_gathered_in_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galahstream.sources.npy.TILE_BYTES", 7 * 500 * 4)
    monkeypatch.setattr(pipeline, "_BLOCK_BYTES", 3 * 500 * 4)
    values = np.random.default_rng(1).normal(1, 0.1, (40, 500))
    np.save(tmp_path / "spectra.npy", np.asfortranarray(values))
    store = convert(tmp_path, tmp_path / "store")
    assert np.array_equal(store.flux[:], values.astype(np.float32)[store.source_row])


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_pixel_too_large_for_float32_is_named_in_any_order(tmp_path: Path, order: str) -> None:
    values = np.ones((40, 500))
    values[7, 300] = 1e300
    np.save(tmp_path / "spectra.npy", np.asarray(values, order=order))  # type: ignore[call-overload]
    with pytest.raises(SourceShapeError, match="row 7, pixel 300"):
        convert(tmp_path, tmp_path / "store")


@pytest.mark.parametrize("format", ["npy", "hdf5"])
def test_the_store_does_not_depend_on_the_blocks(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    whole = convert(pair.folder, tmp_path / "a", format=format)
    monkeypatch.setattr(pipeline, "_BLOCK_BYTES", 7 * N_PIXELS * 4)
    assert convert(pair.folder, tmp_path / "b", format=format).fingerprint == whole.fingerprint


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
    for format in ("npy", "hdf5"):
        store = convert(pair.folder, tmp_path / format, format=format)
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


def test_whole_groups_stay_in_one_part(pair: Pair, tmp_path: Path) -> None:
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


def test_spectra_without_flux_are_refused_or_left_out_by_name(pair: Pair, tmp_path: Path) -> None:
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
def test_bad_input_is_refused_by_name_and_leaves_nothing(
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
    ("options", "error", "text"),
    [
        ({"split": (0.7, 0.2, 0.2)}, SplitError, "sums to 1.1"),
        ({"split": (1.0, 0.0, 0.0)}, SplitError, "'val'"),
        ({"format": "zarr"}, OptionError, "zarr"),
        ({"dtype": "int8"}, OptionError, "int8"),
        ({"compression": "gzip"}, OptionError, "HDF5"),
        ({"jobs": 0}, OptionError, "jobs"),
        ({"flux_range": (0, 2)}, OptionError, "dtype"),
        ({"dtype": "uint16", "flux_range": (2, 0)}, OptionError, "rising"),
        ({"format": "hdf5", "chunk_rows": 0}, OptionError, "chunk_rows"),
        ({"on_bad": "hide"}, OptionError, "hide"),
        ({"labels": ["a", "a"]}, LabelError, "twice"),
        ({"labels": ["vsini"]}, LabelError, "'vsini'"),
        ({"labels": ["a b"]}, LabelError, "cannot be read"),
        ({"groups": "field"}, LabelError, "'field'"),
        ({"wavelength": [1.0, 2.0]}, WavelengthError, "shape"),
    ],
)
def test_bad_options_are_refused(
    pair: Pair, tmp_path: Path, options: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        convert(pair.folder, tmp_path / "store", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "content", [b"", b"<?xml version='1.0'?><VOTABLE/>", b"\x89HDF\r\n\x1a\n123"]
)
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "survey.hdf5").write_bytes(content)
    with pytest.raises(SourceFormatError, match=r"survey\.hdf5"):
        convert(tmp_path / "survey.hdf5", tmp_path / "store")


def test_a_destination_that_exists_is_refused_or_replaced(pair: Pair, tmp_path: Path) -> None:
    convert(pair.folder, tmp_path / "store")
    with pytest.raises(DestinationExistsError, match="store"):
        convert(pair.folder, tmp_path / "store")
    other = make_pair(tmp_path / "other", stars=40)
    assert len(convert(other.folder, tmp_path / "store", overwrite=True)) == 40


def test_a_source_that_fails_half_way_leaves_nothing(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_BLOCK_BYTES", 7 * N_PIXELS * 4)
    spectra = pair.spectra.copy()
    spectra[50] = 0
    np.save(pair.folder / "spectra.npy", spectra)
    for format in ("npy", "hdf5"):
        with pytest.raises(BadSpectraError, match="row 50"):
            convert(pair.folder, tmp_path / "store", format=format)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


@pytest.mark.parametrize("format", ["npy", "hdf5"])
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_the_store_does_not_depend_on_the_jobs(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, dtype: str
) -> None:
    monkeypatch.setattr(pipeline, "_BLOCK_BYTES", 3 * N_PIXELS * 4)
    made = [
        convert(pair.folder, tmp_path / str(jobs), format=format, dtype=dtype, jobs=jobs)
        for jobs in (1, 2, 7)
    ]
    assert len({store.fingerprint for store in made}) == 1
    assert all(store.verify().tolist() == [] for store in made)


@pytest.mark.parametrize(
    "options", [{}, {"format": "hdf5"}, {"format": "hdf5", "compression": "lzf"}]
)
def test_16_bits_hold_flux_to_half_a_step(
    pair: Pair, tmp_path: Path, options: dict[str, str]
) -> None:
    store = convert(pair.folder, tmp_path / "store", dtype="uint16", **options)  # type: ignore[arg-type]
    wanted = pair.spectra[store.source_row]
    finite = np.isfinite(wanted)
    assert np.isnan(store.flux[:][~finite]).all()
    code = store.info()["quantization"]
    assert code["largest_error"] == code["bscale"] / 2 == 2.5e-5
    assert abs(store.flux[:] - wanted)[finite].max() <= 0.51 * code["bscale"]
    assert store.flux.dtype == np.uint16
    assert code["clipped"] == 0
    assert store.info()["pixel_counts"] == {"nan": 1, "infinite": 1, "negative": 1, "zero": 1}


def test_a_range_of_ones_own_is_kept_and_what_it_clips_is_counted(
    pair: Pair, tmp_path: Path
) -> None:
    spectra = pair.spectra.copy()
    spectra[8, 9] = 30
    np.save(pair.folder / "spectra.npy", spectra)
    store = convert(pair.folder, tmp_path / "store", dtype="uint16", flux_range=(-1, 2))
    code = store.info()["quantization"]
    assert code["clipped"] == 1
    assert code["bzero"] == -1
    row = int(np.flatnonzero(store.source_row == 8)[0])
    assert store.flux[row][9] == pytest.approx(2, abs=1e-4)


def test_a_range_that_clips_a_thousandth_is_refused_with_what_was_found(
    pair: Pair, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=r"outside 0\.9 to 1,.*found -0\.5 to 1\.\d+"):
        convert(pair.folder, tmp_path / "store", dtype="uint16", flux_range=(0.9, 1.0))
    assert not (tmp_path / "store").exists()


def test_a_store_in_place_is_the_sources_own_file(pair: Pair, tmp_path: Path) -> None:
    plain = convert(pair.folder, tmp_path / "plain")
    store = convert(pair.folder, tmp_path / "store", in_place=True)
    assert (tmp_path / "store" / "flux.npy").samefile(pair.folder / "spectra.npy")
    assert store.info()["row_order"] == "source"
    assert np.array_equal(store.flux[:], pair.spectra, equal_nan=True)
    assert store.info()["labels"] == plain.info()["labels"]
    assert store.info()["pixel_counts"] == plain.info()["pixel_counts"]
    assert store.verify().tolist() == []
    for split in ("train", "val", "test"):
        for other, here in zip(
            SpectraDataset(plain, split), SpectraDataset(store, split), strict=True
        ):
            assert all(torch.equal(a, b) for a, b in zip(other, here, strict=True))
    (pair.folder / "spectra.npy").unlink()
    assert len(SpectraDataset(tmp_path / "store", "train")) == 42


def big_endian(folder: Path, spectra: np.ndarray) -> None:
    np.save(folder / "spectra.npy", spectra.astype(">f4"))


def float64(folder: Path, spectra: np.ndarray) -> None:
    np.save(folder / "spectra.npy", spectra.astype(np.float64))


def fortran(folder: Path, spectra: np.ndarray) -> None:
    np.save(folder / "spectra.npy", np.asfortranarray(spectra))


def trailing(folder: Path, spectra: np.ndarray) -> None:
    with (folder / "spectra.npy").open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("spoil", [big_endian, float64, fortran, trailing])
def test_a_file_that_no_store_can_use_as_it_is_is_refused(
    pair: Pair, tmp_path: Path, spoil: Callable[[Path, np.ndarray], None]
) -> None:
    spoil(pair.folder, pair.spectra)
    with pytest.raises(SourceShapeError, match=r"spectra\.npy.*C-ordered '<f4'"):
        convert(pair.folder, tmp_path / "store", in_place=True)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("options", [{"format": "hdf5"}, {"dtype": "uint16"}, {"on_bad": "skip"}])
def test_in_place_cannot_be_had_with_what_needs_a_copy(
    pair: Pair, tmp_path: Path, options: dict[str, str]
) -> None:
    with pytest.raises(OptionError, match="in_place"):
        convert(pair.folder, tmp_path / "store", in_place=True, **options)  # type: ignore[arg-type]


def test_a_source_on_another_file_system_cannot_be_linked(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(OptionError, match="cross-device"):
        convert(pair.folder, tmp_path / "store", in_place=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


@pytest.mark.parametrize("format", ["npy", "hdf5"])
def test_a_full_disk_is_said_before_anything_is_written(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(StorageFullError, match=r"[\d,]+ bytes are needed.*[\d,]+ free.*uint16"):
        convert(pair.folder, tmp_path / "store", format=format)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_an_error_of_one_thread_ends_the_conversion_at_the_first_bad_row(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_BLOCK_BYTES", 2 * N_PIXELS * 4)
    spectra = pair.spectra.copy()
    spectra[[20, 21, 30, 59]] = 0
    np.save(pair.folder / "spectra.npy", spectra)
    for jobs in (1, 4):
        with pytest.raises(BadSpectraError, match="row 20 "):
            convert(pair.folder, tmp_path / "store", jobs=jobs)
