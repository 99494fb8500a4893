"""What training does with one batch."""

import torch

from galahstream.learn.losses import Loss, check_outputs
from galahstream.learn.models.base import SpectraNetwork, as_prediction


class TrainingStep:
    """The gradients of a batch, and the update of the weights; nothing waits for the device.

    Parameters
    ----------
    network : SpectraNetwork
    loss : Loss
    optimizer : Optimizer
        Of the network's parameters.
    clip_norm : float, optional
        Largest norm of the gradients of all parameters together; larger ones are scaled down.
    """

    def __init__(
        self,
        network: SpectraNetwork,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        clip_norm: float | None = None,
    ) -> None:
        self._network, self._loss, self._optimizer = network, loss, optimizer
        self._clip_norm = clip_norm

    def differentiate(self, flux: torch.Tensor, *targets: torch.Tensor) -> torch.Tensor:
        """Compute the gradients of the loss of a batch.

        Parameters
        ----------
        flux : Tensor, shape (B, L), float32
        *targets : Tensor, shape (B, K), float32
            Scaled labels, and their errors if they are used.

        Returns
        -------
        Tensor, shape ()
            The loss, on the device.
        """
        prediction = as_prediction(self._network(flux))
        check_outputs(self._loss, prediction)
        loss = self._loss(prediction, *targets)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self._clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._clip_norm)
        return loss.detach()

    def update(self) -> None:
        """Change the weights by the gradients."""
        self._optimizer.step()
