"""`integrate`: solutions of a flat batch of initial value problems, differentiable."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.noise import Brownian, Clocks
from skneuralde.problems import FieldProblem, Jump, Problem, in_calculus
from skneuralde.solvers.core.errors import SolverError
from skneuralde.solvers.core.right_hand_side import InputsOverTime, ProblemLike, RightHandSide
from skneuralde.solvers.core.stepper import SOLVERS, Solver, Status, Task, Trajectory
from skneuralde.solvers.gradients.replay import GRADIENTS
from skneuralde.solvers.jumps.hazards import Hazards
from skneuralde.solvers.jumps.schedule import ExtraJump, JumpSchedule, is_certain
from skneuralde.solvers.mesh.increment_cache import IncrementCache
from skneuralde.solvers.mesh.mesh import Stepper

#: Inputs of a batch of paths: none, constant ``(batch, k)``, or a function of each path's float64 time ``(batch,)``.
Context = Tensor | Callable[[Tensor], Tensor] | None

#: How close to its number the integral of a rate comes before a jump, along fixed steps.
_CROSSING = 1e-6


def integrate(
    problem: ProblemLike,
    u0: Tensor,
    times: Tensor,
    *,
    solver: Solver,
    context: Context = None,
    noise: Brownian | None = None,
    clocks: Clocks | None = None,
    rtol: float | None = 1e-3,
    atol: float | Tensor = 1e-6,
    hazard_rtol: float | None = None,
    dt: float | None = None,
    max_steps: int = 100_000,
    aside: bool = False,
    gradient: str = "auto",
    on_error: str = "raise",
    extra: ExtraJump | None = None,
    drawn: IncrementCache | None = None,
) -> Trajectory:
    """Solve a batch of initial value problems.

    Parameters
    ----------
    problem : Problem
    u0 : Tensor of shape (batch, dim)
        States at the first times.
    times : float64 Tensor of shape (n_times,), or (batch, n_times) padded on the right with NaN
        Where the solutions are wanted, monotone; without noise they may decrease.
    solver : Solver
    context : Tensor of shape (batch, k) or callable, optional
        A callable gets float64 times ``(batch,)``, one per path, and returns ``(batch, k)``.
    noise : Brownian, optional
        Needed with a diffusion.
    clocks : Clocks, optional
        Needed with jumps.
    rtol, atol : float; atol also a Tensor of shape (dim,)
        Adaptive methods keep the local error of each path below ``atol + rtol * abs(u)``, as a root mean square. With
        ``rtol=None`` they, too, take steps of size dt.
    hazard_rtol : float, optional
        The tolerance of the integrals of rates without a bound, which no ``atol`` is about; rtol where not given.
    dt : float, optional
        Step of a fixed-step method; the first step of an adaptive one.
    max_steps : int
    aside : bool
        Reach the times by side steps from a mesh that does not know them, so that the solution at one time does not
        depend on the other times.
    gradient : {"auto", "direct", "checkpoint", "reversible", "forward"}
        "auto" is "checkpoint" for fields, where one step is large, and else "direct". See
        `skneuralde.solvers.gradients.replay`.
    on_error : {"raise", "mask"}
        "mask" leaves NaN after a failure.
    extra : ExtraJump, optional
        One more jump of every path.
    drawn : IncrementCache, optional
        Keeps the noise of fixed steps, for a call with the same seed and steps.

    Returns
    -------
    Trajectory

    Raises
    ------
    ValueError
        If an argument makes no sense, before any work.
    SolverError
        If a path fails.
    """
    if gradient == "auto":
        gradient = "checkpoint" if isinstance(problem, FieldProblem) and "checkpoint" in solver.gradients else "direct"
    check_numbers(solver, u0.dtype, rtol, atol, dt, max_steps, gradient, on_error)
    solver.check(problem)
    if isinstance(problem, Problem):
        problem = in_calculus(problem, solver.calculus)
    task = _prepare(problem, u0, times, context, noise, rtol, atol, dt, max_steps, aside, gradient)
    if problem.jumps:
        adaptive = solver.adaptive and rtol is not None
        tolerance = None if not adaptive else rtol if hazard_rtol is None else hazard_rtol
        task = _with_jumps(task, problem.jumps, clocks, extra, rtol=tolerance)
    trajectory = solver.solve(replace(task, drawn=drawn, extra=extra))
    if on_error == "raise" and bool((trajectory.status != Status.SUCCESS).any()):
        raise SolverError.from_trajectory(solver.name, trajectory)
    return trajectory


def _prepare(
    problem: ProblemLike,
    u0: Tensor,
    times: Tensor,
    context: Context,
    noise: Brownian | None,
    rtol: float | None,
    atol: float | Tensor,
    dt: float | None,
    max_steps: int,
    aside: bool,
    gradient: str,
) -> Task:
    if times.dtype != torch.float64:
        raise ValueError(f"times must be float64, got {times.dtype}")
    if problem.diffusion is not None and noise is None:
        raise ValueError("a problem with a diffusion needs noise: pass a Brownian")
    rows = times[None] if times.ndim == 1 else times
    start = rows[:, :1]
    known = ~rows.isnan()
    last = torch.where(known, rows, start).gather(1, known.sum(1, keepdim=True).sub_(1).clamp_min_(0))
    direction = torch.where(last < start, -1.0, 1.0).double()
    elapsed = torch.where(known, (rows - start) * direction, torch.inf)
    if not bool((elapsed[:, :1] == 0).all() & (elapsed.diff(dim=1).nan_to_num(nan=0.0) >= 0).all()):
        raise ValueError("times must be monotone, with NaN only on the right, and start at the time of u0")
    if problem.diffusion is not None and bool((direction < 0).any()):
        raise ValueError("an equation with noise cannot be solved backwards in time: give increasing times")
    if context is not None and not isinstance(context, Tensor):
        context = InputsOverTime(context, start[:, 0].expand(len(u0)))
    rhs = RightHandSide(problem, context, torch.minimum(start, last), torch.maximum(start, last))
    tolerance = torch.as_tensor(atol, dtype=u0.dtype, device=u0.device)
    return Task(
        rhs, u0, start, direction, elapsed, noise if problem.diffusion is not None else None,
        rtol, tolerance, dt, max_steps, aside, gradient,
    )  # fmt: skip


def _with_jumps(
    task: Task, jumps: Sequence[Jump], clocks: Clocks | None, extra: ExtraJump | None, *, rtol: float | None
) -> Task:
    if clocks is None:
        raise ValueError("a problem with jumps needs clocks: pass Clocks")
    if bool((task.direction < 0).any()):
        raise ValueError("an equation with jumps cannot be solved backwards in time: give increasing times")
    if task.gradient == "reversible":
        raise ValueError(
            'gradient="reversible" cannot step back through jumps: use "direct", "checkpoint" or "forward"'
        )
    leaping = [k for k, jump in enumerate(jumps) if jump.leap]
    if leaping and rtol is not None:
        raise ValueError(
            f"jumps[{leaping[0]}] leaps over steps of a fixed size: give rtol=None and dt, or leave leap=True out"
        )
    carried = tuple(k for k, jump in enumerate(jumps) if jump.leap or (not is_certain(jump) and jump.bound is None))
    hazards = None
    if carried:
        wanted = _CROSSING if rtol is None else 0.1 * rtol
        accuracy = max(wanted, 8.0 * torch.finfo(task.u0.dtype).eps)
        allowed = accuracy if rtol is None else rtol
        hazards = Hazards(task.u0.shape[1], carried, allowed, accuracy, tuple(jumps[k].leap for k in carried))
    end = torch.where(task.elapsed.isfinite(), task.elapsed, 0.0).amax(1, keepdim=True).expand(len(task.u0), 1)
    clockwork = JumpSchedule.make(jumps, clocks, end, extra=extra)
    elapsed = clockwork.candidates.attach(task.elapsed)
    return replace(task, clockwork=clockwork, elapsed=elapsed, hazards=hazards)


def check_numbers(
    solver: Solver,
    dtype: torch.dtype,
    rtol: float | None,
    atol: float | Tensor,
    dt: float | None,
    max_steps: int,
    gradient: str,
    on_error: str,
) -> None:
    """Refuse what would make a solver hang or lie."""
    for name, value in (("dt", dt), ("rtol", rtol)):
        if value is not None and not isinstance(value, numbers.Real):
            raise ValueError(f"{name} must be a number or None, got {value!r}")
    if dt is not None and not (dt > 0 and math.isfinite(dt)):
        raise ValueError(f"dt must be a positive number, got {dt!r}")
    if dt is None and (rtol is None or not solver.adaptive):
        raise ValueError(f"solver {solver.name!r} takes steps of a fixed size: give dt, in units of time")
    if rtol is None and not isinstance(solver, Stepper):
        raise ValueError(f"solver {solver.name!r} has no steps of a fixed size: give rtol")
    if not isinstance(max_steps, numbers.Integral) or max_steps < 1:
        raise ValueError(f"max_steps must be an integer of at least 1, got {max_steps!r}")
    smallest = 10 * torch.finfo(dtype).eps
    if solver.adaptive and rtol is not None and not smallest <= rtol < math.inf:
        raise ValueError(f"rtol must be at least ten machine epsilons of {dtype}, {smallest:.1e}, got {rtol!r}")
    if not bool((torch.as_tensor(atol) >= 0).all()):
        raise ValueError(f"atol must not be negative, got {atol!r}")
    if gradient not in ("auto", *GRADIENTS):
        raise ValueError(f"gradient must be one of {', '.join(map(repr, ['auto', *GRADIENTS]))}, got {gradient!r}")
    if gradient not in ("auto", *solver.gradients):
        able = sorted(other.name for other in SOLVERS.values() if gradient in other.gradients)
        raise ValueError(
            f"solver {solver.name!r} has no gradient={gradient!r}; these have: {', '.join(map(repr, able))}"
        )
    if on_error not in ("raise", "mask"):
        raise ValueError(f"on_error must be 'raise' or 'mask', got {on_error!r}")
