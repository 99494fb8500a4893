"""Catalogues that the tests read, in each format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Columns = Mapping[str, npt.NDArray[Any]]

FORMATS = ("fits", "csv", "ecsv", "votable", "parquet")

# Six observations of five stars: ids beyond float64's precision, and what is to be missing.
SOBJECT = 131123003001000 + np.arange(6, dtype=np.int64)
GAIA = 3335074476514836608 + np.array([0, 1, 1, 2, 3, 4], dtype=np.int64)
TMASS = np.array(["05505952+0759226", "a", "a", "b", "c", ""])
DR4: Columns = {
    "sobject_id": SOBJECT,
    "gaiadr3_source_id": GAIA,
    "tmass_id": TMASS,
    "teff": np.array([5772.0, 4500.5, np.nan, 999999.0, 4100.0, 6000.0]),
    "e_teff": np.array([60.0, 70.0, 80.0, 90.0, 100.0, 110.0]),
    "logg": np.array([4.44, 2.5, 3.0, 1e20, 1.5, 4.1], dtype=np.float32),
    "fe_h": np.array([0.0, -0.5, -1.0, 0.25, -9999.0, 0.1]),
    "Mg_fe": np.array([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]),
    "flag_sp": np.array([0, 0, 1, 0, 2049, 0], dtype=np.int32),
    "snr_px_ccd3": np.array([760.0, 45.0, 50.0, 29.9, 60.0, 31.0]),
    "rv_comp_1": np.array([-21.4, 10.0, 20.0, 30.0, np.nan, 50.0]),
}
UNITS = {"teff": "K", "e_teff": "K", "snr_px_ccd3": "", "rv_comp_1": "km/s"}


def dr3(columns: Columns = DR4) -> dict[str, npt.NDArray[Any]]:
    """Return the columns under DR3's names, with a flag of [Fe/H]."""
    names = {
        "gaiadr3_source_id": "dr3_source_id",
        "tmass_id": "star_id",
        "snr_px_ccd3": "snr_c3_iraf",
        "rv_comp_1": "rv_galah",
    }
    flag_fe_h = np.array([0, 1, 0, 0, 0, 0], dtype=np.int32)
    return {names.get(name, name): values for name, values in columns.items()} | {
        "flag_fe_h": flag_fe_h
    }


def write_table(
    path: Path, columns: Columns, kind: str = "csv", units: Mapping[str, str] | None = None
) -> Path:
    """Write a table; values of masked arrays are missing in it. CSV holds no units."""
    if kind == "csv":
        return write_csv(path, columns)
    table_class = pytest.importorskip("astropy.table").Table
    table = table_class({name: np.ma.asarray(values) for name, values in columns.items()})
    for name, unit in (units or {}).items():
        if name in columns and unit:
            table[name].unit = unit
    if kind == "parquet":
        write_parquet(path, columns, units or {})
    elif kind == "votable":
        table.write(path, format="votable", overwrite=True)
    else:
        table.write(path, format={"ecsv": "ascii.ecsv"}.get(kind, kind), overwrite=True)
    return path


def write_csv(path: Path, columns: Columns) -> Path:
    lines = [",".join(columns)]
    arrays = [np.ma.asarray(values) for values in columns.values()]
    for row in range(len(arrays[0])):
        values = [array[row] for array in arrays]
        lines.append(",".join("" if value is np.ma.masked else str(value) for value in values))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_parquet(path: Path, columns: Columns, units: Mapping[str, str]) -> Path:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    arrays, fields = [], []
    for name, values in columns.items():
        mask = np.ma.getmaskarray(np.ma.asarray(values))
        array = pa.array(np.ma.getdata(values).tolist(), mask=mask)
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata={"unit": units.get(name, "")}))
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), path)
    return path
