import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from galahstream.errors import OptionError
from galahstream.store.quantization import DEFAULT_RANGE, NO_VALUE, Codec

DEFAULT = Codec.over(*DEFAULT_RANGE)
INSIDE = st.floats(-0.5, 2.75, width=32)


def test_the_default_code_is_the_one_of_the_format() -> None:
    assert (DEFAULT.scale, DEFAULT.zero) == (5e-5, -0.5)


@given(hnp.arrays(np.float32, st.integers(1, 300), elements=INSIDE))
def test_a_pixel_inside_the_range_is_off_by_half_a_step_at_most(flux: np.ndarray) -> None:
    found = DEFAULT.decode(DEFAULT.encode(flux))
    # A hundredth of a step for scaling in float32.
    assert (abs(found.astype(float) - flux) <= 0.51 * DEFAULT.scale).all()
    assert DEFAULT.count_outside(flux) == 0


@given(hnp.arrays(np.uint16, st.integers(1, 300)))
def test_codes_survive_decoding_and_encoding(codes: np.ndarray) -> None:
    assert np.array_equal(DEFAULT.encode(DEFAULT.decode(codes)), codes)


def test_what_is_not_finite_has_no_value_and_what_is_outside_is_clipped() -> None:
    flux = np.array([np.nan, np.inf, -np.inf, -9, 99, 3.4e38, -3.4e38], dtype=np.float32)
    last = NO_VALUE - 1
    assert DEFAULT.encode(flux).tolist() == [NO_VALUE] * 3 + [0, last, last, 0]
    assert np.isnan(DEFAULT.decode(DEFAULT.encode(flux))[:3]).all()
    assert DEFAULT.count_outside(flux) == 4


@pytest.mark.parametrize("ends", [(1, 1), (2, 1), (np.nan, 1), (0, np.inf), (-1e308, 1e308)])
def test_a_range_that_holds_nothing_is_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(OptionError, match="rising"):
        Codec.over(*ends)
