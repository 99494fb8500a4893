"""Parquet files that the tests read."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.sources.files import FLUX, IDS, LABELS, LARGE, N_STARS, WAVELENGTH

IVAR = np.random.default_rng(8).uniform(100, 400, FLUX.shape).astype(np.float32)
IVAR[3, 4], IVAR[5, 6], IVAR[6, 7] = 0, np.nan, -1
ERROR = np.full(FLUX.shape, np.nan, dtype=np.float32)
ERROR[IVAR > 0] = 1 / np.sqrt(IVAR[IVAR > 0].astype(np.float64))
GRIDS = np.tile(WAVELENGTH, (N_STARS, 1))


def lists(rows: npt.NDArray[Any] | list[Any], kind: str = "list", dtype: str = "") -> Any:
    """Return the rows of an array as a list column of pyarrow."""
    pa = pytest.importorskip("pyarrow")
    value = pa.from_numpy_dtype(np.dtype(dtype) if dtype else np.asarray(rows).dtype)
    make = {
        "list": pa.list_,
        "large": pa.large_list,
        "fixed": lambda value: pa.list_(value, np.asarray(rows).shape[1]),
    }[kind]
    return pa.array([None if row is None else list(row) for row in rows], type=make(value))


def spectrum(**fields: Any) -> Any:
    """Return a struct column of list columns."""
    pa = pytest.importorskip("pyarrow")
    return pa.StructArray.from_arrays([*fields.values()], names=[*fields])


def columns(**others: Any) -> dict[str, Any]:
    """Return the columns of a usual table, with some added or replaced."""
    usual = {
        "spectrum": spectrum(flux=lists(FLUX), ivar=lists(IVAR), **{"lambda": lists(GRIDS)}),
        "teff": LABELS[:, 0].astype(np.float32),
        "logg": LABELS[:, 1],
        "visits": np.arange(N_STARS, dtype=np.int16),
        "source_id": LARGE,
        "object_id": IDS,
    }
    return {**usual, **others}


def write_parquet(path: Path, table: dict[str, Any], **options: Any) -> Path:
    """Write a table."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(table), path, **options)
    return path


def parts(table: dict[str, Any], *edges: int) -> list[dict[str, Any]]:
    """Cut a table at some rows."""
    stops = [*edges, N_STARS]
    return [
        {name: column[start:stop] for name, column in table.items()}
        for start, stop in zip([0, *edges], stops, strict=True)
    ]


HATS = "obs_collection={name}\ndataproduct_type={kind}\nhats_nrows={rows}\nhats_version=v1.0\n"


def write_hats(folder: Path, tables: list[dict[str, Any]], kind: str = "object") -> Path:
    """Write a HATS catalogue, with its metadata."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for number, table in enumerate(tables):
        path = folder / "dataset" / "Norder=1" / "Dir=0" / f"Npix={16 + number}.parquet"
        write_parquet(path, table)
    rows = sum(len(table["object_id"]) for table in tables)
    properties = HATS.format(name=folder.name, kind=kind, rows=rows)
    (folder / "hats.properties").write_text("#HATS catalog\n" + properties)
    (folder / "properties").write_text("#HATS catalog\n" + properties)
    (folder / "partition_info.csv").write_text("Norder,Npix\n1,16\n")
    schema = pa.table(tables[0]).schema
    parquet.write_metadata(schema, folder / "dataset" / "_metadata")
    parquet.write_metadata(schema, folder / "dataset" / "_common_metadata")
    thumbnail = {name: column[:1] for name, column in tables[0].items()}
    write_parquet(folder / "dataset" / "data_thumbnail.parquet", thumbnail)
    return folder


def write_collection(folder: Path, tables: list[dict[str, Any]]) -> Path:
    """Write a HATS collection: the catalogue, and a margin that repeats some of its stars."""
    write_hats(folder / folder.name, tables)
    margin = {name: column[:2] for name, column in tables[0].items()}
    write_hats(folder / f"{folder.name}_10arcs", [margin], kind="margin")
    (folder / "collection.properties").write_text(
        f"obs_collection={folder.name}\nhats_primary_table_url={folder.name}\n"
        f"all_margins={folder.name}_10arcs\ndefault_margin={folder.name}_10arcs\n"
    )
    return folder


APOGEE_FLOATS = (
    "teff", "logg", "m_h", "alpha_m", "teff_err", "logg_err", "m_h_err", "alpha_m_err",
    "radial_velocity",
)  # fmt: skip


def apogee_grid() -> npt.NDArray[np.float32]:
    """Return the wavelengths that MultimodalUniverse's APOGEE script writes for every star."""
    exponents = np.arange(4.179, 4.179 + 8575 * 6.0e-6, 6.0e-6).astype(np.float32)
    grid: npt.NDArray[np.float32] = np.power(np.float32(10), exponents)
    return grid[np.r_[246:3274, 3585:6080, 6344:8335]]


def apogee_table(stars: int) -> dict[str, Any]:
    """Return rows in the published schema of MultimodalUniverse's APOGEE DR17, as HATS has it."""
    pa = pytest.importorskip("pyarrow")
    generator, grid = np.random.default_rng(stars), apogee_grid()
    shape = (stars, len(grid))

    def pixels(low: float, high: float) -> Any:
        return lists(generator.uniform(low, high, shape).astype(np.float32))

    fields = {
        "flux": pixels(200, 900),
        "ivar": pixels(0.01, 1),
        "lsf_sigma": pixels(0.2, 0.4),
        "lambda": lists(np.tile(grid, (stars, 1))),
        "mask": lists(generator.uniform(size=shape) < 0.1),
        "pseudo_continuum_flux": pixels(0.5, 1.1),
        "pseudo_continuum_ivar": pixels(1e3, 1e4),
    }
    names = [f"b'2M{number:08d}-1937381'" for number in range(stars)]
    return {
        "_healpix_29": pa.array(2**61 + np.arange(stars)),
        "spectrum": spectrum(**fields),
        "ra": generator.uniform(0, 360, stars),
        "dec": generator.uniform(-90, 90, stars),
        **{name: generator.normal(size=stars).astype(np.float32) for name in APOGEE_FLOATS},
        "restframe": pa.array([True] * stars),
        "object_id": pa.array(names),
    }
