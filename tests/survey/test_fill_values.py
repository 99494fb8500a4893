"""Fill values in label columns: what is accused, what is not, and what becomes missing."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galahstream.mock.source import MockSource
from galahstream.survey.fill_values import (
    FillValue,
    customary_fill_values,
    likely_fill_values,
    without_values,
)

Column = npt.NDArray[np.float64]

N = 200
GENERATOR = np.random.default_rng(4)
TEFF = GENERATOR.normal(5456.8, 465.9, N)
LABELS: dict[str, Column] = {
    "teff": TEFF,
    "logg": GENERATOR.normal(3.989, 0.685, N),
    "fe_h": GENERATOR.normal(-0.198, 0.288, N),
    "snr": GENERATOR.lognormal(3.7, 0.6, N),
    "age": GENERATOR.uniform(0, 13, N),
    "dist": GENERATOR.lognormal(6.5, 0.8, N),
}
FILL_VALUES = [
    -9999.0, -999.0, -99.0, -99.99, 99999.0, 999999.0, 1e20, -1e30, 1e10, -32768.0, -32767.0,
    2147483647.0, -9223372036854775806.0, 9.969209968386869e36, float(np.float32(9.96921e36)),
    float(np.float32(1e20)), float(np.float32(-99.99)), float(np.finfo(np.float32).max),
    -float(np.finfo(np.float64).max),
]  # fmt: skip
UNUSUAL = [-88888.0, 123456.0, 5e15, -1e6]
ORDINARY: dict[str, Column] = {
    **LABELS,
    "age limited at 13.5": np.minimum(LABELS["age"] * 1.5, 13.5),
    "fe_h clipped at 0.5": np.clip(LABELS["fe_h"] * 3, -0.5, 0.5),
    "snr clipped at 99": np.minimum(LABELS["snr"] * 3, 99.0),
    "teff clipped at 9999": np.minimum(TEFF * 1.5, 9999.0),
    "rounded": np.round(LABELS["fe_h"], 1),
    "zeros and ones": (GENERATOR.random(N) > 0.5).astype(float),
    "zeros and a few ones": (np.arange(N) > N - 4).astype(float),
    "constant": np.full(N, 5772.0),
    "constant nines": np.full(N, -9999.0),
    "all missing": np.full(N, np.nan),
    "empty": np.empty(0),
    "one star": np.array([-9999.0]),
    "bit mask": np.append(2.0 ** np.arange(10), [515.0] + [16384.0] * 9),
    "visits": GENERATOR.integers(1, 100, N).astype(float),
    "field": np.repeat([12.0, 40.0, 7117.0], 50),
    "sobject_id": np.repeat(131123003001000.0 + np.arange(70.0), 3),
    "sobject_id of two years": np.repeat([131123003001096.0, 210115002201239.0], 5),
    "one outlier": np.append(TEFF, 1e20),
    "an outlier and its repeats": np.repeat(np.append(LABELS["dist"], 1e6), 3),
    "infinite": np.append(TEFF, [np.inf] * 5),
}  # fmt: skip


def with_value(column: Column, value: float, rows: int = 5) -> Column:
    changed = column.copy()
    changed[3 : 3 + rows] = value
    return changed


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("value", FILL_VALUES)
def test_a_customary_fill_value_in_several_rows_is_found(name: str, value: float) -> None:
    column = with_value(LABELS[name], value)
    assert likely_fill_values({name: column}) == (FillValue(name, value, 5),)


@pytest.mark.parametrize("value", UNUSUAL)
def test_any_repeated_value_far_from_all_others_is_found(value: float) -> None:
    assert likely_fill_values({"teff": with_value(TEFF, value, 2)}) == (
        FillValue("teff", value, 2),
    )


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_column_is_not_accused(name: str) -> None:
    assert likely_fill_values({name: ORDINARY[name]}) == ()


def test_several_fill_values_of_a_column_are_all_found() -> None:
    column = with_value(TEFF, -9999.0, 4)
    column[50:53], column[60:62], column[70:72] = -999.0, 1e20, 999999.0
    found = {value.value: value.rows for value in likely_fill_values({"teff": column})}
    assert found == {-9999.0: 4, -999.0: 3, 1e20: 2, 999999.0: 2}


def test_the_labels_of_the_mock_survey_are_not_accused() -> None:
    source = MockSource(300, seed=3, jobs=1)
    columns = dict(zip(source.label_names, source.read_labels().T, strict=True))
    assert likely_fill_values(columns) == ()


def test_the_labels_of_real_stars_are_not_accused(real_data: Path) -> None:
    with np.load(real_data / "galah_dr4_labels.npz") as file:
        teff, logg, fe_h = file["labels"].astype(np.float64).T
    assert len(teff) == 7087
    assert likely_fill_values({"teff": teff, "logg": logg, "fe_h": fe_h}) == ()


@pytest.mark.parametrize("value", FILL_VALUES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_named_value_becomes_missing_in_the_precision_it_was_stored_in(
    value: float, dtype: type[np.floating[Any]]
) -> None:
    with np.errstate(over="ignore"):
        stored = TEFF.astype(dtype).astype(np.float64)
        stored[7] = np.float64(dtype(value))
    kept = without_values(stored, [value])
    assert np.flatnonzero(~np.isfinite(kept)).tolist() == [7]
    assert np.array_equal(np.delete(kept, 7), np.delete(stored, 7))


def test_neighbours_of_a_named_value_stay() -> None:
    labels = np.array([[-9999.0, -9998.9], [0.0, 1e-30], [np.nan, np.inf]])
    kept = without_values(labels, [-9999, 0])
    assert np.array_equal(kept, [[np.nan, -9998.9], [np.nan, 1e-30], [np.nan, np.inf]], True)
    assert labels[0, 0] == -9999.0


@settings(max_examples=50)
@given(st.lists(st.floats(width=32), max_size=30), st.floats(allow_nan=False, allow_infinity=False))
def test_what_is_found_can_be_named_and_is_then_gone(values: list[float], fill: float) -> None:
    column = np.array([*values, fill, fill])
    found = likely_fill_values({"x": column})
    kept = without_values(column, [value.value for value in found])
    assert likely_fill_values({"x": kept}) == ()
    assert sum(value.rows for value in found) <= np.count_nonzero(np.isnan(kept))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([5772.0, 4300.0, 999999.0], [(999999.0, 1)]),
        ([5772.0, -9999.0, 4300.0, -9999.0], [(-9999.0, 2)]),
        ([5772.0, -9999.0, 4300.0], [(-9999.0, 1)]),
        ([4.0, float(np.float32(1e20))], [(float(np.float32(1e20)), 1)]),
        ([1e20, -999.0, -999.0, 4.0], [(-999.0, 2), (1e20, 1)]),
        ([99.9, 12.0, 45.0], []),  # a signal-to-noise ratio can be that
        ([99.9, 99.9, 12.0, 45.0], [(99.9, 2)]),
        ([999999.0, 950000.0], []),  # has a neighbour
        ([13.5] * 20 + [1.0, 2.0], []),  # stands apart, and is not customary
        ([np.nan, np.inf], []),
        ([], []),
    ],
)
def test_values_that_certainly_stand_for_a_missing_one_are_found(
    values: list[float], found: list[tuple[float, int]]
) -> None:
    assert list(customary_fill_values(np.array(values, dtype=np.float64))) == found
