"""Batching: from the shapes of the caller to a flat batch of paths, and back."""

from __future__ import annotations

import math
import numbers
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skneuralde._calls import CallGuard
from skneuralde._transforms import constant, in_transform, is_batched, is_differentiated
from skneuralde.noise import Brownian, PoissonProcesses, absorb
from skneuralde.problems import FieldProblem, Problem
from skneuralde.solvers.core.errors import SolverError
from skneuralde.solvers.core.results import Trajectory
from skneuralde.solvers.core.right_hand_side import ProblemLike
from skneuralde.solvers.core.time_precision import warn_of_coarse_time
from skneuralde.solvers.core.time_values import time_values
from skneuralde.solvers.integrate import Context, SolveRequest
from skneuralde.terms import strict_tensors

#: A span that is longer than a power of two by this share, which may be rounding, is not longer.
_ROUNDING = 1e-12
_NO_VMAP = (
    "torch.vmap cannot map a solver, whose steps depend on values: give a batch of initial states, y0 of shape "
    "(batch, dim), and what differs between them as context"
)


@dataclass(frozen=True)
class PathBatch:
    """A flat batch of paths, ``copies`` for each initial state, and its place in the caller's shapes.

    Attributes
    ----------
    problem : Problem
        The equation of flat states.
    u0 : Tensor of shape (copies * batch, dim)
        All initial states of a copy after each other.
    times : float64 Tensor of shape (n_times,) or (batch..., n_times)
        As they were given, with their derivatives.
    context : Tensor of shape (copies * batch, k), callable or None
    stops : float64 Tensor of shape (n,) or (copies * batch, n), or None
    n_paths, copies : int
        Numbers of paths that were requested, and that are solved: one for an equation that is not random.
    batch, state : torch.Size
        Shape of the batch, and of one state.
    """

    problem: Problem | FieldProblem
    u0: Tensor
    times: Tensor
    context: Context
    stops: Tensor | None
    n_paths: int
    copies: int
    batch: torch.Size
    state: torch.Size

    def check(self, *, range_of_rates: bool = True) -> None:
        """Call every coefficient where the solutions start, and check its value."""
        t, c = self.start[:, None].to(self.u0.dtype), self.first_context
        _refuse_vmap(self.problem, t, self.u0, c)
        self.problem.check(t, self.u0, c, range_of_rates=range_of_rates)

    @contextmanager
    def explained_failures(self) -> Iterator[None]:
        """A failure in this context says so if the coefficients are not functions of (t, u).

        They are called again where they passed the check before the first step.
        """
        try:
            yield
        except SolverError as error:
            try:
                self.check(range_of_rates=False)
            except ValueError as now:
                reason = f"A coefficient is not a function of (t, u): called again where the solution starts, {now}"
                raise error.explained(reason) from now
            raise

    @property
    def state_ndim(self) -> int:
        """Number of axes of one state."""
        return len(self.state)

    @property
    def flat_times(self) -> Tensor:
        """Save times of the flat batch, (n_times,) or (copies * batch, n_times)."""
        return _flat_times(self.times, self.copies)

    def shaped(self, x: Tensor) -> Tensor:
        """From rows of the flat batch to (n_paths, batch..., ...)."""
        shape = *self.batch, *x.shape[1:]
        return x.reshape(self.copies, *shape).expand(self.n_paths, *shape)

    def states(self, values: Tensor) -> Tensor:
        """From solutions (flat batch, n_times, dim) to (n_paths, batch..., n_times, state...)."""
        return self.shaped(values.unflatten(-1, self.state))

    @property
    def start(self) -> Tensor:
        """The first time of every path."""
        return constant(self.flat_times)[..., 0].expand(len(self.u0))

    @property
    def first_context(self) -> Tensor | None:
        """The inputs at the first times."""
        return self.context(self.start) if callable(self.context) else self.context

    def warn_of_coarse_time(self, trajectory: Trajectory) -> None:
        """`warn_of_coarse_time`, in the name of the function that a user has called."""
        if self.u0.dtype != torch.float64:
            warn_of_coarse_time(self.problem, self.start, self.u0, self.first_context, trajectory, stacklevel=3)

    def with_noise(
        self, request: SolveRequest, random_state: int | np.random.RandomState | np.random.Generator | None
    ) -> SolveRequest:
        """A request for this batch with its Brownian motion and its Poisson processes, after a check of its numbers."""
        request.check()
        problem, times, start = self.problem, constant(self.flat_times), self.start
        path, series = torch.meshgrid(torch.arange(self.copies), torch.arange(math.prod(self.batch)), indexing="ij")
        keys = (path.flatten().to(self.u0.device), series.flatten().to(self.u0.device))
        seed = _seed(random_state)
        noise = poisson = None
        if problem.jumps:
            poisson = PoissonProcesses(seed, *keys, len(problem.jumps))
        if isinstance(problem, Problem) and problem.diffusion is not None:
            dt = request.dt if request.rtol is None or not request.solver.adaptive else None
            cell, power = _cells(times, dt)
            path, series = keys
            dim = problem.noise_dim(self.u0.shape[1])
            noise = Brownian(seed, path, absorb(series, power), dim, start=start, cell=cell)
        return replace(request, noise=noise, poisson=poisson)


