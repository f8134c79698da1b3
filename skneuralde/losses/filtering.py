"""The negative log likelihood of noisy or partial observations, by filtering."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.inference.distributions.gaussian import Gaussian
from skneuralde.inference.filtering.parallel import find_linearisation_states, run_linearised_filter
from skneuralde.inference.model import Model
from skneuralde.losses.data import ChainData
from skneuralde.losses.objective import Objective
from skneuralde.losses.transitions import start_calibration


class FilterLikelihood(Objective):
    """Negative log density of each observation given all before it in its chain; an item is a chain.

    Transitions are linearised around the states that the filter finds at the beginning of an epoch. The value of a
    chain is the weighted mean over its rows.

    Parameters
    ----------
    data : ChainData
    """

    is_sequential = True

    def __init__(self, data: ChainData):
        self.chains = data.chains
        self.row_weight = data.row_weight
        self.weight = _sum_by(data.chains.chain, data.row_weight, len(data.chains.first))
        self.calibrate = data.calibrate
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
