"""Simulation of the paths that a loss compares, and the choice of their number."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.inference.model import Model
from skneuralde.losses.base import Loss
from skneuralde.losses.data import PathData, one_path
from skneuralde.losses.ensemble import Alternative, Ensemble
from skneuralde.losses.growth import GrowingPaths
from skneuralde.losses.objective import Objective

#: Number of items on which the noise of the gradient is measured, and the seeds of the two gradients.
_LOOK_AT, _SEEDS = 512, (0x5EED_1, 0x5EED_2)


class PathObjective(Objective):
    """A loss of the solutions or simulated paths of whole series, bound to data.

    Parameters
    ----------
    loss : Loss
    data : PathData

    Attributes
    ----------
    paths : int
        The number of simulated paths of each series in this epoch; 1 if the loss simulates nothing.
    """

    is_sequential = True

    def __init__(self, loss: Loss, data: PathData):
        self.loss = loss
        self.stochastic = loss.simulated
        self.curves = data.curves
        self.start = data.start
        self.settings = data.settings
        self.n_paths = data.n_paths if loss.simulated else one_path
        self.paths = self.version = self.n_paths(1)

    def start_epoch(self, model: Model, epoch: int) -> None:
        if isinstance(self.n_paths, GrowingPaths) and self.n_paths.is_due(epoch):
            one, other = (self._gradient(model, seed + epoch) for seed in _SEEDS)
            self.n_paths.judge(one, other)
        self.paths = self.version = self.n_paths(epoch)

    def _gradient(self, model: Model, seed: int) -> Tensor:
        """The flat gradient of the mean loss over the first items with this noise."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        if not parameters:
            return torch.zeros(0)
        items = self.items[:_LOOK_AT]
        weight = self.weight[items]
        loss = weight @ self.values(model, items, seed=seed) / weight.sum()
        gradient = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        return torch.cat([g.flatten() for g in gradient])

    def simulate(self, model: Model, series: Tensor, *, seed: int) -> Ensemble:
        """Paths of these series at their times, ``(paths, series, n_times, dim)``."""
        values, branches = self.curves.select(series).solve_with_branches(
            model.problem,
            self.start(model, series),
            self.settings,
            n_paths=self.paths,
            seed=seed,
            antithetic=self.loss.antithetic,
        )
        others = (Alternative(paths, weight - weight.detach()) for paths, weight in branches)
        return Ensemble(values, tuple(others))
