from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.utils._python_dispatch import TorchDispatchMode

from galahstream.learn.losses import (
    LOSSES,
    FullGaussianLikelihood,
    GaussianLikelihood,
    Loss,
    MeanSquaredError,
    check_outputs,
    make_loss,
)
from galahstream.learn.models.base import OutputKind, Prediction, as_prediction
from galahstream.learn.models.heads import LabelHead

NAN = float("nan")


def test_mean_and_total_are_those_of_squared_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, target = torch.randn(2, 5, 3, generator=generator)
    loss, prediction = MeanSquaredError(), Prediction(mean)
    assert torch.equal(loss(prediction, target), torch.nn.MSELoss()(mean, target))
    assert loss.total(prediction, target) == pytest.approx(15 * float(loss(prediction, target)))


def test_a_network_without_the_outputs_of_a_loss_is_refused() -> None:
    class VarianceError(MeanSquaredError):
        required_outputs: ClassVar[tuple[str, ...]] = ("mean", "log_variance")

    mean = torch.zeros(2, 3)
    check_outputs(MeanSquaredError(), Prediction(mean))
    check_outputs(VarianceError(), Prediction(mean, mean))
    with pytest.raises(TypeError, match="VarianceError needs a network that predicts log_variance"):
        check_outputs(VarianceError(), Prediction(mean))


def random_batch(seed: int, n_stars: int = 40, n_labels: int = 3) -> tuple[Prediction, Tensor]:
    """Return what a network predicts, covariances included, and targets with missing labels."""
    generator = torch.Generator().manual_seed(seed)
    head = LabelHead(8, n_labels, "covariance")
    torch.nn.init.normal_(head.weight, std=0.3, generator=generator)
    prediction = as_prediction(head(torch.randn(n_stars, 8, generator=generator)))
    target = torch.randn(n_stars, n_labels, generator=generator)
    missing = torch.rand(n_stars, n_labels, generator=generator) < 0.3
    missing[:, 0] &= ~missing.all(dim=1)
    return prediction, target.where(~missing, NAN)


