"""The negative log likelihood."""

from __future__ import annotations

from torch import Tensor

from skneuralde.inference.distributions.protocol import PredictiveDistribution
from skneuralde.losses.data import TrainingData
from skneuralde.losses.filtering import FilterLikelihood
from skneuralde.losses.jumps import JumpLikelihood
from skneuralde.losses.objective import Objective
from skneuralde.losses.transitions import TransitionLoss, TransitionObjective


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
