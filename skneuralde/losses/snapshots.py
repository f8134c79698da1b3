"""Snapshots of different individuals: the simulated population against the observed one, time by time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.inference.model import Model
from skneuralde.inference.paths import Curves, SolverSettings
from skneuralde.losses.ensemble import Ensemble
from skneuralde.losses.simulation import PathObjective, Start


class SnapshotEnergy(PathObjective):
    """Energy distance of the simulated to the observed law at each time, 2 E|X - Y| - E|X - X'| - E|Y - Y'|.

    The population starts as the individuals that are observed at the earliest time, with their weights. An item is an
    individual that is observed later; its value is its share of the distance at its time. X and X' have independent
    noise and their own draws of the start: a start may meet itself.

    Parameters
    ----------
    curves : Curves
        One per individual at the start, all with the same times.
    start_weight : Tensor of shape (starts,)
    targets : Tensor of shape (items, dim)
        Complete.
    place : int64 Tensor of shape (items,)
        The position of each item's time among those of the curves.
    weight : Tensor of shape (items,)
    scale : Tensor of shape (dim,)
    start, settings, n_paths
        Like in `CurveObjective`; paths are those of each individual.

    References
    ----------
    .. [1] G. J. Szekely and M. L. Rizzo, "Energy statistics: a class of statistics based on distances", Journal of
       Statistical Planning and Inference 143 (2013).
    """

    stochastic = True
    antithetic = True
    #: Two halves that are independent of each other, of mirrored pairs.
    least_paths = 4

    def __init__(
        self,
        curves: Curves,
        start_weight: Tensor,
        targets: Tensor,
        place: Tensor,
        weight: Tensor,
        scale: Tensor,
        *,
        start: Start,
        settings: SolverSettings,
        n_paths: Callable[[int], int] = lambda epoch: 4,
    ):
        super().__init__(curves, start=start, settings=settings, n_paths=n_paths)
        self.share = start_weight / start_weight.sum()
        self.targets = targets / scale
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
