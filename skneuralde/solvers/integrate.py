"""`integrate`: differentiable solutions of a flat batch of initial value problems."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skneuralde._transforms import constant, is_differentiated
from skneuralde.noise import Brownian, PoissonProcesses
from skneuralde.problems import FieldProblem, Jump, Problem, in_calculus
from skneuralde.solvers.core.controllers import Controller
from skneuralde.solvers.core.errors import SolverError
from skneuralde.solvers.core.inputs import InputsOverTime, KnottedContext
from skneuralde.solvers.core.results import Status, Trajectory
from skneuralde.solvers.core.right_hand_side import ProblemLike, RightHandSide
from skneuralde.solvers.core.segments import Segments
from skneuralde.solvers.core.stepper import SOLVERS, Solver, Stepper
from skneuralde.solvers.core.switch import Switch
from skneuralde.solvers.gradients.captured import is_transformed
from skneuralde.solvers.gradients.replay import GRADIENTS
from skneuralde.solvers.gradients.save_times import ends_move_with_time, start_moves_with_time
from skneuralde.solvers.jumps.hazards import Hazards
from skneuralde.solvers.jumps.schedule import ExtraJump, JumpSchedule, is_certain
from skneuralde.solvers.mesh.increment_cache import IncrementCache
from skneuralde.solvers.stepping.adaptive import AdaptiveDriver
from skneuralde.solvers.stepping.fixed import FixedDriver
from skneuralde.solvers.stepping.fixed_with_hazards import GridDriver
from skneuralde.solvers.stepping.switching import SwitchDriver
from skneuralde.solvers.stepping.task import BatchSolver, Task

#: Inputs of a batch of paths: none, constant ``(batch, k)``, or a function of each path's float64 time ``(batch,)``.
Context = Tensor | Callable[[Tensor], Tensor] | None

#: Share of a hazard by which it may differ from its threshold where a path jumps, along fixed steps.
_CROSSING = 1e-6

#: Share of the largest rate below zero that counts as zero, along fixed steps.
_NEGATIVE_RATE = 1e-3


@dataclass(frozen=True)
class SolveRequest:
    """A batch of initial value problems to be solved.

    Attributes
    ----------
    problem : Problem
    u0 : Tensor of shape (batch, dim)
        States at the first times.
    times : float64 Tensor of shape (n_times,), or (batch, n_times) padded on the right with NaN
        Save times, monotone; without noise they may decrease. The solution has a derivative in them without noise and
        jumps.
    solver : Solver
    controller : Controller, optional
        Step-size controller of an adaptive method, in place of its own.
    context : Tensor of shape (batch, k) or callable, optional
        A callable gets float64 times ``(batch,)``, one per path, and returns ``(batch, k)``.
    noise : Brownian, optional
        Needed with a diffusion.
    poisson : PoissonProcesses, optional
        Needed with jumps.
    rtol, atol : float; atol also a Tensor of shape (dim,)
        Adaptive methods keep the local error of each path below ``atol + rtol * abs(u)``, as a root mean square. With
        ``rtol=None`` they, too, take steps of length dt.
    hazard_rtol : float, optional
        Tolerance of the integrals of rates without a bound, to which ``atol`` does not apply; default: rtol.
    dt : float, optional
        Step of a fixed-step method; the first step of an adaptive one.
    stops : float64 Tensor of shape (n,) or (batch, n), optional
        Times at which the coefficients are not smooth; steps end there, and on the `knots` of the inputs. In any order,
        NaN only fills up rows.
    max_step : float, optional
        Bound on the steps of adaptive methods.
    max_steps : int
    side_steps : bool
        Reach the save times by side steps from a mesh that does not depend on them, so that the solution at one time
        does not depend on the other times.
    gradient : {"auto", "direct", "checkpoint", "reversible", "forward"}
        "auto" is "checkpoint" for fields, where one step is large, and else "direct". Inside a transform of torch.func,
        and in torch's forward mode, it is always "direct". See `skneuralde.solvers.gradients.replay`.
    on_error : {"raise", "mask"}
        "mask" leaves NaN after a failure.
    extra_jump : ExtraJump, optional
        One more jump of every path.
    increment_cache : IncrementCache, optional
        Keeps the noise of fixed steps, for another request with the same seed and steps.
    """

    problem: ProblemLike
    u0: Tensor
    times: Tensor
    solver: Solver
    controller: Controller | None = None
    context: Context = None
    noise: Brownian | None = None
    poisson: PoissonProcesses | None = None
    rtol: float | None = 1e-3
    atol: float | Tensor = 1e-6
    hazard_rtol: float | None = None
    dt: float | None = None
    stops: Tensor | None = None
    max_step: float | None = None
    max_steps: int = 100_000
    side_steps: bool = False
    gradient: str = "auto"
    on_error: str = "raise"
    extra_jump: ExtraJump | None = None
    increment_cache: IncrementCache | None = None

    def check(self) -> None:
        """Refuse arguments with which a solver would hang or return nonsense.

        Raises
        ------
        ValueError
            For the first such argument.
        """
        solver, rtol, dt = self.solver, self.rtol, self.dt
        for name, value in (("dt", dt), ("rtol", rtol), ("max_step", self.max_step)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
                raise ValueError(f"{name} must be a number or None, got {value!r}")
        if dt is not None and not (dt > 0 and math.isfinite(dt)):
            raise ValueError(f"dt must be a positive number, got {dt!r}")
        if self.max_step is not None and not self.max_step > 0:
            raise ValueError(f"max_step must be a positive number, got {self.max_step!r}")
        if dt is None and (rtol is None or not solver.adaptive):
            raise ValueError(f"solver {solver.name!r} takes steps of a fixed size: give dt, in units of time")
        if rtol is None and not isinstance(solver, Stepper):
            raise ValueError(f"solver {solver.name!r} has no steps of a fixed size: give rtol")
        if self.controller is not None and (rtol is None or not solver.adaptive or not isinstance(solver, Stepper)):
            raise ValueError(
                f"controller={self.controller!r} has no effect: solver {solver.name!r} takes steps of a fixed size "
                "here, or controls its steps by itself; leave controller out, or give rtol and a method such as 'tsit5'"
            )
        if not isinstance(self.max_steps, numbers.Integral) or self.max_steps < 1:
            raise ValueError(f"max_steps must be an integer of at least 1, got {self.max_steps!r}")
        smallest = 10 * torch.finfo(self.u0.dtype).eps
        if solver.adaptive and rtol is not None and not smallest <= rtol < math.inf:
            raise ValueError(
                f"rtol must be at least ten machine epsilons of {self.u0.dtype}, {smallest:.1e}, got {rtol!r}"
            )
        if not isinstance(self.atol, numbers.Real | Tensor):
            raise ValueError(f"atol must be a number, got {self.atol!r}")
        if not bool((torch.as_tensor(self.atol) >= 0).all()):
            raise ValueError(f"atol must not be negative, got {self.atol!r}")
        self._check_gradient()
        if self.on_error not in ("raise", "mask"):
            raise ValueError(f"on_error must be 'raise' or 'mask', got {self.on_error!r}")

    def _check_gradient(self) -> None:
        gradient, names = self.gradient, ("auto", *GRADIENTS)
        if gradient not in names:
            raise ValueError(f"gradient must be one of {', '.join(map(repr, names))}, got {gradient!r}")
        if gradient not in ("auto", *self.solver.gradients):
            able = sorted(other.name for other in SOLVERS.values() if gradient in other.gradients)
            raise ValueError(
                f"solver {self.solver.name!r} has no gradient={gradient!r}; these have: {', '.join(map(repr, able))}"
            )


def integrate(request: SolveRequest) -> Trajectory:
    """Solve a batch of initial value problems.

    Raises
    ------
    ValueError
        If an argument makes no sense, before any work.
    SolverError
        If a path fails and ``on_error`` is "raise".
    """
    trajectory = attempt(request)
    refuse_failures(request, trajectory)
    return trajectory


def refuse_failures(request: SolveRequest, trajectory: Trajectory) -> None:
    """Raise SolverError for the first failed path, if there is one and ``on_error`` is "raise"."""
    if request.on_error == "raise" and bool((trajectory.status != Status.SUCCESS).any()):
        solver = request.solver.for_tolerance(request.rtol)
        has_noise = request.problem.diffusion is not None
        raise SolverError.from_trajectory(solver.name, trajectory, has_noise=has_noise)


def attempt(request: SolveRequest) -> Trajectory:
    """Solve a batch of initial value problems; the status of a path tells whether it has failed."""
    request.check()
    solver, problem = request.solver.for_tolerance(request.rtol), request.problem
    solver.check(problem)
    if isinstance(problem, Problem):
        problem = in_calculus(problem, solver.calculus)
    task = _task(request, problem)
    _check_fixed_steps(request, task)
    if problem.jumps:
        task = _with_jumps(task, request, problem.jumps)
    times = request.times if is_differentiated(request.times) else None
    if times is not None:
        _check_differentiable_times(problem)
        task = replace(task, u0=start_moves_with_time(task.rhs, task.u0, times))
    if isinstance(solver, Stepper):
        trajectory = _drive(solver, task)
    else:
        assert isinstance(solver, BatchSolver)
        trajectory = solver.solve(task)
    if times is not None:
        return replace(trajectory, values=ends_move_with_time(task.rhs, trajectory.values, times))
    return trajectory


def _check_differentiable_times(problem: ProblemLike) -> None:
    if problem.diffusion is not None or problem.jumps:
        raise ValueError(
            "ts requires a gradient, but the solutions of an equation with noise or jumps have no derivative in time: "
            "give ts.detach()"
        )


def _drive(stepper: Stepper, task: Task) -> Trajectory:
    """Solve a task by the steps of a method."""
    n_hazards = 0 if task.hazards is None else task.hazards.width
    rtol = task.rtol if stepper.adaptive else None
    stepper = stepper.prepare(task.rhs, task.start.expand(len(task.u0), 1), task.u0, rtol=rtol, n_hazards=n_hazards)
    if isinstance(stepper, Switch):
        return SwitchDriver(stepper, task, AdaptiveDriver).solve()
    if rtol is not None:
        return replace(AdaptiveDriver(stepper, task).solve(), advice=stepper.advice)
    return (FixedDriver if task.hazards is None else GridDriver)(stepper, task).solve()


def _task(request: SolveRequest, problem: ProblemLike) -> Task:
    u0, times = request.u0, constant(request.times)
    if times.dtype != torch.float64:
        raise ValueError(f"times must be float64, got {times.dtype}")
    if problem.diffusion is not None and request.noise is None:
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
    context = request.context
    stops = _stops(request, start)
    if context is not None and not isinstance(context, Tensor):
        context = InputsOverTime(context, start[:, 0].expand(len(u0)))
    segments = None if stops is None else Segments.make(start, last, direction, stops)
    transformed = is_transformed([request.u0, request.times], request.problem, request.context)
    gradient = "direct" if transformed else request.gradient
    if gradient == "auto":
        large = isinstance(problem, FieldProblem) and "checkpoint" in request.solver.gradients
        gradient = "checkpoint" if large else "direct"
    return Task(
        rhs=RightHandSide(problem, context, torch.minimum(start, last), torch.maximum(start, last), segments),
        u0=u0,
        start=start,
        direction=direction,
        elapsed=elapsed,
        noise=request.noise if problem.diffusion is not None else None,
        rtol=request.rtol,
        atol=torch.as_tensor(request.atol, dtype=u0.dtype, device=u0.device),
        dt=request.dt,
        max_step=_longest_step(request, problem),
        stops=None if segments is None else segments.elapsed(start),
        max_steps=request.max_steps,
        side_steps=request.side_steps,
        gradient=gradient,
        controller=request.controller,
        increment_cache=request.increment_cache,
        extra_jump=request.extra_jump,
    )


def _stops(request: SolveRequest, start: Tensor) -> Tensor | None:
    """The stops of a request and the knots of its inputs, (batch, n) or (1, n); None for smooth coefficients.

    Inputs over time count as not smooth, even without knots.
    """
    known, context = [], request.context
    if request.stops is not None:
        known.append(request.stops)
    if isinstance(context, KnottedContext):
        known.append(context.knots)
    elif callable(context):
        known.append(start.new_zeros(0))
    if not known:
        return None
    rows = max(len(times) if times.ndim == 2 else 1 for times in known)
    stops = torch.cat([times.to(start).expand(rows, -1) for times in known], 1)
    return stops[:1] if torch.equal(stops[1:], stops[:-1]) else stops


def _longest_step(request: SolveRequest, problem: ProblemLike) -> float | None:
    """The bound on steps, also that of the channels of jumps whose rates are integrated."""
    bounds = [jump.max_step for jump in problem.jumps if _is_integrated(jump) and jump.max_step is not None]
    return min([*bounds, *([] if request.max_step is None else [request.max_step])], default=None)


def _check_fixed_steps(request: SolveRequest, task: Task) -> None:
    """Refuse steps of a fixed size that are longer than allowed."""
    longest, adaptive = task.max_step, request.solver.adaptive and request.rtol is not None
    if longest is not None and not adaptive and request.dt is not None and request.dt > longest:
        raise ValueError(
            f"steps of size dt={request.dt!r} are longer than max_step={longest!r} allows: give a smaller dt"
        )


def _is_integrated(jump: Jump) -> bool:
    """Whether the rate of a channel is integrated along the path."""
    return jump.leap or (not is_certain(jump) and jump.bound is None)


def _with_jumps(task: Task, request: SolveRequest, jumps: Sequence[Jump]) -> Task:
    if request.poisson is None:
        raise ValueError("a problem with jumps needs Poisson processes: pass PoissonProcesses")
    if bool((task.direction < 0).any()):
        raise ValueError("an equation with jumps cannot be solved backwards in time: give increasing times")
    if task.gradient == "reversible":
        raise ValueError(
            'gradient="reversible" cannot step back through jumps: use "direct", "checkpoint" or "forward"'
        )
    end = torch.where(task.elapsed.isfinite(), task.elapsed, 0.0).amax(1, keepdim=True).expand(len(task.u0), 1)
    schedule = JumpSchedule.make(
        jumps,
        request.poisson,
        end,
        atol=float(task.atol.max()),
        rtol=_NEGATIVE_RATE if request.rtol is None else request.rtol,
        extra=request.extra_jump,
    )
    schedule.rates.start(task.rhs, task.start.expand(len(task.u0), 1), task.u0)
    elapsed = schedule.candidates.attach(task.elapsed)
    return replace(task, jump_schedule=schedule, elapsed=elapsed, hazards=_hazards(task, request, jumps))


def _hazards(task: Task, request: SolveRequest, jumps: Sequence[Jump]) -> Hazards | None:
    """The components added to states for the hazards of rates without a bound, if there are any."""
    adaptive = request.solver.adaptive and request.rtol is not None
    leaping = [k for k, jump in enumerate(jumps) if jump.leap]
    if leaping and adaptive:
        raise ValueError(
            f"jumps[{leaping[0]}] leaps over steps of a fixed size: give rtol=None and dt, or leave leap=True out"
        )
    channels = tuple(k for k, jump in enumerate(jumps) if _is_integrated(jump))
    if not channels:
        return None
    rtol = None
    if adaptive:
        rtol = request.rtol if request.hazard_rtol is None else request.hazard_rtol
    accuracy = max(_CROSSING if rtol is None else 0.1 * rtol, 8.0 * torch.finfo(task.u0.dtype).eps)
    tolerance = accuracy if rtol is None else rtol
    return Hazards(task.u0.shape[1], channels, tolerance, accuracy, tuple(jumps[k].leap for k in channels))
