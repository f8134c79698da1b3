"""Checks of convergence without noise: order, tolerance, time that runs backwards."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.problems import Problem
from skneuralde.solvers import Solver
from skneuralde.testing.cases import StuartLandau, finest_slope, require, rms, settings, solution, tensor, tight

_TIMES = tensor([0.0, 0.37, 1.0])


def check_order(solver: Solver) -> None:
    """Four steps of size h have an error of ``h ** (order + 1)``."""
    case = StuartLandau()

    def error(h: float) -> float:
        times = torch.cat([case.start, case.start + 4.0 * h], 1)
        values = solution(solver, case.problem, case.u0, times, rtol=None, dt=h)
        return rms(values[:, -1] - case.exact(4.0 * h))

    assert solver.order is not None
    measured = finest_slope(solver.order + 1.0, error) - 1.0
    require(
        solver.order - 0.2 < measured < solver.order + 0.5, f"expected order {solver.order}, measured {measured:.2f}"
    )


def check_tolerance(solver: Solver) -> None:
    """The error falls with the tolerance."""
    case = StuartLandau()
    exact = torch.stack([case.exact(t, torch.zeros_like(case.start)) for t in _TIMES.tolist()], 1)[:2]
    rtol = 10.0 * tight(solver)
    loose, small = (
        float((solution(solver, case.problem, case.u0[:2], _TIMES, **settings(solver, accuracy)) - exact).abs().max())
        for accuracy in (1e-3, rtol)
    )
    # The error of an accurate method may be proportional to the power 2/3 of the tolerance that it keeps in each step.
    require(loose < 1.0, f"expected an error below 1 at rtol=1e-3, measured {loose:.1e}")
    most = loose * (rtol / 1e-3) ** 0.55
    require(small < most, f"expected an error below {most:.1e} at rtol={rtol:.0e}, measured {small:.1e}")


def check_changes_in_time(solver: Solver) -> None:
    """A right-hand side that depends on time alone is integrated to tolerance, also where it changes suddenly."""
    at = tensor([[1.3], [4.7], [6.1], [8.9]])

    def drift(t: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return torch.where(c < 0.0, torch.cos(5.0 * t), (t > c).to(u.dtype)) + torch.zeros_like(u)

    times, accuracy = tensor([0.0, 10.0]), 1e-3
    context = torch.cat([-torch.ones_like(at[:1]), at])
    exact = torch.cat([torch.sin(50.0 * torch.ones_like(at[:1])) / 5.0, 10.0 - at])
    u0 = torch.zeros_like(context)
    values = solution(solver, Problem(drift), u0, times, context=context, rtol=accuracy, atol=accuracy)
    worst = float(((values[:, -1] - exact).abs() / (accuracy * (1.0 + exact.abs()))).max())
    require(worst < 1000.0, f"expected an error below 1000 times the tolerance, measured {worst:.0f} times")


def check_backwards(solver: Solver) -> None:
    """A solution that is followed back in time returns to where it started."""
    case = StuartLandau()
    end = case.exact(0.25, torch.zeros_like(case.start))[:2]
    times = tensor([0.25, 0.1, 0.0])
    arguments = settings(solver) if solver.adaptive else {"rtol": None, "dt": 5e-3}
    for side_steps in (False, True):
        values = solution(solver, case.problem, end, times, side_steps=side_steps, **arguments)
        error = float((values[:, -1] - case.u0[:2]).abs().max())
        most = 0.2 if solver.order == 1 else 5e-2
        require(error < most, f"expected a return to the start up to {most}, measured {error:.1e}")
