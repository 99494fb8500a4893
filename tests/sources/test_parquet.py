"""Parquet files and HATS folders: columns by name, rows of other lengths, missing parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import (
    BadSpectraError,
    ExtraMissingError,
    LabelError,
    SourceFormatError,
    SourceMissingError,
    SourceShapeError,
    WavelengthError,
)
from galahstream.sources import parquet_table
from galahstream.sources.base import Source
from galahstream.sources.open import open_source
from galahstream.sources.parquet import ParquetSource
from tests.sources.contract import SourceContract, read_all
from tests.sources.files import FLUX, IDS, LABELS, LARGE, N_PIXELS, N_STARS, WAVELENGTH
from tests.sources.parquet_files import (
    APOGEE_FLOATS,
    ERROR,
    GRIDS,
    IVAR,
    apogee_grid,
    apogee_table,
    columns,
    lists,
    parts,
    spectrum,
    write_collection,
    write_hats,
    write_parquet,
)

pa = pytest.importorskip("pyarrow")


def flat(**others: Any) -> dict[str, Any]:
    """Return a table whose spectra are not in a struct."""
    table = columns(spectrum_flux=lists(FLUX), spectrum_lambda=lists(GRIDS), **others)
    del table["spectrum"]
    return table


SOURCES: dict[str, Callable[[Path], Source]] = {
    "one file": lambda folder: ParquetSource(write_parquet(folder / "a.parquet", columns())),
    "row groups": lambda folder: ParquetSource(
        write_parquet(folder / "a.parquet", columns(), row_group_size=5, compression="zstd")
    ),
    "errors": lambda folder: ParquetSource(
        write_parquet(folder / "a.parquet", columns(), row_group_size=9), errors=True
    ),
    "no struct": lambda folder: ParquetSource(write_parquet(folder / "a.parquet", flat())),
    "no ids, no labels": lambda folder: ParquetSource(
        write_parquet(folder / "a.parquet", {"flux": lists(FLUX)})
    ),
    "HATS": lambda folder: ParquetSource(write_hats(folder / "hats", parts(columns(), 4, 4, 11))),
}


class TestContract(SourceContract):
    @pytest.fixture(params=SOURCES)
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> Source:
        return SOURCES[request.param](tmp_path)

    def test_its_errors_fit_its_flux(self, source: Source) -> None:
        spectra = list(source.iter_spectra(7))
        flux = np.concatenate([one.flux for one in spectra])
        assert flux.tobytes() == read_all(source, 7).tobytes()
        errors = [one.error for one in spectra if one.error is not None]
        assert bool(errors) == source.has_errors
        if errors:
            assert np.array_equal(np.concatenate(errors), ERROR, equal_nan=True)


def usual(folder: Path, **others: Any) -> Path:
    return write_parquet(folder / "a.parquet", columns(**others))


def with_flux(flux: Any, **fields: Any) -> Any:
    return spectrum(flux=flux, **{"lambda": lists(GRIDS), **fields})


@pytest.mark.parametrize("name", ["a.parquet", "survey", "survey.h5", "spectra.npy"])
def test_a_file_is_recognised_by_its_content(tmp_path: Path, name: str) -> None:
    usual(tmp_path).rename(tmp_path / name)
    source = open_source(tmp_path / name)
    assert isinstance(source, ParquetSource)
    assert np.array_equal(read_all(source, 5), FLUX, equal_nan=True)
    assert source.label_names == ("teff", "logg", "visits")
    assert source.label_units == ("K", "dex", "")
    assert np.array_equal(source.ids, IDS)
    assert source.wavelength is not None
    assert np.array_equal(source.wavelength, WAVELENGTH)


@pytest.mark.slow
def test_the_layout_of_apogee_dr17_of_multimodaluniverse_becomes_a_store(tmp_path: Path) -> None:
    tables = [apogee_table(5), apogee_table(7)]
    folder = write_collection(tmp_path / "mmu_apogee_dr17", tables)
    store = convert(folder, tmp_path / "store", split=(0.5, 0.25, 0.25))
    assert store.flux.shape == (12, 7514)
    assert np.array_equal(store.wavelength, apogee_grid().astype(np.float64))
    assert set(store.labels) == {"ra", "dec", *APOGEE_FLOATS}
    teff = np.concatenate([table["teff"] for table in tables]).astype(np.float64)
    assert np.array_equal(store.labels["teff"], teff[store.source_row])
    flux = np.array(
        [row for table in tables for row in table["spectrum"].field("flux").to_pylist()]
    )
    assert np.array_equal(store.flux[:], flux[store.source_row].astype(np.float32))
    assert any("pseudo_continuum_flux" in note for note in store.info()["notes"])
    assert any("'object_id' holds text" in note for note in store.info()["notes"])


def test_flux_relative_to_the_continuum_is_chosen_with_its_errors(tmp_path: Path) -> None:
    table = apogee_table(3)
    path = write_parquet(tmp_path / "a.parquet", table)
    source = ParquetSource(path, flux="spectrum.pseudo_continuum_flux", errors=True)
    (spectra,) = source.iter_spectra(3)
    expected = table["spectrum"].field("pseudo_continuum_flux").to_pylist()
    ivar = np.array(table["spectrum"].field("pseudo_continuum_ivar").to_pylist())
    assert np.array_equal(spectra.flux, np.array(expected, dtype=np.float32))
    assert spectra.error is not None
    assert np.allclose(spectra.error, 1 / np.sqrt(ivar))
    assert not any("continuum" in note for note in source.notes)


def test_columns_have_the_names_that_are_given(tmp_path: Path) -> None:
    table = columns(sob=lists(FLUX), wave=lists(GRIDS), weight=lists(IVAR))
    path = write_parquet(tmp_path / "a.parquet", {n: table[n] for n in table if n != "spectrum"})
    with pytest.raises(SourceShapeError, match=r"no list column.*sob, wave, weight.*flux_column="):
        ParquetSource(path)
    source = ParquetSource(path, flux="sob", wavelength="wave", ivar="weight", errors=True)
    (spectra,) = source.iter_spectra(N_STARS)
    assert np.array_equal(spectra.flux, FLUX, equal_nan=True)
    assert spectra.error is not None
    assert np.array_equal(spectra.error, ERROR, equal_nan=True)
    assert source.wavelength is not None


@pytest.mark.parametrize("column", ["nothing", "teff", "spectrum", "spectrum.nothing", "object_id"])
@pytest.mark.parametrize("option", ["flux", "wavelength", "ivar"])
def test_a_column_that_is_not_a_list_of_numbers_is_named(
    tmp_path: Path, option: str, column: str
) -> None:
    path = usual(tmp_path)
    with pytest.raises(SourceShapeError, match=f"a.parquet: column '{column}'.*{option}_column="):
        ParquetSource(path, errors=True, **{option: column})


def test_errors_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceShapeError, match="inverse variances of 'spectrum_flux'"):
        ParquetSource(write_parquet(tmp_path / "a.parquet", flat()), errors=True)


@pytest.mark.parametrize("kind", ["list", "large", "fixed"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i2", "u4"])
def test_lists_of_every_kind_and_number_are_read(tmp_path: Path, kind: str, dtype: str) -> None:
    flux = np.round(np.nan_to_num(FLUX, posinf=1) * 10).astype(dtype)
    path = usual(tmp_path, spectrum=with_flux(lists(flux, kind)))
    assert np.array_equal(read_all(ParquetSource(path), 6), flux.astype(np.float32))


def test_flux_beyond_float32_and_of_64_bit_integers_is_named(tmp_path: Path) -> None:
    flux = FLUX.astype(np.float64)
    flux[9, 2] = 1e300
    with pytest.raises(SourceShapeError, match="row 9, pixel 2"):
        read_all(ParquetSource(usual(tmp_path, spectrum=with_flux(lists(flux)))), 4)
    path = usual(tmp_path, spectrum=with_flux(lists(np.ones(FLUX.shape, dtype=np.int64))))
    with pytest.raises(SourceShapeError, match=r"'spectrum.flux': flux of dtype int64"):
        ParquetSource(path)


def null_struct() -> Any:
    rows = [
        None if row in (0, 5) else {"flux": flux.tolist(), "lambda": WAVELENGTH.tolist()}
        for row, flux in enumerate(FLUX)
    ]
    kind = pa.struct([("flux", pa.list_(pa.float32())), ("lambda", pa.list_(pa.float64()))])
    return pa.array(rows, type=kind)


def without_rows(kind: str) -> Any:
    none: Any = None if "null" in kind else []
    rows: list[Any] = [none if row in (0, 5) else flux for row, flux in enumerate(FLUX)]
    return with_flux(lists(rows, dtype="f4"))


@pytest.mark.parametrize("kind", ["null lists", "empty lists", "null structs"])
def test_a_row_without_a_spectrum_has_no_usable_pixel(tmp_path: Path, kind: str) -> None:
    struct = null_struct() if kind == "null structs" else without_rows(kind)
    path = write_parquet(tmp_path / "a.parquet", columns(spectrum=struct), row_group_size=4)
    flux = read_all(ParquetSource(path), 3)
    assert np.isnan(flux[[0, 5]]).all()
    kept = np.delete(np.arange(N_STARS), [0, 5])
    assert np.array_equal(flux[kept], FLUX[kept], equal_nan=True)
    with pytest.raises(BadSpectraError, match=f"row 0 .star {IDS[0]}. has no usable pixel"):
        convert(path, tmp_path / "store")
    store = convert(path, tmp_path / "store", on_bad="skip")
    assert [star for star, _ in store.manifest.skipped] == [IDS[0], IDS[5]]


def test_missing_pixels_are_nan(tmp_path: Path) -> None:
    rows = [list(row) for row in FLUX]
    rows[4][7] = None
    flux = read_all(ParquetSource(usual(tmp_path, spectrum=with_flux(lists(rows, dtype="f4")))), 9)
    assert np.isnan(flux[4, 7])


@pytest.mark.parametrize("row", [1, 20])
def test_a_row_of_another_length_is_named(tmp_path: Path, row: int) -> None:
    rows: list[Any] = [flux[:-3] if number == row else flux for number, flux in enumerate(FLUX)]
    path = usual(tmp_path, spectrum=with_flux(lists(rows, dtype="f4")))
    with pytest.raises(
        SourceShapeError, match=f"row {row} has 37 values in column 'spectrum.flux'"
    ):
        convert(path, tmp_path / "store")
    assert not (tmp_path / ".store.partial").exists()


@pytest.mark.parametrize("row", [1, 20])
@pytest.mark.parametrize("change", ["other", "missing"])
def test_a_row_on_other_wavelengths_is_named(tmp_path: Path, row: int, change: str) -> None:
    grids: list[Any] = list(GRIDS.copy())
    grids[row] = grids[row] + 0.5 * (np.arange(N_PIXELS) > 6) if change == "other" else None
    path = usual(
        tmp_path, spectrum=spectrum(flux=lists(FLUX), **{"lambda": lists(grids, dtype="f8")})
    )
    place = f"a.parquet: row {row} has the wavelength .* at pixel {7 if change == 'other' else 0}"
    with pytest.raises(WavelengthError, match=place):
        convert(path, tmp_path / "store")
    with pytest.raises(WavelengthError, match=place):
        convert(path, tmp_path / "store", wavelength=WAVELENGTH)
    assert not (tmp_path / ".store.partial").exists()


def with_units(table: dict[str, Any], **units: str) -> Any:
    made = pa.table(table)
    for name, unit in units.items():
        index = made.schema.get_field_index(name)
        field = made.schema.field(index).with_metadata({"unit": unit})
        made = made.set_column(index, field, made.column(index))
    return made


def test_units_that_columns_state_are_used_or_named(tmp_path: Path) -> None:
    path, write = tmp_path / "a.parquet", pytest.importorskip("pyarrow.parquet").write_table
    write(with_units(flat(), spectrum_lambda="nm", teff="kK"), path)
    source = ParquetSource(path)
    assert source.label_units == ("kK", "dex", "")
    assert source.wavelength is not None
    assert np.array_equal(source.wavelength, 10 * WAVELENGTH)
    write(with_units(flat(), spectrum_flux="erg/s/cm2"), path)
    with pytest.raises(SourceFormatError, match="'spectrum_flux': its unit is 'erg/s/cm2'"):
        ParquetSource(path)


def test_labels_are_chosen_and_named_like_those_of_other_sources(tmp_path: Path) -> None:
    source = ParquetSource(usual(tmp_path), ["t[K]=teff", "visits"])
    assert (source.label_names, source.label_units) == (("t", "visits"), ("K", ""))
    for label, reason in (("nothing", "no such column"), ("spectrum", "it is struct")):
        with pytest.raises(LabelError, match=f"'{label}': {reason}.*teff, logg, visits, source_id"):
            ParquetSource(usual(tmp_path), [label])
    assert np.array_equal(source.read_column("source_id"), LARGE)
    assert np.array_equal(source.read_column("object_id"), IDS)


def test_missing_labels_are_nan(tmp_path: Path) -> None:
    path = usual(
        tmp_path,
        teff=pa.array([None if row == 2 else row / 2 for row in range(N_STARS)], pa.float32()),
        visits=pa.array([None if row == 3 else row for row in range(N_STARS)], pa.int64()),
    )
    labels = ParquetSource(path).read_labels()
    assert np.argwhere(np.isnan(labels))[:2].tolist() == [[2, 0], [3, 2]]
    assert labels[4, 2] == 4


def test_large_integers_with_gaps_do_not_become_floats(tmp_path: Path) -> None:
    gaps = pa.array([None if row == 3 else int(LARGE[row]) for row in range(N_STARS)], pa.int64())
    source = ParquetSource(usual(tmp_path, source_id=gaps))
    with pytest.raises(LabelError, match=r"'source_id' holds integers beyond.*1 rows have none"):
        source.read_column("source_id")
    with pytest.raises(SourceShapeError, match="'object_id'"):
        ParquetSource(usual(tmp_path, object_id=IDS.astype(np.float64)))


@pytest.mark.parametrize("form", ["{}", "  {}", "b'{}'", "b' {}'"])
@pytest.mark.parametrize("kind", ["string", "large_string", "binary"])
def test_numbers_as_text_are_ids(tmp_path: Path, form: str, kind: str) -> None:
    texts = [form.format(number) for number in IDS]
    values: list[Any] = [text.encode() for text in texts] if kind == "binary" else texts
    source = ParquetSource(usual(tmp_path, object_id=pa.array(values, getattr(pa, kind)())))
    assert np.array_equal(source.ids, IDS)
    assert source.notes == ()


def test_rows_are_grouped_by_ids_that_are_text(tmp_path: Path) -> None:
    names = [f"2M{row // 3:08d}" for row in range(N_STARS)]
    path = usual(tmp_path, object_id=pa.array(names))
    source = ParquetSource(path)
    assert np.array_equal(source.ids, np.arange(N_STARS))
    assert "'2M00000000'" in source.notes[0]
    store = convert(path, tmp_path / "store", groups="object_id", split=(0.4, 0.3, 0.3))
    split_of = {(row // 3, part) for row, part in zip(store.source_row, store.split, strict=True)}
    assert len(split_of) == 8


def damaged(content: bytes, kind: str) -> bytes:
    middle = len(content) // 3
    return {
        "truncated": content[:middle],
        "without its end": content[:-1],
        "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "empty": b"",
        "text": b"no table at all",
        "magic alone": b"PAR1",
        "flipped": content[:middle]
        + bytes(byte ^ 255 for byte in content[middle:-8])
        + content[-8:],
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["truncated", "without its end", "a pointer", "empty", "text", "magic alone", "flipped"],
)
def test_a_damaged_file_is_named(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "all"
    for number, part in enumerate(parts(columns(), 9)):
        write_parquet(folder / f"{number}.parquet", part)
    path = folder / "1.parquet"
    path.write_bytes(damaged(path.read_bytes(), kind))
    with pytest.raises(SourceFormatError, match=r"1\.parquet") as caught:
        read_all(open_source(folder), 4)
    assert "\n" not in str(caught.value)


def test_a_damaged_page_is_named_by_its_checksum(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "a.parquet", flat(), compression="none", write_page_checksum=True,
        use_dictionary=False,
    )  # fmt: skip
    content = bytearray(path.read_bytes())
    place = bytes(content).index(FLUX[11].tobytes())
    content[place + 30] ^= 1
    path.write_bytes(content)
    with pytest.raises(SourceFormatError, match=r"a.parquet: pyarrow cannot read"):
        read_all(ParquetSource(path), 4)


def test_no_pyarrow_and_no_file_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceMissingError, match="nowhere"):
        ParquetSource(tmp_path / "nowhere")
    path = usual(tmp_path)

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(parquet_table, "import_module", missing)
    with pytest.raises(ExtraMissingError, match=r"galahstream\[parquet\]"):
        open_source(path)


def labels_of(path: Path) -> npt.NDArray[np.float64]:
    return ParquetSource(path).read_labels()


def test_a_converted_store_is_that_of_the_same_arrays(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", columns(), row_group_size=7)
    mapping = {"teff": labels_of(path)[:, 0], "logg": LABELS[:, 1], "ids": IDS}
    ours = convert(path, tmp_path / "ours", labels=["teff", "logg"])
    theirs = convert((FLUX, mapping), tmp_path / "theirs", wavelength=WAVELENGTH)
    assert np.array_equal(ours.flux[:], theirs.flux[:], equal_nan=True)
    assert np.array_equal(ours.ids, theirs.ids)
    assert np.array_equal(ours.labels["teff"], theirs.labels["teff"])
    assert np.array_equal(ours.wavelength, theirs.wavelength)
    assert ours.manifest.provenance.reader == "ParquetSource"


@pytest.mark.slow
def test_memory_is_that_of_a_block_whatever_the_size_of_a_row_group(tmp_path: Path) -> None:
    flux = np.random.default_rng(3).uniform(size=(2048, 4096)).astype(np.float32)
    values = pa.FixedSizeListArray.from_arrays(pa.array(flux.reshape(-1)), flux.shape[1])
    grids = pa.FixedSizeListArray.from_arrays(
        pa.array(np.tile(np.arange(1.0, 4097.0), len(flux))), flux.shape[1]
    )
    path = write_parquet(tmp_path / "a.parquet", {"flux": values, "lambda": grids})
    del values, grids
    pool, usual_pool = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        n_rows = sum(len(block) for block in ParquetSource(path).iter_blocks(16))
    finally:
        pa.set_memory_pool(usual_pool)
    assert n_rows == len(flux)
    assert pool.max_memory() < flux.nbytes / 2
