"""The negative log likelihood, with a penalty on jumps that imitate diffusion, and of filtered observations."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.inference import Gaussian, Mixture, Model, PredictiveDistribution, find_linearisation_states
from skneuralde.inference.filtering.parallel import run_linearised_filter
from skneuralde.inference.jumps.splitting import channel_rates
from skneuralde.losses.base import Objective
from skneuralde.losses.data import ChainData, TrainingData
from skneuralde.losses.transitions import TransitionLoss, TransitionObjective, start_calibration
from skneuralde.terms import trainable

#: Cost in nats of a jump that cannot be told from diffusion; a jump that shows clearly costs nothing.
_IMITATION = 0.1
#: Factor of the logarithm of one plus the expected number of jumps.
_RARITY = 0.5
#: Items whose expected jumps are counted at once.
_BATCH = 65_536


class NegativeLogLikelihood(TransitionLoss):
    """Negative log density of each observation given the observations before it.

    Exact for a linear drift with additive noise. Noisy and partial observations are filtered. With jumps the loss
    contains the penalty of `JumpLikelihood`.
    """

    name = "nll"
    is_likelihood = True
    can_filter = True

    def bind(self, data: TrainingData) -> Objective:
        chains = data.chains()
        if chains is not None:
            return FilterLikelihood(chains)
        transitions = data.transitions()
        return (JumpLikelihood if transitions.has_jumps else TransitionObjective)(self, transitions)

    def cost(self, predicted: PredictiveDistribution, target: Tensor) -> Tensor:
        return -predicted.log_density(target)


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
    apart, is penalised if all rates are learned. Neither term grows with the amount of data if jumps are clear: N jumps
    are worth far more nats than that.
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


class FilterLikelihood(Objective):
    """Negative log density of each observation given all before it in its chain; an item is a chain.

    Transitions are linearised around the states that the filter finds at the beginning of an epoch. The value of a
    chain is the weighted mean over its rows.
    """

    is_sequential = True

    def __init__(self, data: ChainData):
        self.chains, self.row_weight, self.calibrate = data.chains, data.row_weight, data.calibrate
        self.weight = _sum_by(data.chains.chain, data.row_weight, len(data.chains.first))
        self.around: Gaussian | None = None

    def start_epoch(self, model: Model, epoch: int) -> None:
        start_calibration(model, epoch, self.calibrate)
        self.around = find_linearisation_states(model, self.chains, self.around)

    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        if self.around is None:  # no epoch has started: a trained model is evaluated
            self.around = find_linearisation_states(model, self.chains)
        chains, around, row_weight = self.chains, self.around, self.row_weight
        if len(items) < len(self):
            chosen = chains.transitions_of(items)
            chains, around, row_weight = chains.select(items), around.rows(chosen), row_weight[chosen]
        density = run_linearised_filter(model, chains, around).log_density
        # A density that is not finite must not spoil the sum if its weight is zero.
        cost = torch.where(row_weight > 0.0, -density, 0.0) * row_weight
        total = _sum_by(chains.chain, cost, len(chains.first))
        weight = self.weight[items] if len(items) < len(self) else self.weight
        return total / weight.clamp_min(torch.finfo(total.dtype).tiny)


def _sum_by(group: Tensor, values: Tensor, n_groups: int) -> Tensor:
    """Sums of the values in each group, ``(n_groups,)``."""
    return values.new_zeros(n_groups).index_add(0, group, values)
