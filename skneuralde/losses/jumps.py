"""The negative log likelihood of transitions with jumps, and its penalty on jumps that imitate diffusion."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.inference.distributions.mixture import Mixture
from skneuralde.inference.jumps.splitting import channel_rates
from skneuralde.inference.model import Model
from skneuralde.losses.transitions import TransitionObjective
from skneuralde.terms import trainable

#: Cost in nats of a jump that cannot be told from diffusion; a jump that shows clearly costs nothing.
_IMITATION = 0.1
#: Factor of the logarithm of one plus the expected number of jumps.
_RARITY = 0.5
#: Items whose expected jumps are counted at once.
_BATCH = 65_536


class JumpLikelihood(TransitionObjective):
    """Negative log density of observations given the state before them, with a small penalty on jumps.

    Frequent small jumps are a diffusion: without jumps in the data the likelihood hardly depends on their rate and
    size. The loss adds two terms.

    - An expected jump costs 0.1 exp(-D) nats. D is the evidence that such a jump leaves: the divergence of the
      distribution with the jump from the one without. A jump of four standard deviations of the diffusion over the
      interval has D = 6.6.
    - All jumps together cost 0.5 log(1 + N) nats, N being the expected number of jumps in all of the data: the prior of
      a rate whose order of magnitude is unknown. It is applied as 0.5 N / (1 + N0), with N0 taken at the beginning of
      the epoch, which has the same slope.

    Only channels with a learned rate are penalised. A component of several jumps, which does not tell the channels
    apart, is penalised if all rates are learned.

    Neither term grows with the amount of data if jumps are clear: N jumps are worth far more nats than that.
    """

    jump_cost: float | None = None

    def start_epoch(self, model: Model, epoch: int) -> None:
        super().start_epoch(model, epoch)
        self.jump_cost = _RARITY / (1.0 + self._expected_jumps(model))

    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        if self.jump_cost is None:  # no epoch has started: a trained model is evaluated
            self.jump_cost = _RARITY / (1.0 + self._expected_jumps(model))
        predicted = model.observed_distribution(self._transitions(model, items))
        assert isinstance(predicted, Mixture)  # a model with jumps
        cost = self.loss.cost(predicted, self.targets.index_select(0, items))
        return self._penalty(model, predicted, self.jump_cost) + cost

    @staticmethod
    def _penalty(model: Model, predicted: Mixture, jump_cost: float) -> Tensor:
        """Cost of the expected jumps of channels whose rate is learned, ``(items,)``."""
        learned = [trainable(jump.rate) for jump in model.problem.jumps]
        counts = [all(learned) if channel is None else learned[channel] for channel in predicted.channels[1:]]
        if not any(counts):
            return torch.zeros_like(predicted.log_weight[0])
        hidden = _IMITATION * torch.exp(-predicted.evidence)
        counted = jump_cost * predicted.log_weight.new_tensor(predicted.jumps[1:])[:, None]
        return (predicted.weight[1:] * (hidden + counted) * predicted.log_weight.new_tensor(counts)[:, None]).sum(0)

    @torch.no_grad()
    def _expected_jumps(self, model: Model) -> float:
        """Expected number of jumps at learned rates in all items, with the rates at the start of each item."""
        learned = [jump for jump in model.problem.jumps if trainable(jump.rate)]
        if not learned:
            return 0.0
        total = 0.0
        for items in self.items.split(_BATCH):
            transitions = self._transitions(model, items)
            first = transitions.c0.index_select(0, transitions.offsets[:-1])
            now = transitions.time.to(transitions.state.dtype)[:, None]
            rate = channel_rates(learned, now, transitions.state, first).sum(0)
            total += float((self.weight[items] * rate * transitions.horizon.abs()).sum())
        return total
