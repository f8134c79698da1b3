"""Checks of the surroundings of a method: dtype, random state, batch mates, interval, failures."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from skneuralde.noise import Brownian
from skneuralde.problems import Problem
from skneuralde.solvers import Solver, SolveRequest, Status, Stepper, integrate
from skneuralde.testing.cases import brownian, require, settings, solution, some_noise, tensor

_TIMES = tensor([0.0, 0.77, 2.0, 3.0])


def check_dtype(solver: Solver) -> None:
    """States keep their dtype, also at times at which float32 cannot tell one step from the next."""
    start, times = 1e8, 1e8 + _TIMES
    for dtype in (torch.float32, torch.float64):

        def drift(t: Tensor, u: Tensor, dtype: torch.dtype = dtype) -> Tensor:
            require(t.dtype == u.dtype == dtype, f"expected times and states of {dtype}, got {t.dtype} and {u.dtype}")
            require(t.shape == (len(u), 1), f"expected times of shape {(len(u), 1)}, got {tuple(t.shape)}")
            return -u

        problem, u0 = some_noise(solver, drift, 0.1), torch.ones(3, 2, dtype=dtype)
        noise = brownian(3, dim=2, start=start, cell=0.05) if problem.diffusion is not None else None
        values = solution(solver, problem, u0, times, noise=noise, **settings(solver))
        require(values.dtype == dtype, f"expected states of {dtype}, got {values.dtype}")
        if noise is None:
            error = float((values[0, :, 0] - torch.exp(-_TIMES)).abs().max())
            require(
                error < 0.05, f"expected the solution at times around {start:.0e}, measured an error of {error:.1e}"
            )


def check_random_state(solver: Solver) -> None:
    """The global random states of torch, numpy and Python are neither read nor changed."""
    problem = some_noise(solver, lambda t, u: -u, 0.1)

    def run() -> Tensor:
        noise = brownian(2) if problem.diffusion is not None else None
        return solution(solver, problem, torch.ones(2, 1, dtype=torch.float64), _TIMES, noise=noise, **settings(solver))

    def states() -> tuple[Tensor, np.ndarray, object]:
        return torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]  # noqa: NPY002

    before = states()
    first = run()
    after = states()
    kept = (torch.equal(before[0], after[0]), bool((before[1] == after[1]).all()), before[2] == after[2])
    for package, same in zip(("torch", "numpy", "random"), kept, strict=True):
        require(same, f"expected the global random state of {package} to be left alone, but it changed")
    require(torch.equal(first, run()), "expected the same solution twice, but a second run gave another one")


def check_batch_independence(solver: Solver) -> None:
    """A path is the same alone and in a batch, to the last bit."""
    problem = some_noise(solver, lambda t, u: torch.sin(u) + torch.sin(t), 0.3)
    u0, times = tensor([[0.1], [5.0], [-1.0]]), torch.full((3, 4), torch.nan, dtype=torch.float64)
    times[0], times[1, :3], times[2, :1] = _TIMES, tensor([0.5, 0.5, 4.25]), 1.0
    noise = None
    if problem.diffusion is not None:
        noise = Brownian(5, torch.arange(3), torch.arange(3), 1, start=times[:, 0], cell=0.05)
    # Methods of other packages see a time of their own, which rounds differently.
    rounding = 1e-12 if ":" in solver.name else 0.0
    for side_steps in (False, True):
        arguments = settings(solver) | {"side_steps": side_steps}
        together = solution(solver, problem, u0, times, noise=noise, **arguments)
        for i in range(3):
            rows = torch.tensor([i])
            part = None if noise is None else noise.select(rows)
            alone = solution(solver, problem, u0[rows], times[rows], noise=part, **arguments)
            worst = float((alone[0] - together[i]).nan_to_num().abs().max())
            require(
                torch.equal(alone[0].isnan(), together[i].isnan()) and worst <= rounding,
                f"expected the path of its own alone, measured a difference of {worst:.1e} in a batch of three",
            )


def check_interval(solver: Solver) -> None:
    """The coefficients are never called outside the interval of integration."""
    seen: list[Tensor] = []

    def drift(t: Tensor, u: Tensor) -> Tensor:
        seen.append(t.detach().flatten())
        return -u

    problem = some_noise(solver, drift, 0.1)
    times, u0 = tensor([[0.2, 0.5], [0.3, 1.7]]), torch.ones(2, 1, dtype=torch.float64)
    noise = brownian(2, start=times[:, 0], cell=0.05) if problem.diffusion is not None else None
    for side_steps in (False, True):
        solution(solver, problem, u0, times, noise=noise, side_steps=side_steps, **settings(solver))
    called = torch.cat(seen)
    first, last = float(called.min()), float(called.max())
    require(first >= 0.2 and last <= 1.7, f"expected times between 0.2 and 1.7, got times from {first} to {last}")


def check_failure(solver: Solver) -> None:
    """A solution that explodes ends with a status, and does not harm the other paths."""
    problem = some_noise(solver, lambda t, u: u**3, 0.1)
    u0, times = tensor([[0.0], [2.0]]), tensor([0.0, 0.02, 4.0])
    trajectory = integrate(_masked(solver, problem, u0, times, accuracy=1e-2, max_steps=2000))
    status = Status(int(trajectory.status[1]))
    expected = (Status.NON_FINITE, Status.STEP_TOO_SMALL)
    require(status in expected, f"expected one of {expected} for a solution that explodes, got {status!r}")
    require(bool(trajectory.values[1, 2].isnan().all()), "expected NaN after the failure")
    require(float(trajectory.reached[1]) < 4.0, f"expected a failure before time 4, got {float(trajectory.reached[1])}")
    if isinstance(solver, Stepper):
        status = Status(int(trajectory.status[0]))
        require(status == Status.SUCCESS, f"expected the other path to succeed, got {status!r}")
        require(bool(trajectory.values[1, 1].isfinite().all()), "expected finite states before the failure")


def check_max_steps(solver: Solver) -> None:
    """A path that needs too many steps ends with a status; steps and evaluations are counted."""
    problem = some_noise(solver, lambda t, u: torch.sin(20.0 * t) * u, 0.1)
    u0 = torch.ones(2, 1, dtype=torch.float64)
    trajectory = integrate(_masked(solver, problem, u0, _TIMES, accuracy=1e-6, max_steps=5))
    statuses = trajectory.status.tolist()
    require(statuses == [Status.MAX_STEPS] * 2, f"expected {Status.MAX_STEPS!r} of both paths, got {statuses}")
    stats = trajectory.stats
    steps = (stats.steps + stats.rejections).tolist()
    require(max(steps) <= 5, f"expected at most 5 steps, got {steps}")
    require(bool(trajectory.values[:, -1].isnan().all()), "expected NaN at times that were not reached")
    counts = stats.drift_evaluations, stats.diffusion_evaluations
    expected = (True, problem.diffusion is not None)
    require(tuple(count > 0 for count in counts) == expected, f"expected evaluations to be counted, got {counts}")


def _masked(
    solver: Solver, problem: Problem, u0: Tensor, times: Tensor, *, accuracy: float, max_steps: int
) -> SolveRequest:
    """A request that returns failed paths."""
    problem.check(torch.zeros(1, 1, dtype=torch.float64), u0[:1])
    noise = brownian(len(u0)) if problem.diffusion is not None else None
    arguments = settings(solver, accuracy)
    return SolveRequest(
        problem, u0, times, solver=solver, noise=noise, max_steps=max_steps, on_error="mask", **arguments
    )
