"""Proper scores of simulated paths: of every entry alone, and of neighbouring times together."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.losses.curves import SimulatedLoss
from skneuralde.losses.ensemble import Ensemble
from skneuralde.losses.fair import crps_of_members, energy_of_members, fair_crps, fair_energy_score
from skneuralde.losses.snapshots import SnapshotEnergy


class RankedProbability(SimulatedLoss):
    """Continuous ranked probability score of simulated paths at each observation, output by output.

    It is proper for the distribution at each time given the series' start, and ignores how times or outputs are
    correlated.
    """

    name = "crps"
    compares_paths = True
    min_paths = 4

    def penalty(self, residual: Ensemble, observed: Tensor) -> Tensor:
        paths, mirrored = residual.paths, self.antithetic
        members = residual.shift(lambda x: crps_of_members(x, paths, mirrored=mirrored))
        return fair_crps(paths, mirrored=mirrored) + members


class PairedEnergy(SimulatedLoss):
    """Energy score of the states at each observed time and the observed time before it, all outputs together [1]_.

    A series' first target counts alone. The score has the weight of the later row. An output that is missing at a time
    is left out of that time's vector.

    References
    ----------
    .. [1] J. Zhang et al., "Efficient training of neural stochastic differential equations by matching finite
       dimensional distributions" (2024), arXiv 2410.03973.
    """

    name = "energy"
    compares_paths = True
    min_paths = 4

    def for_snapshots(self) -> SnapshotEnergy:
        return SnapshotEnergy()

    def weigh(self, weight: Tensor) -> Tensor:
        return weight.amax(-1, keepdim=True)

    def penalty(self, residual: Ensemble, observed: Tensor) -> Tensor:
        there = observed.any(-1)
        before = _observed_before(there)
        is_pair, place = (before >= 0)[..., None], before.clamp_min(0)[None, ..., None]

        def paired(x: Tensor) -> Tensor:
            return torch.cat([x.gather(2, place.expand_as(x)).where(is_pair, 0.0), x], -1)

        pairs, mirrored = residual.map(paired).at(*there.nonzero().unbind(1)), self.antithetic
        scores = fair_energy_score(pairs.paths, mirrored=mirrored)
        scores = scores + pairs.shift(lambda x: energy_of_members(x, pairs.paths, mirrored=mirrored))
        return scores.new_zeros(there.shape).masked_scatter(there, scores)[..., None]


def _observed_before(there: Tensor) -> Tensor:
    """The latest time before each one at which ``there (items, time)`` is true; -1 if there is none."""
    time = torch.arange(there.shape[1], device=there.device)
    latest = time.where(there, -1).cummax(1).values
    return torch.cat([latest.new_full((len(there), 1), -1), latest[:, :-1]], 1)