def to_batch(
    problem: Problem,
    y0: Any,
    ts: Any,
    *,
    n_paths: int,
    context: Any,
    device: str | torch.device | None,
    dtype: torch.dtype | None,
    stops: Any = None,
    range_of_rates: bool = True,
) -> PathBatch:
    """Check the equation, initial states, times and inputs that `solve` takes, and lay the paths out.

    Rates of jumps that are out of their range at the start are refused only with ``range_of_rates``.
    """
    n_paths = _check_n_paths(n_paths)
    u0 = _state(y0, problem, device, dtype)
    state_ndim = u0.ndim if problem.state_ndim is None else problem.state_ndim
    batch, state = u0.shape[:-state_ndim], u0.shape[-state_ndim:]
    is_random = problem.diffusion is not None or bool(problem.jumps)
    copies = n_paths if is_random else 1
    paths = PathBatch(
        problem=problem.flattened(state),
        u0=u0.reshape(math.prod(batch), math.prod(state)).repeat(copies, 1),
        times=_times(ts, batch, u0.device, may_decrease=not is_random),
        context=_context(context, copies, batch, u0),
        stops=_stops({"stops": stops, "context.knots": getattr(context, "knots", None)}, copies, batch, u0.device),
        n_paths=n_paths,
        copies=copies,
        batch=batch,
        state=state,
    )
    paths.check(range_of_rates=range_of_rates)
    return paths


def _refuse_vmap(problem: ProblemLike, t: Tensor, u: Tensor, c: Tensor | None) -> None:
    """Refuse coefficients with an axis that torch.vmap hides: steps depend on their values."""
    if in_transform() and any(is_batched(term(t, u, c)) for term in (problem.drift, problem.diffusion) if term):
        raise ValueError(_NO_VMAP)


def _cells(times: Tensor, dt: float | None) -> tuple[float | Tensor, Tensor]:
    """Length of the cells of each path's noise, one number if they are the same, and the power of two in it.

    A cell is the power of two not below the span of a path's own times. With fixed steps it is shorter, by less than a
    half, so that a power of two of steps fills it. So a path depends neither on the times in between nor on other rows,
    and half the dt refines it.
    """
    spans, row = (times.nan_to_num(nan=-torch.inf).amax(-1) - times[..., 0]).reshape(-1), None
    if len(spans) > 1:
        spans, row = spans.unique(return_inverse=True)
    mantissa = 0.5 if dt is None else math.frexp(dt)[0]
    # The mantissa of a power of two is a half.
    mantissa = 1.0 if mantissa == 0.5 else mantissa
    cells = [
        math.ldexp(mantissa, math.frexp((span if span > 0.0 else 1.0) * (1.0 - _ROUNDING))[1])
        for span in spans.tolist()
    ]
    powers = torch.tensor([math.frexp(cell)[1] for cell in cells], device=times.device)
    if len(set(cells)) == 1:
        return cells[0], powers[:1]
    return torch.tensor(cells, dtype=torch.float64, device=times.device)[row], powers[row]


def _check_n_paths(n_paths: int) -> int:
    if isinstance(n_paths, bool) or not isinstance(n_paths, numbers.Integral) or n_paths < 1:
        raise ValueError(f"n_paths must be an integer of at least 1, got {n_paths!r}")
    return int(n_paths)


