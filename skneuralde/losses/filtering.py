"""Negative log likelihood of noisy or partial observations, by filtering."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.inference.distributions.gaussian import Gaussian
from skneuralde.inference.filtering.kalman import ObservationChains
from skneuralde.inference.filtering.parallel import find_linearisation_states, run_linearised_filter
from skneuralde.inference.model import Model
from skneuralde.losses.base import Objective
from skneuralde.losses.likelihood import Calibration, start_calibration


class FilterLikelihood(Objective):
    """Negative log density of each observation given all before it in its chain, mean over the chain's rows.

    Transitions are linearised around the states that the filter finds at the beginning of an epoch.

    Parameters
    ----------
    chains : ObservationChains
    row_weight : Tensor of shape (n,)
        Weight of each transition's target.
    calibrate : Callable
        Gives the propagator for a model; asked anew now and then while the coefficients change.
    """

    is_sequential = True

    def __init__(self, chains: ObservationChains, row_weight: Tensor, *, calibrate: Calibration):
        self.chains = chains
        self.row_weight = row_weight
        self.weight = _sum_by(chains.chain, row_weight, len(chains.first))
        self.calibrate = calibrate
        self.around: Gaussian | None = None

    def start_epoch(self, model: Model, epoch: int) -> None:
        start_calibration(model, epoch, self.calibrate)
        self.around = find_linearisation_states(model, self.chains, self.around)

    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        if self.around is None:  # no epoch has started: a trained model is looked at
            self.around = find_linearisation_states(model, self.chains)
        chains, around, row_weight = self.chains, self.around, self.row_weight
        if len(items) < len(self):
            chosen = chains.transitions_of(items)
            chains, around, row_weight = chains.select(items), around.rows(chosen), row_weight[chosen]
        density = run_linearised_filter(model, chains, around).log_density
        # A density that is not finite where nothing is asked must not spoil the sum.
        cost = torch.where(row_weight > 0.0, -density, 0.0) * row_weight
        total = _sum_by(chains.chain, cost, len(chains.first))
        weight = self.weight[items] if len(items) < len(self) else self.weight
        return total / weight.clamp_min(torch.finfo(total.dtype).tiny)


def _sum_by(group: Tensor, values: Tensor, n_groups: int) -> Tensor:
    return values.new_zeros(n_groups).index_add(0, group, values)
