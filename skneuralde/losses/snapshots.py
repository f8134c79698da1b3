"""Snapshots of different individuals: the simulated population against the observed one, time by time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.inference.curves import Curves, Method
from skneuralde.inference.model import Model
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
    start, method, n_paths
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
        method: Method,
        n_paths: Callable[[int], int] = lambda epoch: 4,
    ):
        super().__init__(curves, start=start, method=method, n_paths=n_paths)
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
        paths = self.simulate(model, self.all_starts, seed=seed) / self.scale
        half = 2 * (len(paths) // 4)  # a pair of mirrored paths stays together
        values = paths.new_zeros(len(items))
        for time in self.place[items].unique():
            rows = (self.place[items] == time).nonzero()[:, 0]
            x = paths[:, :, time]
            to_data = self.share @ _distances(x, self.targets[items[rows]]).mean(0)
            apart = self.share @ _distances(x[:half], x[half : 2 * half]).mean(0) @ self.share
            values = values.index_copy(0, rows, 2.0 * to_data - apart - self.spread[items[rows]])
        return values


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Distances of all rows, (..., n, m), from (..., n, dim) and (..., m, dim)."""
    y = y.expand(*x.shape[:-2], *y.shape[-2:])
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
