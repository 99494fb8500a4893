"""Catalogues in five formats: what their columns hold, what is missing, and what is refused."""

from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from galahstream.errors import (
    ExtraMissingError,
    LabelError,
    SourceFormatError,
    SourceMissingError,
    SourceShapeError,
)
from galahstream.sources import catalogue_formats
from galahstream.sources.catalogue import Catalogue
from tests.sources.tables import DR4, FORMATS, GAIA, SOBJECT, TMASS, UNITS, write_table


@pytest.fixture(params=FORMATS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_each_format_holds_the_same_and_is_told_by_content(kind: str, tmp_path: Path) -> None:
    path = write_table(tmp_path / f"written.{kind}", DR4, kind, UNITS)
    misnamed = path.rename(tmp_path / "catalogue.hdf5")
    catalogue = Catalogue(misnamed)
    assert catalogue.names == tuple(DR4)
    assert catalogue.keys("sobject_id").values.tolist() == SOBJECT.tolist()
    assert catalogue.keys("gaiadr3_source_id").values.tolist() == GAIA.tolist()
    tmass = catalogue.keys("tmass_id")
    assert tmass.values.tolist() == TMASS.tolist()
    assert tmass.is_missing.tolist() == [False] * 5 + [True]
    for name, missing in {
        "teff": [2, 3],
        "e_teff": [],
        "logg": [3],
        "fe_h": [4],
        "flag_sp": [],
        "rv_comp_1": [4],
    }.items():
        numbers = catalogue.numbers(name)
        assert np.flatnonzero(numbers.is_missing).tolist() == missing, name
        known = ~numbers.is_missing
        expected = DR4[name].astype(np.float64)[known]
        assert np.allclose(numbers.values[known], expected, rtol=1e-6), name
    assert catalogue.numbers("flag_sp").values.dtype == np.int64
    assert catalogue.unit("teff") == ("" if kind == "csv" else "K")


def test_masked_values_are_missing_and_masked_ids_stay_exact(kind: str, tmp_path: Path) -> None:
    masked = np.ma.masked_array(GAIA, mask=np.arange(6) == 1)
    columns = {
        "sobject_id": SOBJECT,
        "gaiadr3_source_id": masked,
        "teff": np.ma.masked_array(np.arange(6.0), mask=np.arange(6) == 2),
        "flag_sp": np.ma.masked_array(np.arange(6), mask=np.arange(6) == 3),
    }
    catalogue = Catalogue(write_table(tmp_path / "table", columns, kind))
    keys = catalogue.keys("gaiadr3_source_id")
    assert np.flatnonzero(keys.is_missing).tolist() == [1]
    assert keys.values[~keys.is_missing].tolist() == GAIA[[0, 2, 3, 4, 5]].tolist()
    assert np.flatnonzero(catalogue.numbers("teff").is_missing).tolist() == [2]
    assert np.flatnonzero(catalogue.numbers("flag_sp").is_missing).tolist() == [3]


def test_ids_stored_as_floats_are_refused(kind: str, tmp_path: Path) -> None:
    columns = {**DR4, "sobject_id": SOBJECT.astype(np.float64)}
    path = write_table(tmp_path / "table", columns, kind)
    with pytest.raises(SourceShapeError, match=r"table.*'sobject_id'.*float64.*64-bit integers"):
        Catalogue(path).keys("sobject_id")


def test_ids_written_as_text_are_exact(kind: str, tmp_path: Path) -> None:
    columns = {"sobject_id": SOBJECT, "gaia_id": GAIA.astype(np.str_)}
    catalogue = Catalogue(write_table(tmp_path / "table", columns, kind))
    assert catalogue.keys("gaia_id").values.tolist() == GAIA.tolist()


def test_text_is_no_label(kind: str, tmp_path: Path) -> None:
    catalogue = Catalogue(write_table(tmp_path / "table", DR4, kind))
    with pytest.raises(LabelError, match=r"'tmass_id': text, such as '05505952\+0759226'"):
        catalogue.numbers("tmass_id")


@pytest.mark.parametrize("kind", ["fits", "votable", "parquet"])  # the end of a text cannot be told
def test_a_truncated_table_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    columns = {name: np.tile(values, 800) for name, values in DR4.items()}
    path = write_table(tmp_path / "table", columns, kind)
    data = path.read_bytes()
    for size in (len(data) // 2, len(data) // 3 * 2, 3000):
        path.write_bytes(data[: size - size % 7 + 3])
        with pytest.raises(SourceFormatError, match="table"):
            Catalogue(path).load(DR4)


def test_columns_are_found_in_any_case_if_there_is_one(tmp_path: Path) -> None:
    catalogue = Catalogue(write_table(tmp_path / "one.csv", DR4))
    assert catalogue.column_name("mg_fe") == "Mg_fe"
    assert catalogue.column_name("TEFF") == "teff"
    both = {"sobject_id": SOBJECT, "Mg_fe": SOBJECT, "MG_FE": SOBJECT}
    catalogue = Catalogue(write_table(tmp_path / "two.csv", both))
    assert catalogue.column_name("Mg_fe") == "Mg_fe"
    with pytest.raises(LabelError, match="2 columns are called 'mg_fe' \\(Mg_fe, MG_FE\\)"):
        catalogue.column_name("mg_fe")


def test_an_unknown_column_is_named_with_similar_ones(tmp_path: Path) -> None:
    catalogue = Catalogue(write_table(tmp_path / "table.csv", DR4))
    with pytest.raises(LabelError, match="no column 'snr_px_cdd3'; similar are snr_px_ccd3"):
        catalogue.numbers("snr_px_cdd3")
    with pytest.raises(LabelError, match=r"no column 'xyz'; it has sobject_id, .*, \.\.\."):
        catalogue.numbers("xyz")


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("sobject_id,teff,teff\n1,2,3\n")
    with pytest.raises(LabelError, match="2 columns are called 'teff'"):
        Catalogue(path).numbers("teff")


def test_only_the_columns_that_are_asked_for_are_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = Catalogue(write_table(tmp_path / "table", DR4, kind))
    catalogue.load(["teff", "logg"])
    (tmp_path / "table").unlink()
    assert catalogue.numbers("teff").values[0] == 5772
    assert catalogue.numbers("LOGG").values[1] == 2.5
    with pytest.raises(Exception, match="table"):
        catalogue.numbers("fe_h")


def test_several_values_per_star_are_no_label(tmp_path: Path) -> None:
    columns = {"sobject_id": SOBJECT, "snr": np.ones((6, 4))}
    for kind in ("fits", "votable"):
        catalogue = Catalogue(write_table(tmp_path / kind, columns, kind))
        with pytest.raises(LabelError, match="'snr': not one real number per star"):
            catalogue.numbers("snr")


def test_missing_values_of_the_user_count_in_every_column(tmp_path: Path) -> None:
    path = write_table(
        tmp_path / "table.csv", {"a": np.array([1, 2, 3]), "b": np.array([2.0, 5, 2])}
    )
    catalogue = Catalogue(path, missing_values=(2,))
    assert catalogue.numbers("a").is_missing.tolist() == [False, True, False]
    assert catalogue.numbers("b").is_missing.tolist() == [True, False, True]


def test_a_flag_is_a_sum_of_bits_and_never_a_fill_value(tmp_path: Path) -> None:
    columns = {"flag_sp": np.array([0, 0, 9999, 9999]), "teff": np.array([5000, 5100, 9999, 9999])}
    catalogue = Catalogue(write_table(tmp_path / "table.csv", columns))
    assert not catalogue.numbers("flag_sp").is_missing.any()
    assert catalogue.numbers("teff").is_missing.tolist() == [False, False, True, True]
    assert catalogue.fill_values == {"teff": ((9999.0, 2),)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sobject_id,teff\n1,2\n3\n", "row 2 has 1 values, and there are 2"),
        ("sobject_id,teff\n1,2,3\n", "row 1 has 3 values"),
    ],
)
def test_a_row_of_csv_with_other_columns_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(SourceFormatError, match=reason):
        Catalogue(path).load(["teff"])


def test_csv_may_have_comments_quotes_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    text = "# Labels, of the stars\n# more\nsobject_id, name,teff\r\n"
    text += '1,"mu Leo, A",4474\r\n\r\n2,b, nan\n'
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    catalogue = Catalogue(path)
    assert catalogue.names == ("sobject_id", "name", "teff")
    assert catalogue.raw_column("name").values.tolist() == ["mu Leo, A", "b"]
    assert catalogue.numbers("teff").is_missing.tolist() == [False, True]


@pytest.mark.parametrize("cell", ["1_000", "1_0.5", "0x10", "1,5", "5772 K", "True", "12d3"])
def test_what_only_looks_like_a_number_is_text(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f'sobject_id,teff\n1,5772\n2,"{cell}"\n')
    with pytest.raises(LabelError, match="'teff': text, such as '5772', not numbers"):
        Catalogue(path).numbers("teff")


def test_a_column_of_text_is_text_where_the_table_says_so(kind: str, tmp_path: Path) -> None:
    if kind == "csv":
        pytest.skip("CSV does not say so")
    columns = {"sobject_id": SOBJECT, "field": np.array(["0012", "0013", "7", "8", "9", "10"])}
    catalogue = Catalogue(write_table(tmp_path / "table", columns, kind))
    with pytest.raises(LabelError, match="'field': text, such as '0012', not numbers"):
        catalogue.numbers("field")


def test_units_that_astropy_writes_into_parquet_are_read(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    table = pytest.importorskip("astropy.table").Table({"sobject_id": SOBJECT, "teff": DR4["teff"]})
    table["teff"].unit = "kK"
    table.write(tmp_path / "table", format="parquet")
    catalogue = Catalogue(tmp_path / "table")
    assert catalogue.unit("teff") == "kK"
    assert catalogue.keys("sobject_id").values.tolist() == SOBJECT.tolist()


def test_a_fits_table_with_a_declared_null_and_unsigned_ids(tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    flags = fits.Column("flag_sp", "J", null=-1, array=np.array([0, -1, 3]))
    ids = fits.Column("sobject_id", "K", bzero=2**63, array=SOBJECT[:3].astype(np.uint64))
    fits.BinTableHDU.from_columns([ids, flags]).writeto(tmp_path / "table.fits")
    catalogue = Catalogue(tmp_path / "table.fits")
    assert catalogue.numbers("flag_sp").is_missing.tolist() == [False, True, False]
    assert catalogue.keys("sobject_id").values.tolist() == SOBJECT[:3].tolist()


def test_nulls_of_a_fits_table_are_found_before_numbers_are_scaled(tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    columns = [
        fits.Column("sobject_id", "K", array=SOBJECT[:3]),
        fits.Column("teff", "I", array=[0, -32768, 400]),
        fits.Column("snr", "I", array=[-32768, -32700, 5]),
    ]
    path = tmp_path / "table.fits"
    fits.BinTableHDU.from_columns(columns).writeto(path)
    content = bytearray(path.read_bytes())
    place = content.index(b"END     ", 2880)
    # astropy writes no table of this kind.
    keywords = {"TSCAL2": 0.5, "TZERO2": 5000.0, "TNULL2": -32768, "TZERO3": 32768}
    for keyword, value in (keywords | {"TNULL3": -32768}).items():
        content[place : place + 80] = fits.Card(keyword, value).image.encode()
        place += 80
    content[place : place + 80] = b"END".ljust(80)
    path.write_bytes(content)
    teff, snr = (Catalogue(path).numbers(name) for name in ("teff", "snr"))
    assert teff.is_missing.tolist() == [False, True, False]
    assert teff.values[[0, 2]].tolist() == [5000.0, 5200.0]
    assert snr.is_missing.tolist() == [True, False, False]
    assert snr.values[1:].tolist() == [68, 32773]


def test_nulls_and_blanks_of_an_ascii_table_in_fits_are_missing(tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    columns = [
        fits.Column("sobject_id", "I18", array=SOBJECT[:3], ascii=True),
        fits.Column("flag_sp", "I4", null="-1", array=[0, -1, 2], ascii=True),
        fits.Column("teff", "F8.1", array=[5000.0, 5100.0, 5200.0], ascii=True),
    ]
    path = tmp_path / "table.fits"
    fits.TableHDU.from_columns(columns).writeto(path)
    path.write_bytes(path.read_bytes().replace(b"  5100.0", b"        "))
    catalogue = Catalogue(path)
    assert catalogue.keys("sobject_id").values.tolist() == SOBJECT[:3].tolist()
    assert catalogue.numbers("flag_sp").is_missing.tolist() == [False, True, False]
    teff = catalogue.numbers("teff")
    assert teff.is_missing.tolist() == [False, True, False]
    assert teff.values[[0, 2]].tolist() == [5000.0, 5200.0]


@pytest.mark.parametrize("spelling", ["NaN", "nan", "NULL", "None", "none", "N/A", "--"])
def test_what_is_no_number_is_no_id_either(kind: str, tmp_path: Path, spelling: str) -> None:
    ids = np.array([spelling, "05505952+0759226", spelling])
    catalogue = Catalogue(write_table(tmp_path / "table", {"tmass_id": ids}, kind))
    assert catalogue.keys("tmass_id").is_missing.tolist() == [True, False, True]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x89HDF\r\n\x1a\n" + bytes(99), b"PK\3\4\0abc", b"\x1f\x8b\x08\0", b"<html></html>"],
)
def test_what_is_no_table_is_refused_by_its_first_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(
        SourceFormatError, match=r"table\.csv (is empty|begins with).*FITS, CSV, ECSV"
    ):
        Catalogue(path)


def test_a_missing_file_a_folder_and_a_pointer_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="does not exist"):
        Catalogue(tmp_path / "none.fits")
    with pytest.raises(SourceMissingError, match="does not exist, or is not a file"):
        Catalogue(tmp_path)
    (tmp_path / "pointer").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(SourceFormatError, match="git lfs pull"):
        Catalogue(tmp_path / "pointer")


def test_a_fits_file_without_a_table_is_refused(tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    fits.PrimaryHDU(np.zeros(10)).writeto(tmp_path / "image.fits")
    with pytest.raises(SourceFormatError, match="it has no table, only images"):
        Catalogue(tmp_path / "image.fits")


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [
        ("fits", "astropy", "fits"),
        ("ecsv", "astropy", "fits"),
        ("votable", "astropy", "fits"),
        ("parquet", "pyarrow", "parquet"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, package: str, extra: str
) -> None:
    path = write_table(tmp_path / "table", DR4, kind)

    def missing(name: str) -> Any:
        if name.startswith(package):
            raise ImportError(name)
        return import_module(name)

    monkeypatch.setattr(catalogue_formats, "import_module", missing)
    with pytest.raises(ExtraMissingError, match=rf"needs {package}: .*galahstream\[{extra}\]"):
        Catalogue(path).load(["teff"])


def test_csv_needs_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(catalogue_formats, "import_module", missing)
    assert Catalogue(write_table(tmp_path / "table.csv", DR4)).numbers("teff").values[0] == 5772


_CELLS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.floats().map(repr),
    st.sampled_from(["", "nan", "1e20", " 7 ", "x"]),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(_CELLS, min_size=1, max_size=8))
def test_a_column_of_csv_keeps_integers_and_never_invents_a_number(
    cells: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n" + "".join(f"{cell},0\n" for cell in cells))
    values, is_missing = Catalogue(path).raw_column("a")
    for cell, value, missing in zip(cells, values.tolist(), is_missing.tolist(), strict=True):
        if not missing:
            assert type(value)(cell.strip()) == value or np.isnan(value)


def test_a_hdf5_file_is_no_catalogue_whatever_its_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "table.fits", "w") as file:
        file["teff"] = np.zeros(4)
    with pytest.raises(SourceFormatError, match="not a table in FITS"):
        Catalogue(tmp_path / "table.fits")
