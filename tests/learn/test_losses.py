from typing import ClassVar

import pytest
import torch

from galahstream.learn.losses import MeanSquaredError, check_outputs
from galahstream.learn.models.base import Prediction


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
