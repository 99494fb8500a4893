"""The kernels of numpy and numba against float64."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from galahstream.store.quantization import (
    DEFAULT_RANGE,
    NO_VALUE,
    Encoding,
    Float32,
    Quantized16,
)
from galahstream.stream import kernels
from galahstream.stream.kernels import (
    KernelBackend,
    choose_kernel,
    numba_backend,
    numpy_backend,
)
from galahstream.stream.transforms import FluxTransform, LogFlux
from tests.stream.test_transforms import reference

Array32 = npt.NDArray[np.float32]
BOTH = [numpy_backend(), numba_backend()]
LARGEST, SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)
SPECIAL = np.array(
    [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, -LARGEST, LARGEST, SMALLEST, 1e-45, -1e-45,
     1e-40, 0.2, np.nextafter(np.float32(0.2), np.float32(1)), 1.0, 2.0, 0.70710677, 1.4142135],
    dtype=np.float32,
)  # fmt: skip
LOGS = [LogFlux(), LogFlux(floor=SMALLEST, fill=LARGEST), LogFlux(floor=1e-3, fill=1e-4)]

with_both = pytest.mark.parametrize("backend", BOTH, ids=lambda backend: str(backend.name))


def run(
    backend: KernelBackend,
    encoding: Encoding,
    transform: FluxTransform,
    stored: npt.NDArray[Any],
    n_rows: int = 1,
) -> Array32:
    """Return what a kernel makes of stored values, cut into rows."""
    width = stored.size // n_rows
    out = np.full((n_rows, width), 7, dtype=np.float32)
    kernel = choose_kernel(encoding, transform, backend)
    rows = np.arange(n_rows, dtype=np.int64)
    kernel(stored, rows * width, out, rows)
    return out.reshape(-1)


def check_near(result: Array32, expected: npt.NDArray[np.float64]) -> None:
    assert np.isfinite(result).all()
    assert (abs(result - expected) <= 1e-6 * np.maximum(1, abs(expected))).all()


def limits(log: LogFlux) -> tuple[float, float]:
    floor, fill = log.limits
    return float(floor), float(fill)


@with_both
@pytest.mark.parametrize("log", LOGS, ids=str)
@pytest.mark.parametrize("position", range(9))
def test_every_special_value_at_every_position_of_a_vector(
    backend: KernelBackend, log: LogFlux, position: int
) -> None:
    for value in SPECIAL:
        flux = np.full(40, 0.9, dtype=np.float32)
        flux[position::17] = value
        check_near(run(backend, Float32(), log, flux), reference(flux, *limits(log)))


@pytest.mark.slow
@with_both
@given(flux=hnp.arrays(np.float32, st.integers(1, 70)))
def test_any_flux_is_within_a_millionth_of_float64(backend: KernelBackend, flux: Array32) -> None:
    expected = reference(flux, float(np.float32(0.2)))
    check_near(run(backend, Float32(), LogFlux(), flux), expected)


@with_both
def test_every_exponent_and_many_mantissas(backend: KernelBackend) -> None:
    bits = np.arange(0x00800000, 0x7F800000, 4099, dtype=np.uint32)
    flux = bits.view(np.float32)
    log = LogFlux(floor=SMALLEST)
    check_near(run(backend, Float32(), log, flux), np.log(flux.astype(np.float64)))


@with_both
@pytest.mark.parametrize("log", LOGS, ids=str)
@pytest.mark.parametrize("ends", [DEFAULT_RANGE, (0, 1.5), (-1e4, 1e4), (0.1, 0.3)])
def test_every_stored_value_becomes_its_logged_flux(
    backend: KernelBackend, log: LogFlux, ends: tuple[float, float]
) -> None:
    encoding = Quantized16.over(*ends)
    stored = np.arange(NO_VALUE + 1, dtype=np.uint16)
    # Decoded flux is a float32: with a tiny floor, its own rounding is all that remains.
    expected = reference(encoding.table, *limits(log))
    if log == LOGS[0] and abs(encoding.bzero) <= 0.5:
        flux = encoding.bzero + encoding.bscale * stored.astype(np.float64)
        flux[NO_VALUE] = np.nan
        expected = reference(flux, *limits(log))
    check_near(run(backend, encoding, log, stored, n_rows=4), expected)


@with_both
@pytest.mark.parametrize("transform", [None, np.sqrt], ids=["none", "own"])
def test_before_any_other_transform_flux_is_decoded_only(
    backend: KernelBackend, transform: FluxTransform
) -> None:
    encoding = Quantized16.over(*DEFAULT_RANGE)
    stored = np.arange(NO_VALUE + 1, dtype=np.uint16)
    decoded = run(backend, encoding, transform, stored, n_rows=4)
    assert np.array_equal(decoded, encoding.table, equal_nan=True)
    assert run(backend, Float32(), transform, SPECIAL).tobytes() == SPECIAL.tobytes()


class HalfPrecision:
    """An encoding that no kernel knows."""

    dtype: ClassVar[np.dtype[Any]] = np.dtype("<f2")

    def encode(self, flux: Array32) -> npt.NDArray[Any]:
        return np.ascontiguousarray(flux, dtype=self.dtype)

    def decode(self, stored: npt.NDArray[Any]) -> Array32:
        return stored.astype(np.float32)

    def count_outside(self, flux: Array32) -> int:
        return 0

    def holds(self, lowest: float, highest: float) -> bool:
        return True


@with_both
def test_any_encoding_can_be_read(backend: KernelBackend) -> None:
    flux = np.array([0.5, np.nan, 2, 0.0625], dtype=np.float32)
    stored = HalfPrecision().encode(flux)
    assert run(backend, HalfPrecision(), None, stored).tobytes() == flux.tobytes()
    check_near(run(backend, HalfPrecision(), LogFlux(), stored), reference(flux))


@with_both
def test_rows_are_gathered_from_where_they_start_into_the_rows_asked_for(
    backend: KernelBackend,
) -> None:
    buffer = np.linspace(0.3, 2, 1000, dtype=np.float32)
    starts, rows = np.array([900, 0, 37, 900]), np.array([3, 0, 5, 4])
    out = np.full((6, 100), 7, dtype=np.float32)
    choose_kernel(Float32(), LogFlux(), backend)(buffer, starts, out, rows)
    for row, start in zip(out[rows], starts, strict=True):
        check_near(row, np.log(buffer[start : start + 100].astype(np.float64)))


@with_both
@pytest.mark.parametrize("transform", [None, LogFlux(), LogFlux(floor=1e-30)], ids=str)
@pytest.mark.parametrize(
    "encoding",
    [Float32(), Quantized16.over(*DEFAULT_RANGE), HalfPrecision()],
    ids=["float32", "uint16", "float16"],
)
def test_only_the_rows_asked_for_are_written(
    backend: KernelBackend, encoding: Encoding, transform: FluxTransform
) -> None:
    stored = encoding.encode(np.linspace(0.3, 2, 300, dtype=np.float32))
    starts, rows = np.array([200, 0, 100]), np.array([3, 0, 4])
    in_order, out = (np.full((n, 100), 7, dtype=np.float32) for n in (3, 6))
    kernel = choose_kernel(encoding, transform, backend)
    kernel(stored, starts, in_order, np.arange(3))
    kernel(stored, starts, out, rows)
    assert np.array_equal(out[rows], in_order)
    assert (out[[1, 2, 5]] == 7).all()


@with_both
@pytest.mark.parametrize("transform", [None, LogFlux(), LogFlux(floor=1e-30)], ids=str)
@pytest.mark.parametrize(
    "encoding",
    [Float32(), Quantized16.over(*DEFAULT_RANGE), HalfPrecision()],
    ids=["float32", "uint16", "float16"],
)
@settings(deadline=None)  # the first example may compile the kernel
@given(
    pixels=st.sets(st.integers(0, 99), min_size=1).map(sorted),
    starts=st.lists(st.integers(0, 200), max_size=5),
)
def test_some_pixels_of_rows_are_those_of_complete_rows(
    backend: KernelBackend,
    encoding: Encoding,
    transform: FluxTransform,
    pixels: list[int],
    starts: list[int],
) -> None:
    flux = np.linspace(0.15, 2, 300, dtype=np.float32)
    flux[::7] = np.resize(SPECIAL, flux[::7].shape)
    with np.errstate(over="ignore"):  # half precision
        stored = encoding.encode(flux)
    rows = np.arange(len(starts))[::-1].copy() + 1
    complete, out = (np.full((len(starts) + 2, n), 7, np.float32) for n in (100, len(pixels)))
    first = np.array(starts, dtype=np.int64)
    choose_kernel(encoding, transform, backend)(stored, first, complete, rows)
    some = np.array(pixels, dtype=np.int64)
    choose_kernel(encoding, transform, backend, some)(stored, first, out, rows)
    assert np.array_equal(out, complete[:, pixels], equal_nan=True)


@with_both
@pytest.mark.parametrize("encoding", [Float32(), Quantized16.over(*DEFAULT_RANGE)], ids=str)
@pytest.mark.parametrize("transform", [None, LogFlux(), LogFlux(floor=1e-30)], ids=str)
def test_numpys_error_settings_do_not_matter(
    backend: KernelBackend, encoding: Encoding, transform: FluxTransform
) -> None:
    stored = encoding.encode(SPECIAL)
    expected = run(backend, encoding, transform, stored)
    with np.errstate(all="raise"):
        result = run(backend, encoding, transform, stored)
    assert result.tobytes() == expected.tobytes()


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(sys.modules, "galahstream.stream.kernels.numba", None)
    monkeypatch.delattr("galahstream.stream.kernels.numba", raising=False)
    kernels.best_backend.cache_clear()
    yield
    kernels.best_backend.cache_clear()


@pytest.mark.usefixtures("without_numba")
def test_without_numba_numpy_runs_and_it_is_said_once() -> None:
    with pytest.warns(UserWarning, match=r"galahstream\[fast\]"):
        assert kernels.best_backend().name == "numpy"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kernels.best_backend().name == "numpy"


@pytest.mark.slow
def test_where_no_cache_can_be_written_kernels_are_compiled_all_the_same(tmp_path: Path) -> None:
    code = (
        "import numba, numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"  # what a read-only system comes to
        "from galahstream.stream.kernels import best_backend, choose_kernel\n"
        "from galahstream.store.quantization import Float32\n"
        "import numpy as np\n"
        "from galahstream.stream.transforms import LogFlux\n"
        "out = np.empty((1, 8), np.float32)\n"
        "kernel = choose_kernel(Float32(), LogFlux())\n"
        "row = np.zeros(1, np.int64)\n"
        "kernel(np.ones(8, np.float32), row, out, row)\n"
        "print(best_backend().name, out.sum())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "NUMBA_CACHE_DIR": ""},
    )  # fmt: skip
    assert done.stdout == "numba 0.0\n"
