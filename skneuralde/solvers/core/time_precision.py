"""Precision of the time that coefficients see, which is that of the state."""

from __future__ import annotations

import warnings
from functools import partial

import torch
from torch import Tensor

from skneuralde.problems import Jump
from skneuralde.solvers.core.results import Trajectory
from skneuralde.solvers.core.right_hand_side import ProblemLike
from skneuralde.solvers.core.time_dependence import depends_on_first

#: Largest spacing of representable times, as a share of a step.
LARGEST_SHARE = 1e-3


def spacing(t: Tensor, dtype: torch.dtype) -> Tensor:
    """Distance from times to the next larger ones of a dtype, float64."""
    t = t.abs().to(dtype)
    return torch.nextafter(t, torch.full_like(t, torch.inf)).double() - t.double()


def warn_of_coarse_time(
    problem: ProblemLike, start: Tensor, u0: Tensor, c: Tensor | None, trajectory: Trajectory, *, stacklevel: int
) -> None:
    """Warn if times ``(batch,)`` are so large that coefficients see them rounded to more than a share of a step.

    The step is a path's mean one. Coefficients that do not depend on time do not see it.
    """
    largest = torch.maximum(start.abs(), trajectory.reached.abs())
    step = (trajectory.reached - start).abs() / trajectory.stats.steps.clamp_min(1)
    gap = spacing(largest, u0.dtype)
    coarse = (gap > LARGEST_SHARE * step) & (step > 0.0)
    if bool(coarse.any()) and sees_time(problem, start[:, None].to(u0.dtype), u0, c):
        path = int(coarse.nonzero()[0, 0])
        warnings.warn(
            f"coefficients see time in {u0.dtype}, which rounds it to {gap[path].item():.1e} at time "
            f"{largest[path].item():.6g}, where a step takes {step[path].item():.1e}: give dtype=torch.float64, or "
            "count time from a nearer origin",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def sees_time(problem: ProblemLike, t: Tensor, u: Tensor, c: Tensor | None) -> bool:
    """Whether a coefficient depends on time, directly; found out at ``t (batch, 1)``, ``u (batch, dim)``."""
    coefficients = [f for f in (problem.drift, problem.diffusion) if f is not None]
    for jump in problem.jumps:
        coefficients += [jump.rate, partial(_after, jump)]
    u = u.detach()
    return any(depends_on_first(lambda time, state, f=f: f(time, state, c), t, u) for f in coefficients)


def _after(jump: Jump, t: Tensor, u: Tensor, c: Tensor | None) -> Tensor:
    return jump.after(t, u, c, jump.draw(torch.zeros_like(u)))
