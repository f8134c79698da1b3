"""`Jump`: one channel of jumps, with its rate and its effect."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skneuralde._calls import CallGuard
from skneuralde._typing import Context, State, Time
from skneuralde.terms import Affect, Term, check_term, resolve_known_affect, resolve_known_rate

#: A rate this far below zero is left to the solvers, for which it may be zero up to rounding.
_ROUNDING = 1e-6

#: From independent standard normal numbers ``(batch, dim)`` to marks ``(batch, ...)``.
Marks = Callable[[Tensor], Tensor]


class Jump(nn.Module):
    """A channel of jumps, which occur at a rate and set the state to a new value.

    Parameters
    ----------
    rate : number, Parameter, callable, torch.nn.Module or list of these
        Jumps per unit of time. A callable takes ``(t, u)`` or ``(t, u, c)`` with ``t (batch, 1)``, ``u (batch, dim)``
        and ``c (batch, k)`` and returns ``(batch,)`` or ``(batch, 1)``. A list is the sum of its elements. A rate
        below zero counts as zero within the tolerance of the solver, ``atol`` plus ``rtol`` times the largest rate of
        the path so far; a path with a rate further below, or one that is not finite, fails.
    affect : number, array, Parameter, callable, torch.nn.Module or list of these
        The state after the jump, ``(batch, dim)``, given the state u before it: a function of ``(t, u)``,
        ``(t, u, c)``, ``(t, u, z)`` or ``(t, u, c, z)``, where z is the jump's random mark. A number or array is the
        new state itself; a list is the sum of its elements.
    marks : callable, optional
        Function that turns independent standard normal numbers ``(batch, dim)`` into marks ``z (batch, ...)``, so that
        the same seed gives the same marks. By default z is these numbers.
    bound : float, optional
        Upper bound of the rate. With it, jumps at a rate that depends on time or state are simulated exactly and fast
        by thinning; a path whose rate exceeds the bound fails. Without it the rate is integrated along the path (the
        hazard), which places a jump as accurately as the solver's steps allow.
    max_step : float, optional
        Bound on the steps of adaptive solvers, for a rate without a bound: a rate that is zero at every stage of a step
        is not seen, however large it is in between. Give about the length of the shortest time in which it is not zero.
    leap : bool, default=False
        Tau-leaping [1]_, for many small jumps: fixed time steps do not end at the jumps, and all jumps of a step are
        applied at its end. The weak order is 1.
    lower : float or sequence of float, optional
        Lower end of the range of each component of the state, -inf for none, for ``leap=True``. Of the jumps drawn in
        a step no more happen than the state allows, so that none takes a component below it (as in binomial leaping
        [2]_). Without it a leap may remove more than there is, and a path whose rate is then negative fails.

    Attributes
    ----------
    rate : Term
    affect : Affect

    References
    ----------
    .. [1] D. T. Gillespie, "Approximate accelerated stochastic simulation of chemically reacting systems", Journal of
       Chemical Physics 115 (2001) 1716-1733.
    .. [2] T. Tian and K. Burrage, "Binomial leap methods for simulating stochastic chemical kinetics", Journal of
       Chemical Physics 121 (2004) 10356-10364.

    Examples
    --------
    A price that halves twice a year on average:

    >>> from skneuralde import Jump
    >>> crash = Jump(2.0, lambda t, u: u / 2)

    The normal jumps of Merton's model of a log price:

    >>> news = Jump(10.0, lambda t, u, z: u - 0.01 + 0.02 * z)

    Deaths of a population, as many in a time step as happen, but no more than there are individuals:

    >>> deaths = Jump(lambda t, u: 0.1 * u, lambda t, u: u - 1, leap=True, lower=0.0)
    """

    rate: Term
    affect: Affect

    def __init__(
        self,
        rate: Any,
        affect: Any,
        *,
        marks: Marks | None = None,
        bound: float | None = None,
        max_step: float | None = None,
        leap: bool = False,
        lower: float | Sequence[float] | None = None,
    ):
        super().__init__()
        if bound is not None and not (math.isfinite(bound) and bound > 0.0):
            raise ValueError(f"bound must be a positive number, got {bound!r}")
        if max_step is not None and not max_step > 0.0:
            raise ValueError(f"max_step must be a positive number, got {max_step!r}")
        if marks is not None and not callable(marks):
            raise ValueError(f"marks must be a function of standard normal numbers (batch, dim), got {marks!r}")
        self.rate = resolve_known_rate(rate, name="rate")
        self.affect = resolve_known_affect(affect, name="affect")
        self.marks = marks
        self.guard = CallGuard(marks, "marks", ("normals",)) if marks is not None else None
        self.bound = bound
        self.max_step = max_step
        self.leap = leap
        self.lower = _resolve_lower(lower, leap)

    def draw(self, normals: Tensor) -> Tensor:
        """Return marks from independent standard normal numbers ``(batch, dim)``."""
        return normals if self.guard is None or self.marks is None else self.guard.call(self.marks, normals)

    def check(self, t: Time, u: State, c: Context | None = None, *, name: str, range_of_rates: bool = True) -> None:
        """Call rate and affect once and check their values.

        Raises
        ------
        ValueError
            If a value has the wrong shape, dtype or device or is not finite, or if the rate is negative or above its
            bound; the values of rates count only with ``range_of_rates``.
        """
        rate = check_term(self.rate, name=f"{name}.rate", shape=(), t=t, u=u, c=c, finite=range_of_rates)
        limit = math.inf if self.bound is None else self.bound * (1.0 + 1e-6)
        wrong = ~((rate >= -_ROUNDING) & (rate <= limit) & rate.isfinite())
        if range_of_rates and bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            what = self.describe_rate(float(rate[row]), name=name)
            raise ValueError(f"{what} at t = {float(t[row]):g} and u = {u[row].tolist()}")
        if isinstance(self.lower, tuple) and len(self.lower) != u.shape[1]:
            raise ValueError(f"{name}.lower has {len(self.lower)} values, but a state has {u.shape[1]} components")
        check_term(_WithMeanMark(self), name=f"{name}.affect", shape=u.shape[1:], t=t, u=u, c=c)

    def after(self, t: Time, u: State, c: Context | None, marks: Tensor) -> State:
        """Return the states after jumps, moved onto ``lower`` where they differ from it by rounding alone."""
        after = self.affect(t, u, c, marks)
        if self.lower is None:
            return after
        lower = torch.as_tensor(self.lower, dtype=u.dtype, device=u.device)
        rounding = 16.0 * torch.finfo(u.dtype).eps * torch.maximum(u.abs(), after.abs())
        # The value is that of the range, the derivative that of the affect.
        return torch.where((after - lower).abs() <= rounding, after + (lower - after).detach(), after)

    def allows(self, u: State, after: State) -> Tensor:
        """Whether jumps take no component below ``lower``, ``(batch,)``; components that rise or stay do not count."""
        if self.lower is None:
            return torch.ones_like(u[:, 0], dtype=torch.bool)
        lower = torch.as_tensor(self.lower, dtype=u.dtype, device=u.device)
        return ~((after < lower) & (after < u)).any(1)

    def describe_rate(self, value: float, *, name: str) -> str:
        """Say of an invalid rate what is wrong with it."""
        if self.bound is not None and value > self.bound:
            return f"{name}.rate exceeds its bound {self.bound:g}: it is {value:g}"
        return f"{name}.rate must be finite and not negative: it is {value:g}"


class _WithMeanMark(Term):
    """The effect of jumps whose normal numbers are zero."""

    def __init__(self, jump: Jump):
        super().__init__()
        self.jump = jump

    def forward(self, t: Time, u: State, c: Context | None = None) -> State:
        return self.jump.affect(t, u, c, self.jump.draw(torch.zeros_like(u)))


def _resolve_lower(lower: Any, leap: bool) -> float | tuple[float, ...] | None:
    """The lower end of the range of a channel that leaps, one for all components or one for each."""
    if lower is None:
        return None
    try:
        values = torch.tensor(math.nan) if isinstance(lower, bool) else torch.as_tensor(lower, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        values = torch.tensor(math.nan)
    if values.ndim > 1 or not bool((values < math.inf).all()):
        raise ValueError(f"lower must be a number, or one per component of the state, and below inf, got {lower!r}")
    if not leap:
        raise ValueError(
            f"lower={lower!r} limits leaps, and other jumps happen one by one: give leap=True, or no lower"
        )
    return float(values) if values.ndim == 0 else tuple(values.tolist())
