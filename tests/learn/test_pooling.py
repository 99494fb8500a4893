"""Max-pooling of pairs has the values and the gradients of torch's own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from galahstream.learn.models.pooling import PairMaxPool


@settings(deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(2, 9)),
    seed=st.integers(0, 2**32),
    levels=st.integers(1, 4),
)
def test_values_and_gradients_are_those_of_torch(
    sizes: tuple[int, int, int], seed: int, levels: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Few levels, so that many pairs are equal, as where spectra are masked.
    values = torch.randint(levels, sizes, generator=generator).float()
    ours, theirs = (values.clone().requires_grad_() for _ in range(2))
    pooled, expected = PairMaxPool()(ours), functional.max_pool1d(theirs, 2)
    assert torch.equal(pooled, expected)
    gradient = torch.randn(expected.shape, generator=generator)
    pooled.backward(gradient)
    expected.backward(gradient)  # type: ignore[no-untyped-call]
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("values", [[float("nan"), 1.0], [1.0, float("nan")]])
def test_a_value_that_is_not_a_number_stays_one(values: list[float]) -> None:
    assert PairMaxPool()(torch.tensor([[values]])).isnan().all()


def test_gradients_can_be_differentiated_and_vectorised() -> None:
    values = torch.randn(2, 3, 9, dtype=torch.float64, requires_grad=True)
    pool = PairMaxPool()
    assert torch.autograd.gradcheck(pool, values)
    assert torch.autograd.gradgradcheck(pool, values)
    jacobian = torch.func.jacrev(pool)(values)
    assert torch.equal(jacobian, torch.func.jacrev(lambda x: functional.max_pool1d(x, 2))(values))


def test_nothing_is_kept_without_gradients() -> None:
    with torch.inference_mode():
        assert PairMaxPool()(torch.ones(1, 1, 4)).grad_fn is None
    assert not PairMaxPool()(torch.ones(1, 1, 4)).requires_grad
