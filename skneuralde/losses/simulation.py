"""What all losses of simulated paths share: the simulation, and how many paths it takes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.inference.model import Model
from skneuralde.inference.paths import Curves, SolverSettings
from skneuralde.losses.base import Objective
from skneuralde.losses.ensemble import Alternative, Ensemble
from skneuralde.losses.growth import GrowingPaths

#: Initial states of some series, from the model.
Start = Callable[[Model, Tensor], Tensor]
#: Items on which the noise of the gradient is looked at, and the seeds of its two halves.
_LOOK_AT, _SEEDS = 512, (0x5EED_1, 0x5EED_2)


class PathObjective(Objective):
    """A loss of the paths of whole series.

    Parameters
    ----------
    curves : Curves
    start : Callable
        ``start(model, series)`` gives the initial states (series, dim).
    settings : SolverSettings
    n_paths : Callable
        The number of simulated paths of each series as a function of the epoch; or `GrowingPaths`.
    """

    is_sequential = True
    #: Whether paths come in pairs of mirrored noise, which makes the error of a mean much smaller.
    antithetic: bool = False
    #: The fewest paths that the estimators of the loss can do with.
    least_paths: int = 1

    def __init__(
        self, curves: Curves, *, start: Start, settings: SolverSettings, n_paths: Callable[[int], int] = lambda epoch: 1
    ):
        self.curves = curves
        self.start = start
        self.settings = settings
        self.n_paths = n_paths
        self.paths = self.version = n_paths(1)

    def start_epoch(self, model: Model, epoch: int) -> None:
        if isinstance(self.n_paths, GrowingPaths) and self.n_paths.is_due(epoch):
            one, other = (self._gradient(model, seed + epoch) for seed in _SEEDS)
            self.n_paths.judge(one, other)
        self.paths = self.version = self.n_paths(epoch)

    def _gradient(self, model: Model, seed: int) -> Tensor:
        """The gradient of the mean loss over the first items with this noise, flat."""
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
            antithetic=self.antithetic,
        )
        others = (Alternative(paths, weight - weight.detach()) for paths, weight in branches)
        return Ensemble(values, tuple(others))
