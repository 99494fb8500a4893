"""Tables that are written in parts, opened by other programs' readers."""

import csv
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from galahstream.errors import ExtraMissingError, OptionError, SourceMissingError
from galahstream.sources.table_writers import TableColumn, TableLayout, writing_table

FORMATS = ("csv", "ecsv", "fits", "parquet", "npy")
COLUMNS = (
    TableColumn("id", "i8"),
    TableColumn("teff", "f8", "K"),
    TableColumn("mass, old", "f8", "M☉"),
    TableColumn("flag", "i4"),
)
Values = list[npt.NDArray[Any]]


def values(n_rows: int, seed: int = 0) -> Values:
    """Return columns with the extremes of their types, and with numbers that are not finite."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(-(2**63), 2**63 - 1, n_rows)
    teff, mass = generator.normal(5500, 400, n_rows), generator.normal(1, 0.2, n_rows)
    flags = generator.integers(0, 8, n_rows).astype(np.int32)
    if n_rows > 2:
        teff[:3] = np.nan, np.inf, -np.inf
    return [ids, teff, mass, flags]


def written(path: Path, columns: Values, parts: int = 1) -> Path:
    layout = TableLayout(COLUMNS, len(columns[0]), ("flag 1: a first bit", "flag 2: " + 90 * "x"))
    with writing_table(path, layout) as table:
        for rows in np.array_split(np.arange(len(columns[0])), parts):
            table.write([column[rows] for column in columns])
    return path


def read(path: Path) -> Values:
    """Return the columns of a table as another program reads them."""
    suffix = path.suffix
    if suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        types = (np.int64, np.float64, np.float64, np.int32)
        return [
            np.array([kind(row[column.name]) for row in rows], kind)
            for column, kind in zip(COLUMNS, types, strict=True)
        ]
    if suffix == ".npy":
        array = np.load(path)
        return [array[column.name] for column in COLUMNS]
    if suffix == ".parquet":
        table = pq.read_table(path)
        return [table[column.name].to_numpy() for column in COLUMNS]
    found = Table.read(path)
    return [np.asarray(found[column.name]) for column in COLUMNS]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("parts", [1, 3])
def test_other_programs_read_what_was_written(tmp_path: Path, suffix: str, parts: int) -> None:
    columns = values(40)
    found = read(written(tmp_path / f"labels.{suffix}", columns, parts))
    is_text = suffix in ("csv", "ecsv")
    for expected, column in zip(columns, found, strict=True):
        assert column.dtype.kind == expected.dtype.kind
        np.testing.assert_allclose(column, expected, rtol=1e-5 if is_text else 0)
    assert [path.name for path in tmp_path.iterdir()] == [f"labels.{suffix}"]


@pytest.mark.parametrize("suffix", ["ecsv", "fits"])
def test_astropy_finds_units_and_comments(tmp_path: Path, suffix: str) -> None:
    table = Table.read(written(tmp_path / f"labels.{suffix}", values(4)))
    assert [str(table[name].unit) for name in ("teff", "mass, old")] == ["K", "solMass"]
    comments = "".join(table.meta["comments"])
    assert "flag 1: a first bit" in comments
    assert "flag 2: " + 90 * "x" in comments


def test_a_fits_table_is_what_the_standard_says(tmp_path: Path) -> None:
    path = written(tmp_path / "labels.fits", values(37))
    assert path.stat().st_size % 2880 == 0
    with fits.open(path) as hdus:
        hdus.verify("exception")
        assert len(hdus[1].data) == 37


def test_a_parquet_file_holds_units_and_comments(tmp_path: Path) -> None:
    schema = pq.read_schema(written(tmp_path / "labels.parquet", values(4), parts=2))
    assert schema.field("teff").metadata == {b"unit": b"K"}
    assert schema.field("id").metadata is None
    assert b"a first bit" in schema.metadata[b"comments"]


@settings(max_examples=25, deadline=None)
@given(
    cells=st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1), st.floats(width=32), st.floats(), st.integers(0, 7)
        ),
        min_size=1,
        max_size=20,
    ),
    suffix=st.sampled_from(["fits", "parquet", "npy"]),
    parts=st.integers(1, 4),
)
def test_binary_tables_keep_every_value(
    tmp_path_factory: pytest.TempPathFactory, cells: list[Any], suffix: str, parts: int
) -> None:
    types = (np.int64, np.float64, np.float64, np.int32)
    columns = [
        np.array(column, kind) for column, kind in zip(zip(*cells, strict=True), types, strict=True)
    ]
    path = written(tmp_path_factory.mktemp("table") / f"a.{suffix}", columns, parts)
    for expected, found in zip(columns, read(path), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_error_leaves_the_file_that_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels.{suffix}"
    path.write_bytes(b"older")
    columns = values(4)

    def fail() -> None:
        with writing_table(path, TableLayout(COLUMNS, 8)) as table:
            table.write(columns)
            msg = "the disk is gone"
            raise OSError(msg)

    with pytest.raises(OSError, match="the disk is gone"):
        fail()
    assert path.read_bytes() == b"older"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["labels.txt", "labels", "labels.fits.gz", ".csv"])
def test_a_suffix_without_a_format_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match=r"expected one of \.csv, \.ecsv, \.fits"):
        written(tmp_path / name, values(2))


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="nowhere"):
        written(tmp_path / "nowhere" / "labels.csv", values(2))


@pytest.mark.parametrize("name", ["T_eff°", 69 * "a", 35 * "'"])
def test_a_name_that_fits_cannot_hold_is_rejected(tmp_path: Path, name: str) -> None:
    layout = TableLayout((TableColumn(name, "f8"),), 1)
    with (
        pytest.raises(OptionError, match="choose another format"),
        writing_table(tmp_path / "labels.fits", layout),
    ):
        pass
    with writing_table(tmp_path / "labels.ecsv", layout) as table:
        table.write([np.array([1.5])])
    assert Table.read(tmp_path / "labels.ecsv").colnames == [name]


def test_two_columns_of_one_name_are_rejected() -> None:
    with pytest.raises(OptionError, match="two columns 'id'"):
        TableLayout((TableColumn("id", "i8"), TableColumn("id", "f8")), 1)


def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExtraMissingError, match=r"galahstream\[parquet\]"):
        written(tmp_path / "labels.parquet", values(2))
    assert not list(tmp_path.iterdir())


def test_a_pipe_without_suffix_gets_csv(tmp_path: Path) -> None:
    pipe, lines = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: lines.extend(pipe.read_text().splitlines()))
    reader.start()
    written(pipe, values(5), parts=2)
    reader.join()
    assert lines[0] == 'id,teff,"mass, old",flag'
    assert len(lines) == 6
