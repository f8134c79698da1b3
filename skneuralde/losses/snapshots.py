"""The energy distance of simulated and observed populations, time by time."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.inference.model import Model
from skneuralde.losses.base import Loss
from skneuralde.losses.data import SnapshotData, TrainingData
from skneuralde.losses.ensemble import Ensemble
from skneuralde.losses.objective import Objective
from skneuralde.losses.simulation import PathObjective


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

    Parameters
    ----------
    loss : SnapshotEnergy
    data : SnapshotData
    """

    def __init__(self, loss: SnapshotEnergy, data: SnapshotData):
        super().__init__(loss, data)
        start_weight, place, weight, scale = data.start_weight, data.place, data.weight, data.scale
        self.share = start_weight / start_weight.sum()
        self.targets = data.targets / scale
        self.place = place
        self.weight = weight
        self.scale = scale
        self.all_starts = torch.arange(len(start_weight), device=weight.device)
        self.spread = torch.empty_like(weight)
        for time in place.unique():
            rows = (place == time).nonzero()[:, 0]
            share = weight[rows] / weight[rows].sum()
            self.spread[rows] = _distances(self.targets[rows], self.targets[rows]) @ share

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
        to_data = share @ x.mean(lambda y: _distances(y, data))
        half = 2 * (len(x) // 4)  # a pair of mirrored paths stays together
        one, other = x.part(slice(half)), x.part(slice(half, 2 * half))
        apart = share @ _distances(one.paths, other.paths).mean(0) @ share
        shift = one.shift(lambda y: _distances(y, other.paths) @ share)
        shift = shift + other.shift(lambda y: _distances(y, one.paths) @ share)
        return to_data, apart + (share * shift).sum() / half


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Distances of all rows, (..., n, m), from (..., n, dim) and (..., m, dim)."""
    y = y.expand(*x.shape[:-2], *y.shape[-2:])
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
