import pytest
import torch

from galahstream.errors import OptionError
from galahstream.learn.models.cnn import SpectraCNN, layer_table


def test_the_network_has_the_parameters_of_the_published_run() -> None:
    with torch.device("meta"):
        model = SpectraCNN(16384, 3)
    assert sum(weights.numel() for weights in model.parameters()) == 33_563_299
    assert "33,563,299" in layer_table(model)


@pytest.mark.parametrize("n_pixels", [8, 9, 64, 1001, 3904])
def test_any_length_gives_one_score_a_label(n_pixels: int) -> None:
    assert SpectraCNN(n_pixels, 2)(torch.zeros(5, n_pixels)).shape == (5, 2)


def test_sizes_that_make_no_network_are_refused() -> None:
    for sizes in ((7, 3), (64, 0)):
        with pytest.raises(OptionError):
            SpectraCNN(*sizes)
