"""Negative log likelihood of transitions with jumps, and what keeps small jumps from imitating diffusion."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.inference.distributions.mixture import Mixture
from skneuralde.inference.jumps.splitting import channel_rates
from skneuralde.inference.model import Model
from skneuralde.losses.likelihood import TransitionLikelihood
from skneuralde.terms import trainable

#: Nats that a jump costs which nobody could tell from diffusion; one that shows clearly costs nothing.
_IMITATION = 0.1
#: The logarithm of one plus the expected number of jumps is counted by this.
_RARITY = 0.5
#: Items whose expected jumps are counted at once.
_BATCH = 65_536


class JumpLikelihood(TransitionLikelihood):
    """Negative log density of observations given the state before them, with a small penalty on jumps.

    Frequent small jumps are a diffusion: without jumps in the data the likelihood hardly tells their rate and size.
    Two things are added to it.

    - An expected jump costs 0.1 exp(-D) nats, where D is the evidence that such a jump leaves: the divergence of the
      law with it from the law without. A jump of four times the diffusion's spread over the interval has D = 6.6.
    - All jumps together cost 0.5 log(1 + N) nats, N being the expected number of jumps in all of the data: the prior of
      a rate whose order of magnitude is unknown. It is applied as 0.5 N / (1 + N0), with N0 as at the beginning of the
      epoch, which has the same slope.

    Both are for channels whose rate is learned: a known rate needs nothing to hold it. Components of several jumps,
    whose channels are not told apart, count where all rates are learned.

    Neither grows with the amount of data where jumps are clear: N jumps are worth far more nats than that.
    """

    jump_cost: float | None = None

    def start_epoch(self, model: Model, epoch: int) -> None:
        super().start_epoch(model, epoch)
        self.jump_cost = _RARITY / (1.0 + self._expected_jumps(model))

    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        if self.jump_cost is None:  # no epoch has started: a trained model is looked at
            self.jump_cost = _RARITY / (1.0 + self._expected_jumps(model))
        law = model.observed_distribution(self._transitions(model, items))
        assert isinstance(law, Mixture)  # a model with jumps
        return self._penalty(model, law, self.jump_cost) - law.log_density(self.targets.index_select(0, items))

    @staticmethod
    def _penalty(model: Model, law: Mixture, jump_cost: float) -> Tensor:
        """What the expected jumps of channels whose rate is learned cost, ``(items,)``."""
        learned = [trainable(jump.rate) for jump in model.problem.jumps]
        counts = [all(learned) if channel is None else learned[channel] for channel in law.channels[1:]]
        if not any(counts):
            return torch.zeros_like(law.log_weight[0])
        hidden = _IMITATION * torch.exp(-law.evidence)
        counted = jump_cost * law.log_weight.new_tensor(law.jumps[1:])[:, None]
        return (law.weight[1:] * (hidden + counted) * law.log_weight.new_tensor(counts)[:, None]).sum(0)

    @torch.no_grad()
    def _expected_jumps(self, model: Model) -> float:
        """Expected number of jumps at rates that are learned, in all items, with the rates where these start."""
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
