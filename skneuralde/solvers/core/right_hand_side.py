"""The right-hand side of an equation as a step evaluates it: a problem, its inputs, and the interval of integration."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, Self, cast

import torch
from torch import Tensor

from skneuralde._caches import cached_tensors
from skneuralde.problems import FieldDrift, Jump, Pattern, Problem, Sparsity, pattern_of
from skneuralde.solvers.core.inputs import InputsOverTime
from skneuralde.solvers.core.segments import Segments, inside
from skneuralde.solvers.core.time_dependence import depends_on_first
from skneuralde.terms import Constant, Term
from skneuralde.terms.derivatives import along, value_and_jacobian

#: Earliest and latest time, (batch, 1) each, between which no input changes its slope.
Segment = tuple[Tensor, Tensor]


class ProblemLike(Protocol):
    """The parts of a problem that the solvers use; a problem with a diffusion is a `Problem`."""

    noise: str
    calculus: str

    @property
    def drift(self) -> Callable[..., Tensor]: ...

    @property
    def diffusion(self) -> Callable[..., Tensor] | None: ...

    @property
    def jumps(self) -> Sequence[Jump]: ...

    @property
    def sparsity(self) -> Sparsity | None: ...


class Counter:
    """Numbers of evaluations of the coefficients, shared by all selections of a right-hand side."""

    def __init__(self) -> None:
        self.drift = 0
        self.diffusion = 0


class TimePoint(NamedTuple):
    """Arguments of the coefficients besides the state: the time of each path, (batch, 1), and its inputs there."""

    t: Tensor
    context: Tensor | None

    def select(self, rows: Tensor) -> TimePoint:
        """Those of some paths; a path may be selected several times."""
        return TimePoint(self.t[rows], None if self.context is None else self.context[rows])


class RightHandSide:
    """Coefficients as functions of time and state alone, for some paths of a batch.

    Parameters
    ----------
    problem : Problem
    context : Tensor of shape (batch, k), InputsOverTime or None
    lower, upper : float64 Tensor of shape (batch, 1) or (1, 1)
        The interval of integration; coefficients are never called outside it.
    segments : Segments, optional
        The segments between stops. A stage at the start of a step is evaluated just after the stop there and one at its
        end just before, and no stage beyond the next stop.
    """

    def __init__(
        self,
        problem: ProblemLike,
        context: Tensor | InputsOverTime | None,
        lower: Tensor,
        upper: Tensor,
        segments: Segments | None = None,
    ):
        self.problem = problem
        self.context = context
        self.lower, self.upper = lower, upper
        self.segments = segments
        self.counter = Counter()
        self._drift: Callable[..., Tensor] = problem.drift

    def select(self, rows: Tensor) -> Self:
        """The right-hand side of these paths; a path may be selected several times."""
        part = copy.copy(self)
        if self.context is not None:
            part.context = self.context[rows] if isinstance(self.context, Tensor) else self.context.select(rows)
        if len(self.lower) > 1:
            part.lower, part.upper = self.lower[rows], self.upper[rows]
        if self.segments is not None:
            part.segments = self.segments.select(rows)
        return part

    def with_drift(self, drift: Callable[..., Tensor]) -> Self:
        """The same right-hand side with another drift, a function of ``(t, u, c)``."""
        other = copy.copy(self)
        other._drift = drift
        return other

    def state(self, u: Tensor) -> Tensor:
        """The states of the equation, where ``u`` holds more than these."""
        return u

    def at(self, t: Tensor, dtype: torch.dtype) -> TimePoint:
        """The time point at which paths go on at float64 times ``(batch, 1)``, for states of a dtype."""
        return self._time_point(t, dtype, None if self.segments is None else self.segments.ahead(t))

    def at_start(self, t: Tensor, h: Tensor | float, dtype: torch.dtype) -> TimePoint:
        """The time point at the start of a step, see `along`."""
        return self._time_point(t, dtype, None if self.segments is None else self.segments.around(t, h))

    def at_end(self, t: Tensor, h: Tensor | float, dtype: torch.dtype) -> TimePoint:
        """The time point at the end of a step, see `along`."""
        return self.along(t, h, (1.0,), dtype)[0]

    def along(self, t: Tensor, h: Tensor | float, nodes: tuple[float, ...], dtype: torch.dtype) -> list[TimePoint]:
        """The time points of all nodes of a step, as shares of its length ``h (batch, 1)`` from its start ``t``."""
        return self.during(t, h, t + _column(nodes, t.device) * h, dtype)

    def during(self, t: Tensor, h: Tensor | float, times: Tensor, dtype: torch.dtype) -> list[TimePoint]:
        """The time points of float64 times (n, batch, 1) that are read in a step from ``t (batch, 1)`` to ``t + h``."""
        if self.segments is None:
            return self._time_points(times, dtype, None)
        if isinstance(self.context, InputsOverTime):
            # Inputs may change at the end of the step.
            end = t + h
            times = torch.where(times == end, torch.nextafter(end, t), times)
        return self._time_points(times, dtype, self.segments.around(t, h))

    def reading(self, t: Tensor, dtype: torch.dtype, *, ahead: bool) -> TimePoint:
        """The time point at which paths go on from float64 times ``(batch, 1)``, or else the one that they come to.

        It can be differentiated in the times.
        """
        segments = self.segments
        segment = None if segments is None else (segments.ahead if ahead else segments.behind)(t.detach())
        inside_segment, now = self._moved(t.detach(), dtype, segment)
        moved, time = t + (inside_segment - t.detach()), t.to(dtype)
        context = self.context(moved[:, 0]) if isinstance(self.context, InputsOverTime) else self.context
        return TimePoint(time + (now - time).detach(), context)

    def _time_point(self, t: Tensor, dtype: torch.dtype, segment: Segment | None) -> TimePoint:
        """The time point of float64 times (batch, 1), moved into their segment if that is given."""
        if self.context is None or isinstance(self.context, Tensor):
            return TimePoint(self._moved(t, dtype, segment)[1], self.context)
        return self._time_points(t[None], dtype, segment)[0]

    def _time_points(self, t: Tensor, dtype: torch.dtype, segment: Segment | None) -> list[TimePoint]:
        """The time points of float64 times (n, batch, 1), moved into their segment if that is given."""
        t, now = self._moved(t, dtype, segment)
        if self.context is None or isinstance(self.context, Tensor):
            return [TimePoint(time, self.context) for time in now.unbind()]
        return list(map(TimePoint, now.unbind(), self.context.along(t[..., 0].T)))

    def _moved(self, t: Tensor, dtype: torch.dtype, segment: Segment | None) -> tuple[Tensor, Tensor]:
        """Times inside the segment, or else inside all times, in float64 and in a dtype."""
        t = t.clamp(self.lower, self.upper) if segment is None else inside(t, *segment)
        now = t.to(dtype)
        if segment is not None and dtype != t.dtype:
            now = inside(now, *(edge.to(dtype) for edge in segment))
        return t, now

    def drift(self, now: TimePoint, u: Tensor) -> Tensor:
        """f(t, u), ``(batch, dim)``."""
        self.counter.drift += u.shape[0]
        return self._drift(now.t, u, now.context)

    def derivative(self, now: TimePoint, u: Tensor, v: Tensor) -> Tensor:
        """Derivative of f with respect to u in the direction v, ``(batch, dim)``; counts as an evaluation."""
        self.counter.drift += u.shape[0]
        return along(lambda x: self._drift(now.t, x, now.context), (u,), (v,))[1]

    def linearized_drift(self, now: TimePoint, u: Tensor) -> tuple[Tensor, Tensor]:
        """f(t, u) and its Jacobian with respect to u, ``(batch, dim, dim)``; counts as two evaluations.

        For a field the Jacobian is that of its reaction, point by point: ``(batch, *grid, fields, fields)``.
        """
        self.counter.drift += 2 * u.shape[0]
        drift = self._drift
        if isinstance(drift, FieldDrift):
            around = drift.pointwise(now.t, u, now.context)
            return around.value, around.slope
        if isinstance(drift, Term):
            return drift.linearize(now.t, u, now.context)
        return value_and_jacobian(lambda x, t, c: drift(t, x, c), u, now.t, now.context)

    def pattern(self, dim: int) -> Pattern | None:
        """Sparsity pattern of the Jacobian of f, for states of this size; None if none was given."""
        sparsity, field = self.problem.sparsity, self.field
        return None if sparsity is None else pattern_of(sparsity, (dim,) if field is None else field.state)

    def sparse_drift(self, now: TimePoint, u: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
        """f(t, u) and the entries of its Jacobian, ``(batch, entries)``; each colour counts as an evaluation."""
        drift = self.problem.drift
        if isinstance(drift, FieldDrift):
            self.counter.drift += (2 + pattern.colours) * u.shape[0]
            return drift.sparse(pattern, now.t, u, now.context)
        self.counter.drift += (1 + pattern.colours) * u.shape[0]
        value, told = pattern.linearize(lambda v, t, c: drift(t, v, c), u, now.t, now.context)
        return value, pattern.entries(told)

    def is_autonomous(self, t: Tensor, u: Tensor) -> bool:
        """Whether f does not depend on time, directly or through inputs; counts as an evaluation at ``t``, ``u``."""
        if isinstance(self.context, InputsOverTime):
            return False
        self.counter.drift += u.shape[0]
        now, u = self.at(t, u.dtype), u.detach()
        return not depends_on_first(lambda time, state: self._drift(time, state, now.context), now.t, u)

    def time_derivative(self, t: Tensor, h: Tensor | float, u: Tensor) -> Tensor:
        """Derivative of f with respect to t, also through the inputs; counts as an evaluation.

        Inputs are differentiated over a thousandth of the step h.
        """
        self.counter.drift += u.shape[0]
        gap = 1e-3 * h
        now, soon = self.during(t, h, torch.stack([t, t + gap]), u.dtype)
        length = gap.to(u.dtype) if isinstance(gap, Tensor) else gap
        drift = self._drift
        unit = torch.ones_like(now.t)

        def differences(value: Tensor) -> Tensor:
            # Within the step, before a stop.
            self.counter.drift += 2 * u.shape[0]
            (later,) = self.during(t, h, (t + 2.0 * gap)[None], u.dtype)
            ahead, twice = drift(soon.t, u, soon.context), drift(later.t, u, later.context)
            return (4.0 * (ahead - value) - (twice - value)) / (2.0 * length)

        if now.context is None or isinstance(self.context, Tensor):
            return along(lambda s: drift(s, u, now.context), (now.t,), (unit,), differences=differences)[1]
        assert soon.context is not None
        at, directions = (now.t, now.context), (unit, (soon.context - now.context) / length)
        return along(lambda s, c: drift(s, u, c), at, directions, differences=differences)[1]

    def drift_without_diffusion(self, now: TimePoint, u: Tensor) -> Tensor:
        """f(t, u) without the linear part of a field's Laplacian."""
        self.counter.drift += u.shape[0]
        drift = self.field
        return (self._drift if drift is None else drift.without_diffusion)(now.t, u, now.context)

    @property
    def field(self) -> FieldDrift | None:
        """The drift of an equation of fields, with its parts; None for other equations."""
        drift = self.problem.drift
        return drift if isinstance(drift, FieldDrift) else None

    def diffusion(self, now: TimePoint, u: Tensor) -> Tensor:
        """Value of g(t, u), shaped as the problem's noise asks."""
        self.counter.diffusion += u.shape[0]
        assert self.problem.diffusion is not None
        return self.problem.diffusion(now.t, u, now.context)

    def coefficients(self, now: TimePoint, u: Tensor) -> tuple[Tensor, Tensor | None]:
        """f(t, u) and g(t, u); g is None in an equation without noise."""
        return self.drift(now, u), None if self.problem.diffusion is None else self.diffusion(now, u)

    def linearized_diffusion(self, now: TimePoint, u: Tensor) -> tuple[Tensor, Tensor]:
        """g(t, u) and its Jacobian with respect to u, whose directions count as evaluations."""
        self.counter.diffusion += u.numel()
        return self._diffusion.linearize(now.t, u, now.context)

    def rate(self, channel: int, now: TimePoint, u: Tensor) -> Tensor:
        """Rate of a channel of jumps as the problem gives it, ``(batch,)``."""
        return self.problem.jumps[channel].rate(now.t, u, now.context)

    def affect(self, channel: int, now: TimePoint, u: Tensor, marks: Tensor) -> Tensor:
        """The state after a jump, ``(batch, dim)``."""
        return self.problem.jumps[channel].after(now.t, u, now.context, marks)

    @property
    def has_additive_noise(self) -> bool:
        """Whether g does not depend on the state."""
        return not self._diffusion.state_dependent

    def is_noise_additive(self, t: Tensor, u: Tensor) -> bool:
        """Whether g does not depend on the state, whatever the noise is called; found out at ``t``, ``u``."""
        if self.has_additive_noise:
            return True
        now = self.at(t, u.dtype)
        return not depends_on_first(lambda state: self._diffusion(now.t, state, now.context), u.detach())

    def has_steady_noise(self, t: Tensor, u: Tensor) -> bool:
        """Whether g does not depend on time, directly or through inputs; found out at ``t``, ``u``."""
        if isinstance(self._diffusion, Constant):
            return True
        if isinstance(self.context, InputsOverTime):
            return False
        now, u = self.at(t, u.dtype), u.detach()
        return not depends_on_first(lambda time, state: self._diffusion(time, state, now.context), now.t, u)

    @property
    def _diffusion(self) -> Term:
        diffusion = cast(Problem, self.problem).diffusion
        assert diffusion is not None
        return diffusion

    def apply_noise(self, g: Tensor, dw: Tensor) -> Tensor:
        """Apply g to an increment dW, ``(batch, dim)``."""
        return cast(Problem, self.problem).apply_noise(g, dw)


@cached_tensors(maxsize=64)
def _column(nodes: tuple[float, ...], device: torch.device) -> Tensor:
    """Nodes as a float64 Tensor of shape (n, 1, 1)."""
    return torch.tensor(nodes, dtype=torch.float64, device=device)[:, None, None]
