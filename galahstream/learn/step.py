"""What training does with one batch."""

from functools import cached_property

import torch
from torch import nn

from galahstream.learn.distributed import Ranks, explained_loss_of_ranks
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
    ranks : Ranks
        Those that share each batch; all of them update their weights alike.
    """

    def __init__(
        self,
        network: SpectraNetwork,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        clip_norm: float | None = None,
        ranks: Ranks = Ranks(),
    ) -> None:
        self._network, self._loss, self._optimizer = network, loss, optimizer
        self._clip_norm, self._ranks = clip_norm, ranks

    def differentiate(self, flux: torch.Tensor, *targets: torch.Tensor) -> torch.Tensor:
        """Compute the gradients of the loss of a batch, or of this rank's share of it.

        Parameters
        ----------
        flux : Tensor, shape (B, L), float32
        *targets : Tensor, shape (B, K), float32
            Scaled labels, and their errors if they are used.

        Returns
        -------
        Tensor, shape ()
            The loss of the batch, of all ranks together, on the device.

        Raises
        ------
        RankError
            If another rank ended.
        """
        self._optimizer.zero_grad()
        if self._ranks.world_size == 1:
            prediction = as_prediction(self._network(flux))
            check_outputs(self._loss, prediction)
            loss = self._loss(prediction, *targets)
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            with explained_loss_of_ranks():
                loss = self._differentiate_share(flux, *targets)
        if self._clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._clip_norm)
        return loss.detach()

    @cached_property
    def _loss_sum(self) -> nn.Module:
        """The sum of the losses of a share; made in the first step, since all ranks wait for it."""
        return self._ranks.wrap(_LossSum(self._network, self._loss))

    def _differentiate_share(self, flux: torch.Tensor, *targets: torch.Tensor) -> torch.Tensor:
        total = self._loss_sum(flux, *targets)
        weight = self._loss.weight(*targets).to(total.dtype)
        all_ranks = self._ranks.sum(torch.stack((total.detach(), weight)))
        # The shares may differ by a star, and gradients are averaged over the ranks: the mean over
        # the batch is the sum over each share, times the ranks, per weight of the batch.
        (total * (self._ranks.world_size / all_ranks[1])).backward()
        return all_ranks[0] / all_ranks[1]

    def update(self) -> None:
        """Change the weights by the gradients."""
        self._optimizer.step()


class _LossSum(nn.Module):
    """A network and the sum of its loss in one module, whose output is one tensor."""

    def __init__(self, network: SpectraNetwork, loss: Loss) -> None:
        super().__init__()
        self.network, self._loss = network, loss

    def forward(self, flux: torch.Tensor, *targets: torch.Tensor) -> torch.Tensor:
        prediction = as_prediction(self.network(flux))
        check_outputs(self._loss, prediction)
        return self._loss.total(prediction, *targets)
