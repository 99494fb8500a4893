import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from galahstream.errors import LabelError, OptionError
from galahstream.stream.transforms import LogFlux, ZScore

SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 1e-40, 3.4028235e38, 0.2, 1.0], dtype=np.float32
)


def reference(flux: np.ndarray, floor: float = 0.2, fill: float = 1.0) -> np.ndarray:
    finite = np.where(np.isfinite(flux), flux.astype(np.float64), fill)
    return np.log(np.maximum(finite, floor))


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 70))))
def test_log_flux_is_that_of_float64_for_any_pixel(flux: np.ndarray) -> None:
    wanted = reference(flux)
    found = LogFlux()(flux)
    assert found.dtype == np.float32
    assert (abs(found - wanted) <= 1e-6 * np.maximum(1, abs(wanted))).all()


@pytest.mark.parametrize("place", [0, 65535, 65536, 99999])
def test_special_values_are_read_right_anywhere_in_a_long_array(place: int) -> None:
    for value in SPECIAL:
        flux = np.full(100_000, 0.9, dtype=np.float32)
        flux[place] = value
        assert np.allclose(LogFlux()(flux), reference(flux), rtol=0, atol=1e-4)
        assert np.isfinite(LogFlux()(flux)).all()


def test_log_flux_leaves_its_input_alone() -> None:
    flux = SPECIAL.copy()
    LogFlux()(flux)
    assert np.array_equal(flux, SPECIAL, equal_nan=True)


@pytest.mark.parametrize("option", [{"floor": 0}, {"floor": -1}, {"fill": np.nan}, {"fill": 0}])
def test_a_floor_or_fill_without_logarithm_is_refused(option: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        LogFlux(**option)


def test_z_scores_go_there_and_back() -> None:
    labels = np.random.default_rng(0).normal([5500, 4, -0.2], [500, 0.7, 0.3], (100, 3))
    score = ZScore().fitted(labels, ("teff", "logg", "fe_h"))
    scores = score(labels)
    assert np.allclose(scores.mean(0), 0, atol=1e-6)
    assert np.allclose(scores.std(0), 1, atol=1e-6)
    assert np.allclose(score.inverse(scores), labels, rtol=1e-5)
    back = score.inverse(torch.from_numpy(scores))
    assert back.dtype == torch.float32
    assert np.allclose(back.numpy(), labels, rtol=1e-5)


def test_missing_values_do_not_count_in_the_fit() -> None:
    score = ZScore().fitted(np.array([[1.0], [np.nan], [3.0], [np.inf]]), ("teff",))
    assert score.mean is not None
    assert score.mean.tolist() == [2.0]


@pytest.mark.parametrize("values", [[5.0, 5.0], [np.nan, np.nan]])
def test_a_label_that_cannot_be_learnt_is_refused_by_name(values: list[float]) -> None:
    with pytest.raises(LabelError, match="'logg'"):
        ZScore().fitted(np.array(values)[:, None], ("logg",))


def test_a_score_without_values_cannot_be_used() -> None:
    with pytest.raises(OptionError, match="mean"):
        ZScore()(np.zeros(3))
    with pytest.raises(OptionError, match="both"):
        ZScore(mean=[1.0])
