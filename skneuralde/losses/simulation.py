"""Simulation of the paths that a loss compares, and the choice of their number."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.inference import Model
from skneuralde.losses.base import Loss, Objective
from skneuralde.losses.data import PathData, one_path
from skneuralde.losses.ensemble import Alternative, Ensemble

#: Number of items on which the noise of the gradient is measured, and the seeds of the two gradients.
_LOOK_AT, _SEEDS = 512, (0x5EED_1, 0x5EED_2)


class GrowingPaths:
    """The number of paths, doubled whenever the noise of the gradient outweighs the gradient [1]_.

    The gradient is computed with two independent noises. Half of the squared distance of the two estimates the variance
    of either, and their product the square of the true gradient. If the variance is larger, a step mostly follows the
    noise. The number starts at ``least`` and is at most ``most``; gradients are compared every ``every`` epochs.

    References
    ----------
    .. [1] R. H. Byrd, G. M. Chin, J. Nocedal and Y. Wu, "Sample size selection in optimization methods for machine
       learning", Mathematical Programming 134 (2012).
    """

    def __init__(self, least: int, most: int, every: int):
        self.number, self.most, self.every = min(least, most), most, every

    def __call__(self, epoch: int) -> int:
        return self.number

    def is_due(self, epoch: int) -> bool:
        """Whether to compare two gradients before this epoch."""
        return self.number < self.most and epoch % self.every == 0

    def judge(self, one: Tensor, other: Tensor) -> None:
        """Double the number if two gradients with independent noise differ too much."""
        variance, signal = 0.5 * (one - other).square().sum(), (one * other).sum()
        if variance > signal:
            self.number = min(2 * self.number, self.most)


class PathObjective(Objective):
    """A loss of the solutions or simulated paths of whole series, bound to data.

    In this epoch ``paths`` paths of each series are simulated; it is 1 if the loss simulates nothing.
    """

    is_sequential = True

    def __init__(self, loss: Loss, data: PathData):
        self.loss = loss
        self.stochastic = loss.simulated
        self.curves, self.start, self.settings = data.curves, data.start, data.settings
        self.n_paths = data.n_paths if loss.simulated else one_path
        self.paths = self.version = self.n_paths(1)

    def start_epoch(self, model: Model, epoch: int) -> None:
        if isinstance(self.n_paths, GrowingPaths) and self.n_paths.is_due(epoch):
            self.n_paths.judge(*(self._gradient(model, seed + epoch) for seed in _SEEDS))
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