def _seed(random_state: int | np.random.RandomState | np.random.Generator | None) -> int:
    """A seed from a random_state as in scikit-learn; None draws one from the operating system."""
    if random_state is None:
        return secrets.randbits(62)
    if isinstance(random_state, numbers.Integral) and not isinstance(random_state, bool):
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**62))
    raise ValueError(f"random_state must be None, an int, a RandomState or a Generator, got {random_state!r}")


def _stacked(x: Any, dtype: torch.dtype | None = None) -> Any:
    """A list with tensors that have derivatives as one tensor; anything else as it is."""
    tensors = [item for item in x if isinstance(item, Tensor)] if isinstance(x, (list, tuple)) else []
    if not any(map(is_differentiated, tensors)):
        return x
    dtype, device = dtype or tensors[0].dtype, tensors[0].device
    return torch.stack([torch.as_tensor(item, dtype=dtype, device=device) for item in x])


def _state(y0: Any, problem: Problem, device: str | torch.device | None, dtype: torch.dtype | None) -> Tensor:
    """The initial states as a floating tensor."""
    y0 = _stacked(y0)
    array = y0 if isinstance(y0, Tensor) else np.asarray(y0)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biufc":
        raise ValueError(f"y0 must be an array of numbers, got dtype {array.dtype}")
    values = torch.as_tensor(array)
    if dtype is None:
        parameter = next((x for x in strict_tensors(problem) if isinstance(x, nn.Parameter)), None)
        known = isinstance(y0, Tensor | np.ndarray | np.generic) and values.is_floating_point()
        dtype = values.dtype if known else torch.float64 if parameter is None else parameter.dtype
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"states are float32 or float64, got {dtype}: give dtype, or convert y0")
    if values.is_complex():
        raise ValueError("Complex data not supported: y0 must be real")
    fewest = 2 if problem.state_ndim is None else problem.state_ndim
    if values.ndim < fewest or values.numel() == 0:
        shape = "(*batch, dim)" if problem.operator is None else f"(*batch, *grid, fields), of {fewest} axes or more,"
        raise ValueError(f"y0 must have shape {shape} with at least one state, got {tuple(values.shape)}")
    u0 = values.to(device=device, dtype=dtype)
    if is_batched(u0):
        raise ValueError(_NO_VMAP)
    wrong = (~u0.detach().isfinite()).nonzero()
    if len(wrong):
        index = tuple(wrong[0].tolist())
        raise ValueError(f"y0 must be finite, got {u0[index].item()} at index {index}")
    return u0


def _times(ts: Any, batch: torch.Size, device: torch.device, *, may_decrease: bool) -> Tensor:
    """The times as float64, checked to be in order."""
    ts = _stacked(ts, torch.float64)
    if isinstance(ts, Tensor) and is_batched(ts):
        raise ValueError(_NO_VMAP)
    given = time_values("ts", ts).to(device)
    times = constant(given)
    if times.ndim == 0 or times.shape[-1] == 0:
        raise ValueError(f"ts must hold at least one time, got shape {tuple(times.shape)}")
    if times.ndim > 1 and times.shape[:-1] != batch:
        axes = ", ".join([*map(str, batch), "n_times"])
        raise ValueError(
            f"ts must have shape (n_times,) or ({axes}), as y0 has the batch {tuple(batch)}, got {tuple(times.shape)}"
        )
    missing = times.isnan()
    padding = missing if times.ndim > 1 else torch.zeros_like(missing)
    wrong = times.isinf() | (missing & ~padding)
    wrong[..., 0] |= missing[..., 0]
    wrong[..., 1:] |= missing[..., :-1] & ~missing[..., 1:]
    _refuse(times, wrong, "must be finite, with NaN only to fill up the right of shorter rows")
    change = times.diff(dim=-1)
    falling = change < 0
    backwards = falling.any(-1, keepdim=True)
    if not may_decrease:
        _refuse(times[..., 1:], falling, "must not decrease in an equation with noise or jumps", shift=1)
    _refuse(times[..., 1:], backwards & (change > 0), "must be in order", shift=1)
    return given


