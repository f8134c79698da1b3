"""Checks of simulated paths with noise against solutions that are functions of the Brownian motion."""

from __future__ import annotations

import torch

from skneuralde.problems import Problem
from skneuralde.solvers import Solver, Stepper
from skneuralde.testing.cases import brownian, fading, geometric, require, rms, slope, solution, tensor

_UNIT = tensor([0.0, 1.0])


def check_strong_order(solver: Solver) -> None:
    """The root mean square error at the end of many fixed steps has the strong order."""
    assert solver.strong_order is not None
    for kind in ("diagonal", "additive", "general"):
        if not solver.handles(kind):
            continue
        problem, exact = fading() if kind == "additive" else geometric(solver, kind)
        noise = brownian(200)
        u0, end = torch.ones(200, 1, dtype=torch.float64), exact(noise.cells(0, 1).w[:, 0])
        sizes = (2.0**-3, 2.0**-6)
        errors = [rms(solution(solver, problem, u0, _UNIT, noise=noise, rtol=None, dt=dt)[:, -1] - end) for dt in sizes]
        measured = slope(sizes, errors)
        # A single noise commutes, so that some methods do better here than they promise in general.
        require(
            measured > solver.strong_order - 0.15,
            f"expected strong order {solver.strong_order} with {kind} noise, measured {measured:.2f}",
        )


def check_tolerance(solver: Stepper) -> None:
    """The error of adaptive paths falls with the tolerance."""
    for kind in ("diagonal", "additive"):
        if not solver.handles(kind):
            continue
        problem, exact = fading() if kind == "additive" else geometric(solver)
        noise = brownian(32)
        u0, end = torch.ones(32, 1, dtype=torch.float64), exact(noise.cells(0, 1).w[:, 0])
        loose, small = (
            rms(solution(solver, problem, u0, _UNIT, noise=noise, rtol=rtol, atol=rtol)[:, -1] - end)
            for rtol in (3e-2, 1e-4)
        )
        require(
            small < 0.5 * loose,
            f"expected an error below half of {loose:.1e}, that at rtol=3e-2, at rtol=1e-4 with {kind} noise, "
            f"measured {small:.1e}",
        )


def check_variance(solver: Solver) -> None:
    """Constant noise on a drift that depends on time alone has its exact variance at every time."""
    problem, n = Problem(lambda t, u: torch.cos(t).expand_as(u), 0.7, noise="additive"), 2000
    times, u0 = tensor([0.0, 0.05, 0.3, 0.77, 1.0]), torch.ones(n, 1, dtype=torch.float64)
    for dt in (0.1, 0.3):
        values = solution(solver, problem, u0, times, noise=brownian(n), rtol=None, dt=dt)
        ratio = values[:, 1:, 0].var(0) / (0.49 * times[1:])
        worst, most = float((ratio - 1.0).abs().max()), 5.0 * (2.0 / n) ** 0.5
        require(worst < most, f"expected the exact variance up to a share of {most:.2f}, measured {worst:.2f}")


def check_general_noise(solver: Solver) -> None:
    """General noise with one component gives the same paths as diagonal noise."""
    u0, values = torch.ones(4, 1, dtype=torch.float64), []
    for kind in ("diagonal", "general"):
        problem, _ = geometric(solver, kind)
        values.append(solution(solver, problem, u0, _UNIT, noise=brownian(4), rtol=None, dt=0.1))
    worst = float((values[0] - values[1]).abs().max())
    require(worst < 1e-7, f"expected the paths of diagonal noise, measured a difference of {worst:.1e}")
