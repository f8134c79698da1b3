"""Methods of the package torchdiffeq, as ``torchdiffeq:dopri8``, ``torchdiffeq:rk4``, ..."""

from __future__ import annotations

import bisect
import math

import torch
import torchdiffeq
from torch import Tensor

from skneuralde.solvers.core.results import Stats, Status, Trajectory
from skneuralde.solvers.core.stepper import Solver
from skneuralde.solvers.gradients.captured import is_transformed
from skneuralde.solvers.mesh.mesh import RunStepper, StepRun
from skneuralde.solvers.stepping.task import BatchSolver, Task

# Without the Adams methods: of order up to twelve, they are unstable at the usual steps.
_FIXED = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
_ADAPTIVE = {"adaptive_heun": 2, "fehlberg2": 2, "bosh3": 3, "dopri5": 5, "dopri8": 8}
_REFERENCE = "Chen (2018), torchdiffeq"


class TorchDiffEqFixed(RunStepper):
    """A fixed-step method of torchdiffeq, on our mesh, which stops at every save time.

    References
    ----------
    .. [1] R. T. Q. Chen, *torchdiffeq*, 2018, https://github.com/rtqichen/torchdiffeq.
    """

    reference = _REFERENCE

    def __init__(self, method: str):
        self.method = method
        self.name = f"torchdiffeq:{method}"
        self.order = _FIXED[method]

    def run(self, run: StepRun, u: Tensor, solver_state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        def right_hand_side(s: Tensor, u: Tensor) -> Tensor:
            return run.h * run.rhs.drift(run.time_point(s), u)

        s = torch.arange(run.n_steps + 1, dtype=torch.float64, device=u.device)
        return torchdiffeq.odeint(right_hand_side, u, s, method=self.method)[1:], None


class TorchDiffEqAdaptive(BatchSolver):
    """An adaptive method of torchdiffeq.

    Its step is shared by the whole batch and ends on every save time, since the package's interpolation is less
    accurate than its best methods. So, within the tolerance, the solution of one path depends on the others and on the
    save times. Every path meets the tolerance.

    References
    ----------
    .. [1] R. T. Q. Chen, *torchdiffeq*, 2018, https://github.com/rtqichen/torchdiffeq.
    """

    adaptive = True
    reference = _REFERENCE

    def __init__(self, method: str):
        self.method = method
        self.name = f"torchdiffeq:{method}"
        self.order = _ADAPTIVE[method]

    def solve(self, task: Task) -> Trajectory:
        """Solve in a time that runs from 0 to 1 along every path, so that all paths end together."""
        if is_transformed([task.u0], task.rhs.problem, task.rhs.context):
            raise RuntimeError(
                f"solver {self.name!r} has no derivatives inside transforms of torch.func and torch's forward mode: "
                "use torch.autograd, or solver='tsit5'"
            )
        batch = len(task.u0)
        is_save_time = task.elapsed.isfinite()
        length = torch.where(is_save_time, task.elapsed, 0.0).amax(1, keepdim=True)
        share = torch.where(is_save_time, task.elapsed / torch.where(length > 0, length, 1.0), 0.0)
        saves = share.unique()
        run = _Run(task, length)
        stops = saves[:0]
        if task.stops is not None:
            shares = task.stops / torch.where(length > 0, length, 1.0)
            stops = shares[shares < 1.0].unique()
        values = task.u0[None]
        if len(saves) > 1:
            values = self._integrate(task, run, saves, stops, float(length.max()))
        path = torch.arange(batch, device=share.device)[:, None]
        found = torch.searchsorted(saves, share).expand(batch, -1)
        failed = found >= len(values)
        values = values[found.clamp_max(len(values) - 1), path]
        values = torch.where((failed | ~is_save_time)[..., None], torch.nan, values)
        counts = torch.full((batch,), 1, dtype=torch.int64, device=share.device)
        end = (task.start + task.direction * length * run.reached)[:, 0].expand(batch)
        stats = Stats(
            counts * run.accepted,
            counts * (run.tried - run.accepted),
            (length[:, 0] * run.smallest).expand(batch),
            task.rhs.counter.drift,
            task.rhs.counter.diffusion,
        )
        return Trajectory(values, counts * int(run.status), end, stats)

    def _integrate(self, task: Task, run: _Run, saves: Tensor, stops: Tensor, longest: float) -> Tensor:
        """States at the saves, (n_saves, batch, dim); the first alone if that failed."""
        others = saves[1:]
        if task.max_step is not None:
            n = max(1, math.ceil(longest / task.max_step))
            # Steps beyond the allowed number are not made.
            points = torch.arange(1, min(n, task.max_steps + 2), dtype=saves.dtype, device=saves.device)
            others = torch.cat([others, points / n]).unique()
        others = others[~torch.isin(others, stops)]
        run.ends = torch.cat([others, stops]).sort().values.tolist()
        run.trying = 0.0, run.ends[0]
        options: dict[str, object] = {"norm": _largest_norm, "step_t": others, "jump_t": stops}
        if task.dt is not None:
            # The package overlooks a stop that a step meets by chance, as a first step of a round length may.
            options["first_step"] = (1.0 - 1e-9) * task.dt / longest
        try:
            states = torchdiffeq.odeint(
                run, task.u0, saves, rtol=task.rtol, atol=task.atol, method=self.method, options=options
            )
        except _Stopped as stopped:
            run.status = stopped.status
            return task.u0[None]
        run.reached = 1.0
        return states


class _Stopped(Exception):
    """Ends an integration that cannot succeed."""

    def __init__(self, status: Status):
        self.status = status


class _Run:
    """The equation in the form that torchdiffeq takes, with counts and bounds by its callbacks."""

    def __init__(self, task: Task, length: Tensor):
        self.task = task
        self.step = task.direction * length
        self.scale = self.step.to(task.u0.dtype)
        self.tried = self.accepted = 0
        self.reached = 0.0
        self.smallest = float("inf")
        self.status = Status.SUCCESS
        self.ends: list[float] = []
        #: Start and end of the step that is tried; None between two steps, where coefficients may jump.
        self.trying: tuple[float, float] | None = None

    def __call__(self, s: Tensor, u: Tensor) -> Tensor:
        rhs = self.task.rhs
        t = self._time(s, len(u))
        if self.trying is None:
            now = rhs.at(t, u.dtype)
        else:
            begin, end = self.trying
            length = (end - begin) * self.step.expand(len(u), 1)
            now = rhs.during(self._time(begin, len(u)), length, t[None], u.dtype)[0]
        return self.scale * rhs.drift(now, u)

    def _time(self, s: Tensor | float, batch: int) -> Tensor:
        """Time of each path, (batch, 1), after a share of its length."""
        return (self.task.start + self.step * s).expand(batch, 1)

    def callback_step(self, s: Tensor, u: Tensor, ds: Tensor) -> None:
        """Check a step before it is tried."""
        start, step = s.item(), ds.item()
        self.trying = start, min(start + step, self.ends[bisect.bisect_right(self.ends, start)])
        self.reached = start
        if self.tried == self.task.max_steps:
            raise _Stopped(Status.MAX_STEPS)
        if not bool(u.isfinite().all()):
            raise _Stopped(Status.NON_FINITE)
        if not start + step > start:
            raise _Stopped(Status.STEP_TOO_SMALL if step > 0 else Status.NON_FINITE)
        self.tried += 1
        self.smallest = min(self.smallest, step)

    def callback_accept_step(self, s: Tensor, u: Tensor, ds: Tensor) -> None:
        """Count an accepted step."""
        self.trying = None
        self.accepted += 1


def _largest_norm(error: Tensor) -> Tensor:
    """The worst path's root mean square."""
    return error.square().mean(-1).sqrt().max() if error.ndim else error.abs()


def torchdiffeq_solvers() -> list[Solver]:
    """One solver per method."""
    return [*map(TorchDiffEqFixed, _FIXED), *map(TorchDiffEqAdaptive, _ADAPTIVE)]
