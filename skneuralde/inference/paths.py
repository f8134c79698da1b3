"""Solutions of whole series: from each initial state through all its save times."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.inference.inputs import InputPath, RepeatedInputs
from skneuralde.noise import Brownian, PoissonProcesses
from skneuralde.problems import Problem
from skneuralde.solvers import (
    Branch,
    Context,
    Controller,
    Solver,
    SolveRequest,
    Trajectory,
    integrate,
    solve_with_branches,
)


@dataclass(frozen=True)
class SolverSettings:
    """Settings of a solver that all solutions of an equation share."""

    solver: Solver
    rtol: float | None  #: with None an adaptive solver takes fixed steps of size dt, too
    atol: Tensor
    dt: float | None
    max_steps: int
    cell: float  #: length of the noise's cells
    gradient: str = "auto"
    hazard_rtol: float | None = None  #: tolerance of the integrals of unbounded jump rates
    controller: Controller | None = None  #: replaces the step-size controller of an adaptive solver


@dataclass(frozen=True)
class Curves:
    """Initial value problems, one per series; the initial state holds at the first save time."""

    times: Tensor  #: float64 (series, n_times), save times, padded on the right with NaN
    inputs: InputPath
    keys: Tensor  #: int64 (series,), keys of each series' noise

    def select(self, items: Tensor) -> Curves:
        """The curves at these positions, in this order, without columns of padding."""
        times = self.times[items]
        used = int((~times.isnan()).sum(-1).max()) if len(times) else 0
        return Curves(times[:, :used], self.inputs.select(items), self.keys[items])

    def solve(
        self,
        problem: Problem,
        start: Tensor,
        settings: SolverSettings,
        *,
        n_paths: int = 1,
        seed: int = 0,
        side_steps: bool = False,
        antithetic: bool = False,
    ) -> tuple[Tensor, Trajectory]:
        """Simulate ``n_paths`` solutions of each series from ``start``, (series, dim) or (n_paths, series, dim).

        With ``antithetic`` every second path has the mirrored noise of the path before it and jumps of its own. Returns
        the values, (n_paths, series, n_times, dim), and the trajectory that they come from.
        """
        trajectory = integrate(self._request(problem, start, settings, n_paths, seed, antithetic, side_steps))
        return self._shaped(trajectory.values), trajectory

    def solve_with_branches(
        self, problem: Problem, start: Tensor, settings: SolverSettings, *, n_paths: int, seed: int, antithetic: bool
    ) -> tuple[Tensor, list[Branch]]:
        """Simulate as `solve` does, with a `Branch` for each channel of jumps whose rate has a gradient.

        The values of branches are shaped as those of the paths; their weights are (n_paths, series).
        """
        request = self._request(problem, start, settings, n_paths, seed, antithetic)
        trajectory, branches = solve_with_branches(request)
        shaped = [Branch(self._shaped(values), weight.view(n_paths, -1)) for values, weight in branches]
        return self._shaped(trajectory.values), shaped

    def _shaped(self, values: Tensor) -> Tensor:
        """From rows (paths and series, n_times, dim) to (paths, series, n_times, dim)."""
        return values.reshape(-1, *self.times.shape, values.shape[-1])

    def _request(
        self,
        problem: Problem,
        start: Tensor,
        settings: SolverSettings,
        n_paths: int,
        seed: int,
        antithetic: bool,
        side_steps: bool = False,
    ) -> SolveRequest:
        n_series = len(self.times)
        order = torch.arange(n_series, device=self.times.device).repeat(n_paths)
        if n_paths == 1 or self.inputs.controls.shape[-1] == 0 or settings.solver.adaptive:
            context: Context = self.inputs.select(order).resolved()
        else:
            context = RepeatedInputs(self.inputs, n_paths)
        times = self.times[order]
        if n_series == 1 or bool((self.times == self.times[:1]).all()):
            times = self.times[0]
        noise = poisson = None
        path = torch.arange(n_paths, device=self.times.device).repeat_interleave(n_series)
        if problem.jumps:
            poisson = PoissonProcesses(seed, path, self.keys[order], len(problem.jumps))
        if problem.diffusion is not None:
            noise = Brownian(
                seed,
                path // 2 if antithetic else path,
                self.keys[order],
                problem.noise_dim(start.shape[-1]),
                start=self.times[order, 0],
                sign=1.0 - 2.0 * (path % 2).double() if antithetic else None,
                cell=settings.cell,
            )
        return SolveRequest(
            problem,
            start.expand(n_paths, n_series, -1).reshape(n_paths * n_series, -1),
            times,
            solver=settings.solver,
            controller=settings.controller,
            context=context,
            noise=noise,
            poisson=poisson,
            rtol=settings.rtol,
            atol=settings.atol,
            dt=settings.dt,
            max_steps=settings.max_steps,
            side_steps=side_steps,
            gradient=settings.gradient,
            hazard_rtol=settings.hazard_rtol,
        )
