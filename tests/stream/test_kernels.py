import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from galahstream.store.quantization import DEFAULT_RANGE, NO_VALUE, Quantized16
from galahstream.stream import kernels
from galahstream.stream.kernels import Kernels, NumbaKernels, NumpyKernels
from galahstream.stream.transforms import LogFlux
from tests.stream.test_transforms import reference

BOTH = [NumpyKernels(), NumbaKernels()]
LARGEST, SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)
SPECIAL = np.array(
    [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, -LARGEST, LARGEST, SMALLEST, 1e-45, -1e-45,
     1e-40, 0.2, np.nextafter(np.float32(0.2), np.float32(1)), 1.0, 2.0, 0.70710677, 1.4142135],
    dtype=np.float32,
)  # fmt: skip
LOGS = [LogFlux(), LogFlux(floor=SMALLEST, fill=LARGEST), LogFlux(floor=1e-3, fill=1e-4)]


def logged(kernels: Kernels, flux: np.ndarray, log: LogFlux) -> np.ndarray:
    out = np.full((1, flux.size), 7, dtype=np.float32)
    kernels.log_rows(flux, np.zeros(1, dtype=np.int64), log, out)
    return out[0]


def check_near(found: np.ndarray, wanted: np.ndarray) -> None:
    assert np.isfinite(found).all()
    assert (abs(found - wanted) <= 1e-6 * np.maximum(1, abs(wanted))).all()


@pytest.mark.parametrize("kernels", BOTH, ids=lambda kernels: str(kernels.name))
@pytest.mark.parametrize("log", LOGS, ids=str)
@pytest.mark.parametrize("place", range(9))
def test_every_special_value_at_every_place_of_a_vector(
    kernels: Kernels, log: LogFlux, place: int
) -> None:
    floor, fill = (float(limit) for limit in log.limits)
    for value in SPECIAL:
        flux = np.full(40, 0.9, dtype=np.float32)
        flux[place::17] = value
        check_near(logged(kernels, flux, log), reference(flux, floor, fill))


@pytest.mark.parametrize("kernels", BOTH, ids=lambda kernels: str(kernels.name))
@given(flux=hnp.arrays(np.float32, st.integers(1, 70)))
def test_any_flux_is_within_a_millionth_of_float64(kernels: Kernels, flux: np.ndarray) -> None:
    check_near(logged(kernels, flux, LogFlux()), reference(flux, float(np.float32(0.2))))


@pytest.mark.parametrize("kernels", BOTH, ids=lambda kernels: str(kernels.name))
def test_every_exponent_and_many_mantissas(kernels: Kernels) -> None:
    bits = np.arange(0x00800000, 0x7F800000, 4099, dtype=np.uint32)
    flux = bits.view(np.float32)
    check_near(logged(kernels, flux, LogFlux(floor=SMALLEST)), np.log(flux.astype(np.float64)))


@pytest.mark.parametrize("kernels", BOTH, ids=lambda kernels: str(kernels.name))
@pytest.mark.parametrize("log", LOGS, ids=str)
@pytest.mark.parametrize("ends", [DEFAULT_RANGE, (0, 1.5), (-1e4, 1e4), (0.1, 0.3)])
def test_every_code_is_its_flux_logged(
    kernels: Kernels, log: LogFlux, ends: tuple[float, float]
) -> None:
    codec = Quantized16.over(*ends)
    codes = np.arange(NO_VALUE + 1, dtype=np.uint16)
    flux = codec.bzero + codec.bscale * codes.astype(np.float64)
    flux[NO_VALUE] = np.nan
    out = np.empty((4, 16384), dtype=np.float32)
    kernels.log_codes(codes, np.arange(4) * 16384, codec, log, out)
    # Decoded flux is a float32: beside a tiny floor, its own rounding is all that remains.
    wanted = reference(codec.table, *(float(limit) for limit in log.limits))
    if log == LOGS[0] and abs(codec.bzero) <= 0.5:
        wanted = reference(flux, *(float(limit) for limit in log.limits))
    check_near(out.reshape(-1), wanted)
    kernels.look_up(codes, np.arange(4) * 16384, codec.table, out)
    assert np.array_equal(out.reshape(-1), codec.table, equal_nan=True)


@pytest.mark.parametrize("kernels", BOTH, ids=lambda kernels: str(kernels.name))
def test_rows_are_gathered_from_where_they_start(kernels: Kernels) -> None:
    flat = np.linspace(0.3, 2, 1000, dtype=np.float32)
    starts, out = np.array([900, 0, 37, 900]), np.empty((4, 100), dtype=np.float32)
    kernels.log_rows(flat, starts, LogFlux(), out)
    for row, start in zip(out, starts, strict=True):
        check_near(row, np.log(flat[start : start + 100].astype(np.float64)))


def test_without_numba_numpy_runs_and_it_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "galahstream.stream.kernels.numba", None)
    monkeypatch.delattr("galahstream.stream.kernels.numba", raising=False)
    kernels.best_kernels.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"galahstream\[fast\]"):
            assert kernels.best_kernels().name == "numpy"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert kernels.best_kernels().name == "numpy"
    finally:
        kernels.best_kernels.cache_clear()


def test_where_no_cache_can_be_written_kernels_are_compiled_all_the_same(tmp_path: Path) -> None:
    code = (
        "import numba, numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"  # what a read-only system comes to
        "from galahstream.stream.kernels import best_kernels\n"
        "import numpy as np\n"
        "from galahstream.stream.transforms import LogFlux\n"
        "out = np.empty((1, 8), np.float32)\n"
        "best_kernels().log_rows(np.ones(8, np.float32), np.zeros(1, np.int64), LogFlux(), out)\n"
        "print(best_kernels().name, out.sum())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "NUMBA_CACHE_DIR": ""},
    )  # fmt: skip
    assert done.stdout == "numba 0.0\n"
