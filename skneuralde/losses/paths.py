"""Losses of each series' curve: the solution, or simulated paths, against the data, entry by entry."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.inference.model import Model
from skneuralde.inference.paths import Curves, SolverSettings
from skneuralde.losses.ensemble import Ensemble
from skneuralde.losses.simulation import PathObjective, Start


class CurveObjective(PathObjective):
    """Residuals of curves, in standard deviations of the data.

    Parameters
    ----------
    curves : Curves
    targets : Tensor of shape (items, n_times, dim)
        NaN where nothing was observed.
    row_weight : Tensor of shape (items, n_times)
    scale : Tensor of shape (dim,)
    start : Callable
        ``start(model, items)`` gives the initial states (items, dim).
    settings : SolverSettings
    n_paths : Callable
        The number of simulated paths as a function of the epoch.
    """

    def __init__(
        self,
        curves: Curves,
        targets: Tensor,
        row_weight: Tensor,
        scale: Tensor,
        *,
        start: Start,
        settings: SolverSettings,
        n_paths: Callable[[int], int] = lambda epoch: 1,
    ):
        super().__init__(curves, start=start, settings=settings, n_paths=n_paths)
        self.targets = targets
        self.observed = ~targets.isnan() & (row_weight > 0)[..., None]
        self.cell_weight = self.weigh(row_weight[..., None] * self.observed)
        self.weight = self.cell_weight.sum((1, 2))
        self.scale = scale

    def weigh(self, weight: Tensor) -> Tensor:
        """The weights of the penalties, from those of the entries, (items, time, dim)."""
        return weight

    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        solution = self.simulate(model, items, seed=seed)
        used = solution.paths.shape[2]
        targets, observed = self.targets[items, :used], self.observed[items, :used]
        # Where nothing was observed the residual is exactly zero, and so is its gradient.
        data = targets.where(observed, 0.0)
        residual = solution.map(lambda paths: (paths.where(observed, 0.0) - data) / self.scale)
        total = (self.cell_weight[items, :used] * self.penalty(residual, observed)).sum((1, 2))
        return total / self.weight[items].clamp_min(torch.finfo(total.dtype).tiny)

    @abstractmethod
    def penalty(self, residual: Ensemble, observed: Tensor) -> Tensor:
        """From the residuals of all paths, (paths, items, time, dim), to penalties with the shape of their weights."""


class LeastSquares(CurveObjective):
    """Squared distance of the solution to the data: the loss of an equation without noise."""

    def penalty(self, residual: Ensemble, observed: Tensor) -> Tensor:
        return residual.part(slice(1)).mean(torch.square)


class MeanMatching(CurveObjective):
    """Squared distance of the mean of simulated paths to data that are means themselves.

    The residuals of two independent halves of the paths are multiplied: the plain square adds the variance of the
    simulated mean, and so rewards a model with too little noise.
    """

    stochastic = True
    antithetic = True
    least_paths = 4

    def penalty(self, residual: Ensemble, observed: Tensor) -> Tensor:
        half = 2 * (len(residual) // 4)  # a pair of mirrored paths stays together
        return residual.part(slice(half)).mean() * residual.part(slice(half, None)).mean()


class PlainMeanMatching(CurveObjective):
    """The plain square of the same distance; see `MeanMatching` for what is wrong with it."""

    stochastic = True
    antithetic = True

    def penalty(self, residual: Ensemble, observed: Tensor) -> Tensor:
        paths, mean = residual.paths, residual.paths.mean(0)
        return mean.square() + residual.shift(lambda x: (mean + (x - paths) / len(paths)).square())


class PathSquaredError(CurveObjective):
    """Squared error of single paths, as in the article of 2019. It is smallest without any noise: see the warning."""

    stochastic = True

    def penalty(self, residual: Ensemble, observed: Tensor) -> Tensor:
        return residual.mean(torch.square)
