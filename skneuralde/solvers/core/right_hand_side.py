"""The right-hand side as a step sees it: a problem, its inputs over time, and the interval that it is defined on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple, Protocol, cast, runtime_checkable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from skneuralde.problems import FieldDrift, Jump, Pattern, Problem, Sparsity, pattern_of
from skneuralde.terms import Term
from skneuralde.terms.base import value_and_jacobian


@runtime_checkable
class GridContext(Protocol):
    """Inputs that can be asked for at several times of each path in one call."""

    def on_grid(self, t: Tensor) -> Tensor:
        """``(batch, n)`` float64 times to ``(batch, n, k)``."""


class ProblemLike(Protocol):
    """What the solvers use of a problem; one with a diffusion is a `Problem`."""

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
    """How often the coefficients were evaluated, and what that has told; shared by all selections of an equation.

    Attributes
    ----------
    drift, diffusion : int
    depends_on_time : bool
        Whether the drift does, as far as derivatives tell; it does until it is noticed that it does not.
    """

    def __init__(self) -> None:
        self.drift = 0
        self.diffusion = 0
        self.depends_on_time = True


class TimePoint(NamedTuple):
    """What the coefficients of each path see besides its state: a time (batch, 1), and the inputs there."""

    t: Tensor
    context: Tensor | None

    def select(self, rows: Tensor) -> TimePoint:
        """Of some paths; a path may be named several times."""
        return TimePoint(self.t[rows], None if self.context is None else self.context[rows])


class RightHandSide:
    """Coefficients as functions of time and state alone, for some paths of a batch.

    Parameters
    ----------
    problem : Problem
    context : Tensor of shape (batch, k), InputsOverTime or None
    lower, upper : float64 Tensor of shape (batch, 1) or (1, 1)
        The interval of integration; coefficients are never called outside it.
    """

    def __init__(
        self,
        problem: ProblemLike,
        context: Tensor | InputsOverTime | None,
        lower: Tensor,
        upper: Tensor,
        counter: Counter | None = None,
    ):
        self.problem = problem
        self.context = context
        self.lower, self.upper = lower, upper
        self.counter = Counter() if counter is None else counter

    def select(self, rows: Tensor) -> RightHandSide:
        """The equation of these paths; a path may be named several times."""
        context = self.context
        if isinstance(context, Tensor):
            context = context[rows]
        elif context is not None:
            context = context.select(rows)
        shared = len(self.lower) == 1
        lower, upper = (self.lower, self.upper) if shared else (self.lower[rows], self.upper[rows])
        return RightHandSide(self.problem, context, lower, upper, self.counter)

    def at(self, t: Tensor, dtype: torch.dtype) -> TimePoint:
        """The moment of each path's float64 time ``(batch, 1)``, for states of a dtype."""
        return self._time_points(t[None], dtype)[0]

    def along(self, t: Tensor, h: Tensor | float, nodes: tuple[float, ...], dtype: torch.dtype) -> list[TimePoint]:
        """The moments of all nodes of a step: each is a share of its length ``h (batch, 1)`` from its start ``t``."""
        return self._time_points(t + _column(nodes, t.device) * h, dtype)

    def _time_points(self, t: Tensor, dtype: torch.dtype) -> list[TimePoint]:
        """Of times (n, batch, 1)."""
        t = t.clamp(self.lower, self.upper)
        times = t.to(dtype).unbind()
        if self.context is None or isinstance(self.context, Tensor):
            return [TimePoint(time, self.context) for time in times]
        return list(map(TimePoint, times, self.context.along(t[..., 0].T)))

    def drift(self, now: TimePoint, u: Tensor) -> Tensor:
        """f(t, u), ``(batch, dim)``."""
        self.counter.drift += u.shape[0]
        return self.problem.drift(now.t, u, now.context)

    def derivative(self, now: TimePoint, u: Tensor, v: Tensor) -> Tensor:
        """Derivative of f with respect to u in the direction v, ``(batch, dim)``; counts as an evaluation."""
        self.counter.drift += u.shape[0]
        return torch.func.jvp(lambda x: self.problem.drift(now.t, x, now.context), (u,), (v,))[1]

    def linearized_drift(self, now: TimePoint, u: Tensor) -> tuple[Tensor, Tensor]:
        """f(t, u) and its Jacobian with respect to u, ``(batch, dim, dim)``; counts as two evaluations.

        For a field the Jacobian is that of its reaction, point by point: ``(batch, *grid, fields, fields)``.
        """
        self.counter.drift += 2 * u.shape[0]
        drift = self.problem.drift
        if isinstance(drift, FieldDrift):
            around = drift.pointwise(now.t, u, now.context)
            return around.value, around.slope
        if isinstance(drift, Term):
            return drift.linearize(now.t, u, now.context)
        return value_and_jacobian(lambda x, t, c: drift(t, x, c), u, now.t, now.context)

    def pattern(self, dim: int) -> Pattern | None:
        """Where the Jacobian of f may differ from 0, for states of this size; None where nobody told."""
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

    def notice_time(self, t: Tensor, u: Tensor) -> None:
        """Find out whether f depends on time, by whether a derivative with respect to it arrives."""
        self.counter.drift += u.shape[0]
        now = self.at(t, u.dtype)
        with torch.no_grad(), forward_ad.dual_level():
            time = forward_ad.make_dual(now.t, torch.ones_like(now.t))
            change = forward_ad.unpack_dual(self.problem.drift(time, u.detach(), now.context)).tangent
        has_inputs = not (now.context is None or isinstance(self.context, Tensor))
        self.counter.depends_on_time = has_inputs or change is not None

    def drift_over_time(self, t: Tensor, h: Tensor | float, u: Tensor) -> Tensor | None:
        """Derivative of f with respect to t, through the inputs, too; counts as an evaluation.

        None where f was noticed not to depend on time. Inputs are differentiated over a thousandth of the step h.
        """
        if not self.counter.depends_on_time:
            return None
        self.counter.drift += u.shape[0]
        now, drift = self.at(t, u.dtype), self.problem.drift
        unit = torch.ones_like(now.t)
        if now.context is None or isinstance(self.context, Tensor):
            return torch.func.jvp(lambda s: drift(s, u, now.context), (now.t,), (unit,))[1]
        gap = 1e-3 * h
        later = self.at(t + gap, u.dtype).context
        assert later is not None
        slope = (later - now.context) / (gap.to(u.dtype) if isinstance(gap, Tensor) else gap)
        return torch.func.jvp(lambda s, c: drift(s, u, c), (now.t, now.context), (unit, slope))[1]

    def drift_without_diffusion(self, now: TimePoint, u: Tensor) -> Tensor:
        """f(t, u) without the linear part of a field's Laplacian."""
        self.counter.drift += u.shape[0]
        drift = self.field
        return (self.problem.drift if drift is None else drift.without_diffusion)(now.t, u, now.context)

    @property
    def field(self) -> FieldDrift | None:
        """The drift of an equation with space, which knows its parts."""
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
        """The rate of a channel of jumps, ``(batch,)``.

        Raises
        ------
        ValueError
            If it is negative, not finite or above its bound.
        """
        jump = self.problem.jumps[channel]
        rate = jump.rate(now.t, u, now.context)
        jump.check_rate(rate, now.t, u, name=f"jumps[{channel}]")
        return rate

    def affect(self, channel: int, now: TimePoint, u: Tensor, marks: Tensor) -> Tensor:
        """The state after a jump, ``(batch, dim)``."""
        return self.problem.jumps[channel].affect(now.t, u, now.context, marks)

    @property
    def has_additive_noise(self) -> bool:
        """Whether g does not depend on the state."""
        return not self._diffusion.state_dependent

    @property
    def _diffusion(self) -> Term:
        diffusion = cast(Problem, self.problem).diffusion
        assert diffusion is not None
        return diffusion

    def apply_noise(self, g: Tensor, dw: Tensor) -> Tensor:
        """Apply g to an increment dW, ``(batch, dim)``."""
        return cast(Problem, self.problem).apply_noise(g, dw)


