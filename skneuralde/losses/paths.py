"""Losses of whole curves: the solution, or the mean of simulated paths, against the data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.inference.curves import Curves, Method
from skneuralde.inference.model import Model
from skneuralde.losses.base import Objective

#: Initial states of some items, from the model.
Start = Callable[[Model, Tensor], Tensor]


class CurveObjective(Objective):
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
    method : Method
    n_paths : Callable
        The number of simulated paths as a function of the epoch.
    """

    is_sequential = True
    #: Whether paths come in pairs of mirrored noise, which makes the error of a mean much smaller.
    antithetic: bool = False

    def __init__(
        self,
        curves: Curves,
        targets: Tensor,
        row_weight: Tensor,
        scale: Tensor,
        *,
        start: Start,
        method: Method,
        n_paths: Callable[[int], int] = lambda epoch: 1,
    ):
        self.curves = curves
        self.targets = targets
        observed = ~targets.isnan()
        self.cell_weight = row_weight[..., None] * observed
        self.weight = self.cell_weight.sum((1, 2))
        self.scale = scale
        self.start = start
        self.method = method
        self.n_paths = n_paths
        self.paths = n_paths(1)

    def start_epoch(self, model: Model, epoch: int) -> None:
        self.paths = self.n_paths(epoch)

    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        curves = self.curves.select(items)
        used = curves.times.shape[1]
        solution, _ = curves.solve(
            model.problem,
            self.start(model, items),
            self.method,
            n_paths=self.paths,
            seed=seed,
            antithetic=self.antithetic,
        )
        targets, weight = self.targets[items, :used], self.cell_weight[items, :used]
        observed = weight > 0
        # Where nothing was observed the residual is exactly zero, and so is its gradient.
        residual = (solution.where(observed, 0.0) - targets.where(observed, 0.0)) / self.scale
        total = (weight * self.penalty(residual)).sum((1, 2))
        return total / self.weight[items].clamp_min(torch.finfo(total.dtype).tiny)

    @abstractmethod
    def penalty(self, residual: Tensor) -> Tensor:
        """From the residual of every path, (paths, items, time, dim), to a penalty (items, time, dim)."""


class LeastSquares(CurveObjective):
    """Squared distance of the solution to the data: the loss of an equation without noise."""

    def penalty(self, residual: Tensor) -> Tensor:
        return residual[0].square()


class MeanMatching(CurveObjective):
    """Squared distance of the mean of simulated paths to data that are means themselves.

    The residuals of two independent halves of the paths are multiplied: the plain square adds the variance of the
    simulated mean, and so rewards a model with too little noise.
    """

    stochastic = True
    antithetic = True

    def penalty(self, residual: Tensor) -> Tensor:
        half = 2 * (len(residual) // 4)  # a pair of mirrored paths stays together
        return residual[:half].mean(0) * residual[half:].mean(0)


class PlainMeanMatching(CurveObjective):
    """The plain square of the same distance; see `MeanMatching` for what is wrong with it."""

    stochastic = True
    antithetic = True

    def penalty(self, residual: Tensor) -> Tensor:
        return residual.mean(0).square()


class PathSquaredError(CurveObjective):
    """Squared error of single paths, as in the article of 2019. It is smallest without any noise: see the warning."""

    stochastic = True

    def penalty(self, residual: Tensor) -> Tensor:
        return residual.square().mean(0)
