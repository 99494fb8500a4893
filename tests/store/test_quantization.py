import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from galahstream.errors import OptionError
from galahstream.store.quantization import (
    DEFAULT_RANGE,
    NO_VALUE,
    Float16,
    Float32,
    Quantized16,
)

DEFAULT = Quantized16.over(*DEFAULT_RANGE)
INSIDE = st.floats(-0.5, 2.75, width=32)
LAST = NO_VALUE - 1
SPECIAL = np.array([np.nan, np.inf, -np.inf, -9, 99, 3.4e38, -3.4e38, 1e-45], dtype=np.float32)


def test_the_default_encoding_is_the_one_of_the_format() -> None:
    assert (DEFAULT.bscale, DEFAULT.bzero) == (5e-5, -0.5)


@pytest.mark.slow
@given(hnp.arrays(np.float32, st.integers(1, 300), elements=INSIDE))
def test_a_pixel_inside_the_range_is_off_by_at_most_half_a_step(
    flux: npt.NDArray[np.float32],
) -> None:
    decoded = DEFAULT.decode(DEFAULT.encode(flux))
    # A hundredth of a step for scaling in float32.
    assert (abs(decoded.astype(float) - flux) <= 0.51 * DEFAULT.bscale).all()
    assert DEFAULT.count_outside(flux) == 0
    assert DEFAULT.holds(float(flux.min()), float(flux.max()))


@pytest.mark.slow
@given(hnp.arrays(np.uint16, st.integers(1, 300)))
def test_stored_values_survive_decoding_and_encoding(stored: npt.NDArray[np.uint16]) -> None:
    assert np.array_equal(DEFAULT.encode(DEFAULT.decode(stored)), stored)


def test_pixels_that_are_not_finite_have_no_value_and_those_outside_are_clipped() -> None:
    assert DEFAULT.encode(SPECIAL).tolist() == [NO_VALUE] * 3 + [0, LAST, LAST, 0, 10000]
    assert np.isnan(DEFAULT.decode(DEFAULT.encode(SPECIAL))[:3]).all()
    assert DEFAULT.count_outside(SPECIAL) == 4
    assert not DEFAULT.holds(-9, 99)
    assert not DEFAULT.holds(np.nan, np.nan)


@pytest.mark.parametrize(
    "encoding", [Float32(), Float16(), DEFAULT, Quantized16.over(-1e38, 1e38)], ids=str
)
def test_an_encoding_ignores_numpys_error_settings(
    encoding: Float32 | Float16 | Quantized16,
) -> None:
    expected = encoding.encode(SPECIAL), encoding.count_outside(SPECIAL)
    with np.errstate(all="raise"):
        encoding = dataclasses.replace(encoding)  # without tables that were made before
        stored = encoding.encode(SPECIAL)
        encoding.decode(stored)
        assert np.array_equal(stored, expected[0], equal_nan=True)
        assert encoding.count_outside(SPECIAL) == expected[1]


@given(hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(2**-24, 65504, width=32)))
def test_an_error_is_off_by_at_most_a_2048th(error: npt.NDArray[np.float32]) -> None:
    encoding = Float16()
    decoded = encoding.decode(encoding.encode(error)).astype(np.float64)
    smallest_step = np.maximum(error, encoding.smallest_normal) * 2.0**-11
    assert (abs(decoded - error) <= smallest_step).all()
    assert (decoded > 0).all()
    assert encoding.count_outside(error) == 0
    assert encoding.holds(float(error.min()), float(error.max()))


@given(hnp.arrays(np.float32, st.integers(1, 300)))
def test_errors_are_stored_or_unknown_and_counted(error: npt.NDArray[np.float32]) -> None:
    encoding = Float16()
    decoded = encoding.decode(encoding.encode(error))
    is_held = (error >= 2.0**-24) & (error <= 65504)
    assert np.array_equal(np.isfinite(decoded), is_held)
    n_finite = int(np.count_nonzero(np.isfinite(error)))
    assert encoding.count_outside(error) == n_finite - int(np.count_nonzero(is_held))
    assert encoding.holds(float(error.min()), float(error.max())) == bool(is_held.all())


def test_stored_errors_survive_decoding_and_encoding() -> None:
    stored = np.arange(1, 0x7C00, dtype=np.uint16).view(np.float16)
    encoding = Float16()
    assert encoding.encode(encoding.decode(stored)).tobytes() == stored.tobytes()


def test_every_unknown_error_is_stored_as_the_same_nan() -> None:
    nans = np.array([0x7FC00000, 0xFFC00001, 0x7F800001], np.uint32).view(np.float32)
    others = np.array([0, -0.0, -1, np.inf, -np.inf, 65505, 1e-9], np.float32)
    unknown = np.concatenate((nans, others))
    stored = Float16().encode(unknown)
    assert stored.view(np.uint16).tolist() == [0x7E00] * len(unknown)


@pytest.mark.slow
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9))))
def test_float32_is_exact_and_clips_nothing(flux: npt.NDArray[np.float32]) -> None:
    encoding = Float32()
    assert encoding.decode(encoding.encode(flux)).tobytes() == flux.tobytes()
    assert encoding.count_outside(flux) == 0
    assert encoding.holds(-np.inf, np.inf)


@pytest.mark.parametrize("encoding", [Float32(), DEFAULT], ids=str)
def test_stored_values_are_in_c_order_and_little_endian(encoding: Float32 | Quantized16) -> None:
    flux = np.asfortranarray(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4))
    stored = encoding.encode(flux)
    assert stored.flags.c_contiguous
    assert stored.dtype == encoding.dtype
    assert hash(encoding) == hash(dataclasses.replace(encoding))


@pytest.mark.parametrize(
    "ends", [(1, 1), (2, 1), (np.nan, 1), (0, np.inf), (-1e308, 1e308), (0, 1e39)]
)
def test_a_range_without_values_is_an_error(ends: tuple[float, float]) -> None:
    with pytest.raises(OptionError, match="rising"):
        Quantized16.over(*ends)


def test_numpy_scalars_make_the_same_encoding() -> None:
    encoding = Quantized16.over(*np.array(DEFAULT_RANGE))
    assert encoding == DEFAULT
    assert type(encoding.bzero) is float