@cache
def _column(nodes: tuple[float, ...], device: torch.device) -> Tensor:
    """Nodes as a float64 Tensor of shape (n, 1, 1)."""
    return torch.tensor(nodes, dtype=torch.float64, device=device)[:, None, None]


class InputsOverTime:
    """Inputs of some paths, from a function that gives them for the whole batch at once.

    A path named several times, as for its side steps, is asked for at several times: in one call where the function
    offers `GridContext.on_grid`, else one call each.

    Parameters
    ----------
    function : callable
        ``(batch,)`` float64 times to ``(batch, k)``.
    home : float64 Tensor of shape (batch,)
        A time of each path at which the function may be asked when nobody wants to know.
    rows : int64 Tensor, optional
        The paths; all of them, once each, if not given.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], home: Tensor, rows: Tensor | None = None):
        self.function, self.home, self.rows = function, home, rows
        if rows is not None:
            self.mention = _rank_within_groups(rows)
            self.n_mentions = int(self.mention.max()) + 1 if len(rows) else 1

    def select(self, rows: Tensor) -> InputsOverTime:
        """The inputs of these rows of the present ones."""
        return InputsOverTime(self.function, self.home, rows if self.rows is None else self.rows[rows])

    def along(self, t: Tensor) -> Sequence[Tensor]:
        """Inputs at several times of each row, ``(n, m)`` to m times ``(n, k)``."""
        if self.rows is None and t.shape[1] > 1 and isinstance(self.function, GridContext):
            return self.function.on_grid(t).unbind(1)
        return [self(column) for column in t.unbind(1)]

    def __call__(self, t: Tensor) -> Tensor:
        """Inputs at one time per row, ``(n,)`` to ``(n, k)``."""
        if self.rows is None:
            return self.function(t)
        if self.n_mentions == 1:
            return self.function(self.home.index_copy(0, self.rows, t))[self.rows]
        grid = self.home[:, None].repeat(1, self.n_mentions)
        grid[self.rows, self.mention] = t
        if isinstance(self.function, GridContext):
            return self.function.on_grid(grid)[self.rows, self.mention]
        return torch.stack([self.function(column) for column in grid.unbind(1)], 1)[self.rows, self.mention]


def _rank_within_groups(labels: Tensor) -> Tensor:
    """For each entry, how many equal ones come before it."""
    order = labels.argsort(stable=True)
    ranked = labels[order]
    position = torch.arange(len(labels), device=labels.device)
    starts = torch.ones_like(ranked, dtype=torch.bool)
    starts[1:] = ranked[1:] != ranked[:-1]
    first = torch.where(starts, position, 0).cummax(0).values
    return torch.empty_like(labels).index_copy_(0, order, position - first)
