"""The logarithm of the flux and the scaling of labels, against float64."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import galahstream as gs
from galahstream.errors import LabelError, OptionError
from galahstream.store import Store
from galahstream.stream.transforms import LogFlux, ZScore

SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 1e-40, 3.4028235e38, 0.2, 1.0], dtype=np.float32
)


def reference(
    flux: npt.NDArray[Any], floor: float = 0.2, fill: float = 1.0
) -> npt.NDArray[np.float64]:
    """Return the logarithm of flux as float64 gives it."""
    finite = np.where(np.isfinite(flux), flux.astype(np.float64), fill)
    logarithm: npt.NDArray[np.float64] = np.log(np.maximum(finite, floor))
    return logarithm


@pytest.mark.slow
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 70))))
def test_log_flux_is_that_of_float64_for_any_pixel(flux: npt.NDArray[np.float32]) -> None:
    expected = reference(flux)
    logged = LogFlux()(flux)
    assert logged.dtype == np.float32
    assert (abs(logged - expected) <= 1e-6 * np.maximum(1, abs(expected))).all()


@pytest.mark.parametrize("pixel", [0, 65535, 65536, 99999])
def test_special_values_are_right_anywhere_in_a_long_array(pixel: int) -> None:
    for value in SPECIAL:
        flux = np.full(100_000, 0.9, dtype=np.float32)
        flux[pixel] = value
        assert np.allclose(LogFlux()(flux), reference(flux), rtol=0, atol=1e-4)
        assert np.isfinite(LogFlux()(flux)).all()


def test_log_flux_leaves_its_input_alone() -> None:
    flux = SPECIAL.copy()
    LogFlux()(flux)
    assert np.array_equal(flux, SPECIAL, equal_nan=True)


@pytest.mark.parametrize("flux", [SPECIAL, SPECIAL.astype(np.float64) * 1e200], ids=["32", "64"])
def test_numpys_error_settings_do_not_matter(flux: npt.NDArray[Any]) -> None:
    expected = LogFlux()(flux)
    with np.errstate(all="raise"):
        assert LogFlux()(flux).tobytes() == expected.tobytes()
        score = ZScore(mean=[0.0], std=[1e30])
        assert score(np.array([[1e-20], [np.inf]])).tolist() == [[0.0], [np.inf]]


def test_numpy_scalars_become_plain_numbers() -> None:
    numbers: Any = np.float32(0.5), np.int64(2)
    log = LogFlux(*numbers)
    assert repr(log) == "LogFlux(floor=0.5, fill=2.0)"
    assert log == LogFlux(0.5, 2)


@pytest.mark.parametrize(
    "option",
    [{"floor": 0}, {"floor": -1}, {"fill": np.nan}, {"fill": 0}, {"floor": "0.2"}, {"fill": None}],
    ids=str,
)
def test_a_floor_or_fill_without_logarithm_is_an_error(option: dict[str, Any]) -> None:
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
def test_a_label_that_cannot_be_learnt_is_named(values: list[float]) -> None:
    with pytest.raises(LabelError, match="'logg'"):
        ZScore().fitted(np.array(values)[:, None], ("logg",))


def test_a_score_copies_the_values_it_is_given() -> None:
    mean = np.zeros(2)
    score = ZScore(mean=mean, std=np.ones(2, dtype=np.float32))
    mean += 1
    assert repr(score) == "ZScore(mean=[0.0, 0.0], std=[1.0, 1.0])"


@pytest.mark.parametrize(
    "options",
    [
        {"fit_on": "test"},
        {"mean": [1.0]},
        {"mean": [1.0], "std": [0.0]},
        {"mean": [1], "std": [1, 2]},
    ],
    ids=str,
)
def test_a_score_of_unusable_values_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        ZScore(**options)


def test_a_score_without_values_cannot_be_used() -> None:
    with pytest.raises(OptionError, match="mean"):
        ZScore()(np.zeros(3))
    with pytest.raises(OptionError, match="both"):
        ZScore(mean=[1.0])


def test_a_score_in_a_unit_of_its_own_raises() -> None:
    units = pytest.importorskip("astropy.units")
    with pytest.raises(OptionError, match="'kK'; expected numbers in the units of the labels"):
        ZScore(mean=[5.5] * units.Unit("kK"), std=[0.5] * units.Unit("kK"))


def test_a_subclass_that_computes_something_else_is_called(npy_store: Store) -> None:
    class Doubled(LogFlux):
        def __call__(self, flux: Any) -> Any:
            return 2 * super().__call__(flux)

    plain = gs.SpectraDataset(npy_store)
    doubled = gs.SpectraDataset(npy_store, transform=Doubled())
    assert torch.allclose(doubled[:][0], 2 * plain[:][0], atol=1e-5)
    with gs.SpectraLoader(doubled, 8) as loader:
        assert torch.equal(torch.cat([flux for flux, _ in loader]), doubled[:][0])