def label_errors(target: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.rand(target.shape, generator=generator).where(~target.isnan(), NAN)


@given(seed=st.integers(0, 2**32), n_stars=st.integers(1, 70), n_labels=st.integers(1, 9))
def test_without_missing_labels_loss_and_gradient_are_those_of_torch_to_the_bit(
    seed: int, n_stars: int, n_labels: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    mean, target = torch.randn(2, n_stars, n_labels, generator=generator)
    ours, theirs = mean.clone().requires_grad_(), mean.clone().requires_grad_()
    loss, expected = MeanSquaredError()(Prediction(ours), target), mse_loss(theirs, target)
    assert torch.equal(loss, expected)
    for result in (loss, expected):
        result.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(gradient(ours), gradient(theirs))


@pytest.mark.parametrize("loss", [make_loss(name) for name in LOSSES], ids=list(LOSSES))
def test_missing_labels_have_no_gradient_and_no_value(loss: Loss) -> None:
    prediction, target = random_batch(0)
    target[3] = NAN
    leaf = torch.nn.Parameter(prediction.mean.detach())
    loss(prediction._replace(mean=leaf), target, label_errors(target)).backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(gradient(leaf)).all()
    assert (gradient(leaf)[3] == 0).all()
    kept = torch.arange(40) != 3
    without = Prediction(*(field[kept] for field in prediction if field is not None))
    torch.testing.assert_close(loss(prediction, target), loss(without, target[kept]))


@pytest.mark.parametrize("errors", [False, True])
@pytest.mark.parametrize("loss", [make_loss(name) for name in LOSSES], ids=list(LOSSES))
def test_totals_and_weights_of_parts_make_the_mean_of_a_batch(loss: Loss, errors: bool) -> None:
    prediction, target = random_batch(1)
    extra = [label_errors(target)] if errors else []
    total = weight = torch.zeros(())
    for part in (slice(0, 7), slice(7, 40)):
        some = Prediction(*(field[part] for field in prediction if field is not None))
        targets = [tensor[part] for tensor in (target, *extra)]
        total, weight = total + loss.total(some, *targets), weight + loss.weight(*targets)
    torch.testing.assert_close(total / weight, loss(prediction, target, *extra))


def test_weights_of_squares_are_halved_at_a_tenth_of_a_standard_deviation() -> None:
    prediction = Prediction(torch.tensor([[1.0, 2.0]]))
    loss = MeanSquaredError()(prediction, torch.zeros(1, 2), torch.tensor([[0.0, 0.1]]))
    assert float(loss) == pytest.approx((1 * 1 + 0.5 * 4) / 1.5)


@pytest.mark.parametrize("errors", [False, True])
def test_the_likelihood_is_that_of_torch_for_each_label(errors: bool) -> None:
    prediction, target = random_batch(2)
    assert prediction.log_variance is not None
    variance, extra = prediction.log_variance.exp(), []
    if errors:
        extra = [label_errors(target)]
        variance = variance + extra[0] ** 2
    present = ~target.isnan()
    expected = torch.nn.GaussianNLLLoss(full=True)(
        prediction.mean[present], target[present], variance[present]
    )
    torch.testing.assert_close(GaussianLikelihood()(prediction, target, *extra), expected)


@pytest.mark.parametrize("errors", [False, True])
@pytest.mark.parametrize("n_labels", [2, 3, 9])
def test_the_full_likelihood_is_the_marginal_one_of_the_labels_that_are_there(
    errors: bool, n_labels: int
) -> None:
    prediction, target = random_batch(3, n_labels=n_labels)
    assert prediction.covariance_factor is not None
    covariance = prediction.covariance_factor @ prediction.covariance_factor.mT
    extra = [label_errors(target)] if errors else []
    if errors:
        covariance = covariance + torch.diag_embed(extra[0].nan_to_num() ** 2)
    expected = torch.zeros(())
    for star in range(len(target)):
        there = ~target[star].isnan()
        distribution = torch.distributions.MultivariateNormal(
            prediction.mean[star, there], covariance[star][there][:, there]
        )
        log_prob = distribution.log_prob(target[star, there])  # type: ignore[no-untyped-call]
        expected = expected - log_prob
    loss = FullGaussianLikelihood()
    torch.testing.assert_close(
        loss.total(prediction, target, *extra), expected, rtol=1e-4, atol=1e-3
    )
    assert int(loss.weight(target)) == int((~target.isnan()).sum())


@pytest.mark.parametrize("size", [0.0, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("loss", [GaussianLikelihood(), FullGaussianLikelihood()])
def test_likelihoods_are_finite_whatever_a_network_gives(loss: Loss, size: float) -> None:
    torch.manual_seed(0)
    head = LabelHead(8, 12, loss.output)
    torch.nn.init.normal_(head.weight)
    target = torch.randn(64, 12)
    target[::3, ::2] = NAN
    value = loss(as_prediction(head(size * torch.randn(64, 8))), target, label_errors(target))
    value.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(value)
    assert all(torch.isfinite(gradient(weights)).all() for weights in head.parameters())


@pytest.mark.parametrize("output", ["variance", "covariance"])
def test_an_untrained_network_begins_with_the_variance_of_scaled_labels(output: OutputKind) -> None:
    prediction = as_prediction(LabelHead(8, 3, output)(1e3 * torch.randn(20, 8)))
    assert prediction.log_variance is not None
    torch.testing.assert_close(prediction.log_variance.exp(), torch.ones(20, 3), rtol=0.1, atol=0.0)


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations that run, and the dtypes of their results."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.names.add(func.name())
        for tensor in result if isinstance(result, tuple) else (result,):
            if isinstance(tensor, Tensor):
                self.dtypes.add(tensor.dtype)
        return result


@pytest.mark.parametrize("loss", [make_loss(name) for name in LOSSES], ids=list(LOSSES))
def test_a_step_waits_for_no_value_and_needs_no_float64(loss: Loss) -> None:
    head, target = LabelHead(8, 3, loss.output), random_batch(4)[1]
    with Operations() as seen:
        prediction = as_prediction(head(torch.ones(40, 8)))
        loss(prediction, target, label_errors(target)).backward()  # type: ignore[no-untyped-call]
    assert not {name for name in seen.names if "local_scalar" in name or "nonzero" in name}
    assert torch.float64 not in seen.dtypes


def gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad
