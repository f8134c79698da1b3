"""Solutions of whole series: from each initial state through all times at which it is wanted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.inference.inputs import InputPath, RepeatedInputs
from skneuralde.noise import Brownian, Clocks
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
class Method:
    """How an equation is solved: what every call of ``integrate`` shares, and the length of the noise's cells.

    With ``rtol=None`` an adaptive solver, too, takes steps of size dt. Rates of jumps without a bound are integrated to
    ``hazard_rtol``. ``controller`` replaces the controller of an adaptive solver.
    """

    solver: Solver
    rtol: float | None
    atol: Tensor
    dt: float | None
    max_steps: int
    cell: float
    gradient: str = "auto"
    hazard_rtol: float | None = None
    controller: Controller | None = None


@dataclass(frozen=True)
class Curves:
    """Initial value problems, one per series.

    Attributes
    ----------
    times : float64 Tensor of shape (series, n_times)
        The first is where the initial state holds; padded on the right with NaN.
    inputs : InputPath
    keys : int64 Tensor of shape (series,)
        What the noise of each series is keyed by.
    """

    times: Tensor
    inputs: InputPath
    keys: Tensor

    def select(self, items: Tensor) -> Curves:
        """The curves at these positions, in this order, without columns that only pad."""
        times = self.times[items]
        used = int((~times.isnan()).sum(-1).max()) if len(times) else 0
        return Curves(times[:, :used], self.inputs.select(items), self.keys[items])

    def solve(
        self,
        problem: Problem,
        start: Tensor,
        method: Method,
        *,
        n_paths: int = 1,
        seed: int = 0,
        side_steps: bool = False,
        antithetic: bool = False,
    ) -> tuple[Tensor, Trajectory]:
        """Simulate ``n_paths`` solutions of each series from ``start``, (series, dim) or (n_paths, series, dim).

        With ``antithetic`` every other path has the mirrored noise of the one before it; its jumps are its own.

        Returns
        -------
        values : Tensor of shape (n_paths, series, n_times, dim)
        trajectory : Trajectory
        """
        request = self._request(
            problem, start, method, n_paths=n_paths, seed=seed, side_steps=side_steps, antithetic=antithetic
        )
        trajectory = integrate(request)
        return self._shaped(trajectory.values), trajectory

    def solve_with_branches(
        self, problem: Problem, start: Tensor, method: Method, *, n_paths: int, seed: int, antithetic: bool
    ) -> tuple[Tensor, list[Branch]]:
        """Simulate as `solve` does, with a `Branch` for each channel of jumps whose rate has a gradient.

        Returns
        -------
        values : Tensor of shape (n_paths, series, n_times, dim)
        branches : list of Branch
            Of values of that shape and weights (n_paths, series).
        """
        request = self._request(
            problem, start, method, n_paths=n_paths, seed=seed, side_steps=False, antithetic=antithetic
        )
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
        method: Method,
        *,
        n_paths: int,
        seed: int,
        side_steps: bool,
        antithetic: bool,
    ) -> SolveRequest:
        n_series = len(self.times)
        order = torch.arange(n_series, device=self.times.device).repeat(n_paths)
        if n_paths == 1 or self.inputs.controls.shape[-1] == 0 or method.solver.adaptive:
            context: Context = self.inputs.select(order).resolved()
        else:
            context = RepeatedInputs(self.inputs, n_paths)
        times = self.times[order]
        if n_series == 1 or bool((self.times == self.times[:1]).all()):
            times = self.times[0]
        noise = clocks = None
        path = torch.arange(n_paths, device=self.times.device).repeat_interleave(n_series)
        if problem.jumps:
            clocks = Clocks(seed, path, self.keys[order], len(problem.jumps))
        if problem.diffusion is not None:
            noise = Brownian(
                seed,
                path // 2 if antithetic else path,
                self.keys[order],
                problem.noise_dim(start.shape[-1]),
                origin=self.times[order, 0],
                sign=1.0 - 2.0 * (path % 2).double() if antithetic else None,
                cell=method.cell,
            )
        return SolveRequest(
            problem,
            start.expand(n_paths, n_series, -1).reshape(n_paths * n_series, -1),
            times,
            solver=method.solver,
            controller=method.controller,
            context=context,
            noise=noise,
            clocks=clocks,
            rtol=method.rtol,
            atol=method.atol,
            dt=method.dt,
            max_steps=method.max_steps,
            side_steps=side_steps,
            gradient=method.gradient,
            hazard_rtol=method.hazard_rtol,
        )
