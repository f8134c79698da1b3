"""Proper scores of simulated paths: of single entries, of neighbouring times together, and of populations."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.inference import Model
from skneuralde.losses.base import Loss, Objective
from skneuralde.losses.curves import SimulatedLoss
from skneuralde.losses.data import SnapshotData, TrainingData
from skneuralde.losses.ensemble import Ensemble
from skneuralde.losses.fair import crps_of_members, distances, energy_of_members, fair_crps, fair_energy_score
from skneuralde.losses.simulation import PathObjective


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


class SnapshotEnergy(Loss):
    """Energy distance of simulated and observed population at each time, 2 E|X - Y| - E|X - X'| - E|Y - Y'| [1]_.

    The population starts as the individuals that are observed at the earliest time, with their weights. X and X' have
    independent noise and their own draws of the start: a start may be paired with itself.

    References
    ----------
    .. [1] G. J. Szekely and M. L. Rizzo, "Energy statistics: a class of statistics based on distances", Journal of
       Statistical Planning and Inference 143 (2013).
    """

    name = "energy"
    of_snapshots = True
    simulated = True
    compares_paths = True
    antithetic = True
    #: Two halves that are independent of each other, of mirrored pairs.
    min_paths = 4

    def bind(self, data: TrainingData) -> Objective:
        return SnapshotObjective(self, data.snapshots())


class SnapshotObjective(PathObjective):
    """`SnapshotEnergy` bound to data.

    An item is an individual that is observed later; its value is its share of the distance at its time.
    """

    def __init__(self, loss: SnapshotEnergy, data: SnapshotData):
        super().__init__(loss, data)
        self.place, self.weight, self.scale = data.place, data.weight, data.scale
        self.share = data.start_weight / data.start_weight.sum()
        self.targets = data.targets / data.scale
        self.all_starts = torch.arange(len(self.share), device=self.weight.device)
        self.spread = torch.empty_like(self.weight)
        for time in self.place.unique():
            rows = (self.place == time).nonzero()[:, 0]
            share = self.weight[rows] / self.weight[rows].sum()
            self.spread[rows] = distances(self.targets[rows], self.targets[rows]) @ share

    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        paths = self.simulate(model, self.all_starts, seed=seed)
        values = self.weight.new_zeros(len(items))
        for time in self.place[items].unique():
            rows = (self.place[items] == time).nonzero()[:, 0]
            data, spread = self.targets[items[rows]], self.spread[items[rows]]
            to_data, apart = self._means(paths.at(self.all_starts, time.expand(len(self.share))), data)
            values = values.index_copy(0, rows, 2.0 * to_data - apart - spread)
        return values

    def _means(self, paths: Ensemble, data: Tensor) -> tuple[Tensor, Tensor]:
        """Mean distance of the population (paths, starts, dim) to each row of data, and to itself."""
        x, share = paths.map(lambda y: y / self.scale), self.share
        to_data = share @ x.mean(lambda y: distances(y, data))
        half = 2 * (len(x) // 4)  # a pair of mirrored paths stays together
        one, other = x.part(slice(half)), x.part(slice(half, 2 * half))
        apart = share @ distances(one.paths, other.paths).mean(0) @ share
        shift = one.shift(lambda y: distances(y, other.paths) @ share)
        shift = shift + other.shift(lambda y: distances(y, one.paths) @ share)
        return to_data, apart + (share * shift).sum() / half
