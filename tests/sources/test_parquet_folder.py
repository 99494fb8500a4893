"""Folders of Parquet files: one table in alphabetical order, HATS catalogues, missing parts."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from galahstream.errors import SourceFormatError, SourceShapeError
from galahstream.sources.open import open_source
from tests.sources.contract import read_all
from tests.sources.files import FLUX, IDS, LABELS, N_STARS
from tests.sources.parquet_files import columns, parts, write_collection, write_hats, write_parquet

pytest.importorskip("pyarrow")


@pytest.mark.parametrize("place", ["", "data/", "one/two/"])
def test_the_files_of_a_folder_are_one_table_in_alphabetical_order(
    tmp_path: Path, place: str
) -> None:
    for number, part in enumerate(parts(columns(), 3, 10)):
        write_parquet(tmp_path / f"all/{place}train-{number}.parquet", part)
    (tmp_path / "all" / "README.md").write_text("about the data")
    (tmp_path / "all" / "_metadata").write_bytes(b"PAR1")
    write_parquet(tmp_path / "all" / ".hidden" / "b.parquet", columns())
    source = open_source(tmp_path / "all")
    assert np.array_equal(read_all(source, 4), FLUX, equal_nan=True)
    assert np.array_equal(source.ids, IDS)
    assert len(source.files) == 3


def test_only_the_partitions_of_a_hats_catalogue_are_read(tmp_path: Path) -> None:
    source = open_source(write_hats(tmp_path / "hats", parts(columns(), 9)))
    assert len(source) == N_STARS
    assert [path.name for path in source.files] == ["Npix=16.parquet", "Npix=17.parquet"]


def test_the_margins_of_a_hats_collection_do_not_repeat_stars(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "mmu", parts(columns(), 9))
    assert np.array_equal(open_source(folder).ids, IDS)
    assert np.array_equal(open_source(folder / "mmu").ids, IDS)
    with pytest.raises(SourceFormatError, match="kind margin"):
        open_source(folder / "mmu_10arcs")


def test_two_hats_catalogues_are_not_mixed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_hats(tmp_path / "both" / name, [columns()])
    with pytest.raises(SourceFormatError, match=r"2 HATS catalogues.*one/, two/"):
        open_source(tmp_path / "both")


def test_a_missing_partition_is_noticed(tmp_path: Path) -> None:
    folder = write_hats(tmp_path / "hats", parts(columns(), 9))
    next(folder.rglob("Npix=17.parquet")).unlink()
    with pytest.raises(SourceFormatError, match=r"hold 9 rows.*hats.properties says 23"):
        open_source(folder)


def test_partitions_may_be_folders_and_have_another_suffix(tmp_path: Path) -> None:
    first, second = parts(columns(), 9)
    write_parquet(tmp_path / "hats" / "dataset" / "Norder=0" / "Npix=1" / "part0.parq", first)
    write_parquet(tmp_path / "hats" / "dataset" / "Norder=0" / "Npix=2" / "part0.parq", second)
    assert np.array_equal(open_source(tmp_path / "hats").ids, IDS)


@pytest.mark.parametrize("change", ["absent", "other"])
def test_files_of_one_folder_need_the_same_columns(tmp_path: Path, change: str) -> None:
    first, second = parts(columns(), 9)
    del second["teff"]
    if change == "other":
        second["teff"] = LABELS[9:, 0]
    write_parquet(tmp_path / "all" / "a.parquet", first)
    write_parquet(tmp_path / "all" / "b.parquet", second)
    with pytest.raises(SourceShapeError, match=r"b.parquet: column 'teff'"):
        open_source(tmp_path / "all")
    assert open_source(tmp_path / "all", ["logg"]).label_names == ("logg",)


def test_an_empty_table_and_a_folder_without_rows_are_named(tmp_path: Path) -> None:
    table = {name: column[:0] for name, column in columns().items()}
    with pytest.raises(SourceShapeError, match="holds no spectrum"):
        open_source(write_parquet(tmp_path / "a.parquet", table))
    write_hats(tmp_path / "hats", [columns()])
    shutil.rmtree(tmp_path / "hats" / "dataset" / "Norder=1")
    with pytest.raises(SourceFormatError, match="holds no Parquet files with rows"):
        open_source(tmp_path / "hats")