def _flat_times(times: Tensor, copies: int) -> Tensor:
    """From times (n,) or (batch..., n) to those of the flat batch, (n,) or (copies * batch, n)."""
    return times if times.ndim == 1 else times.flatten(0, -2).repeat(copies, 1)


def _stops(given: dict[str, Any], copies: int, batch: torch.Size, device: torch.device) -> Tensor | None:
    """All stops of the flat batch, (n,) or (copies * batch, n), from those given by name; None without any."""
    known = [_checked_stops(name, stops, batch) for name, stops in given.items() if stops is not None]
    if not known:
        return None
    shape = batch if any(stops.ndim > 1 for stops in known) else ()
    return _flat_times(torch.cat([stops.expand(*shape, -1) for stops in known], -1), copies).to(device)


def _checked_stops(name: str, stops: Any, batch: torch.Size) -> Tensor:
    """Stops as float64 times (n,) or (batch..., n), padded with NaN."""
    times = time_values(name, stops).detach().cpu()
    if times.ndim == 0:
        raise ValueError(f"{name} must be an array of times, got {stops!r}")
    if times.ndim > 1 and times.shape[:-1] != batch:
        axes = ", ".join([*map(str, batch), "n"])
        raise ValueError(
            f"{name} must have shape (n,) or ({axes}), as y0 has the batch {tuple(batch)}, got {tuple(times.shape)}"
        )
    wrong = (times.isinf() | (times.isnan() & (times.ndim == 1))).nonzero()
    if len(wrong):
        index = tuple(wrong[0].tolist())
        raise ValueError(
            f"{name} must be finite, with NaN only to fill up shorter rows, got {times[index].item()} at index "
            f"{index[0] if len(index) == 1 else index}"
        )
    return times


def _refuse(times: Tensor, wrong: Tensor, rule: str, *, shift: int = 0) -> None:
    found = wrong.nonzero()
    if len(found):
        index = tuple(found[0].tolist())
        place = (*index[:-1], index[-1] + shift)
        raise ValueError(f"ts {rule}, got {times[index].item()} at index {place[0] if len(place) == 1 else place}")


def _context(context: Any, copies: int, batch: torch.Size, u0: Tensor) -> Tensor | Callable[[Tensor], Tensor] | None:
    """Inputs of the flat batch of all paths."""
    if context is None:
        return None
    if callable(context):
        return _CallersContext(context, copies, batch, u0)
    values = context if isinstance(context, Tensor) else torch.as_tensor(np.asarray(context))
    return _flat_context(values, copies, batch, u0)


def _flat_context(c: Any, copies: int, batch: torch.Size, u0: Tensor) -> Tensor:
    """Inputs (batch..., k) or (copies, batch..., k) as rows (copies * batch, k); a copy."""
    if not isinstance(c, Tensor) or c.ndim < 1 or c.shape[:-1] not in (batch, (copies, *batch)):
        got = tuple(c.shape) if isinstance(c, Tensor) else type(c).__name__
        raise ValueError(f"context must have shape {(*batch, 'k')}, got {got}")
    return c.to(u0, copy=True).expand(copies, *batch, c.shape[-1]).reshape(copies * math.prod(batch), c.shape[-1])


class _CallersContext:
    """Inputs of the flat batch from a caller's function of times ``(copies, batch...)``."""

    def __init__(self, function: Callable[[Tensor], Tensor], copies: int, batch: torch.Size, u0: Tensor):
        self.function, self.copies, self.batch, self.like = function, copies, batch, u0.detach()[:0]
        self.guard = CallGuard(function, "context", ("t",))
        self.width: int | None = None

    def __call__(self, t: Tensor) -> Tensor:
        c = self._of(t.reshape(self.copies, *self.batch))
        if self.width is None:
            self.width = c.shape[-1]
            if self.copies > 1:
                # With one copy more no shape fits by chance.
                self._of(t.reshape(self.copies, *self.batch)[:1].repeat(self.copies + 1, *[1] * len(self.batch)))
        elif c.shape[-1] != self.width:
            raise ValueError(
                f"context had {self.width} columns at the start, and has {c.shape[-1]} at {t[0].item():.6g}"
            )
        return c

    def _of(self, t: Tensor) -> Tensor:
        return _flat_context(self.guard.call(self.function, t), len(t), self.batch, self.like)
