"""`Jump`: one channel of jumps, with its rate and its effect."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from skneuralde._typing import Context, State, Time
from skneuralde.terms import Affect, Term, check_term, resolve_known_affect, resolve_known_rate

#: From independent standard normal numbers ``(batch, dim)`` to marks ``(batch, ...)``.
Marks = Callable[[Tensor], Tensor]


class Jump(nn.Module):
    """A channel of jumps, which occur at a rate and set the state to a new value.

    Parameters
    ----------
    rate : number, callable, torch.nn.Module or list of these
        Jumps per unit of time. A callable takes ``(t, u)`` or ``(t, u, c)`` with ``t (batch, 1)``, ``u (batch, dim)``
        and ``c (batch, k)`` and returns ``(batch,)`` or ``(batch, 1)``. A list is the sum of its elements. The
        rate must not be negative.
    affect : number, array, callable, torch.nn.Module or list of these
        The state after the jump, ``(batch, dim)``, given the state u before it: a function of ``(t, u)``,
        ``(t, u, c)``, ``(t, u, z)`` or ``(t, u, c, z)``, where z is the jump's random mark. A number or array is the
        new state itself; a list is the sum of its elements.
    marks : callable, optional
        Function that turns independent standard normal numbers ``(batch, dim)`` into marks ``z (batch, ...)``, so that
        the same seed gives the same marks. By default z is these numbers.
    bound : float, optional
        Upper bound of the rate. With it, jumps at a rate that depends on time or state are simulated exactly and fast
        by thinning; a rate above the bound raises an error. Without it the rate is integrated along the path (the
        hazard), which places a jump as accurately as the solver's steps allow.
    max_step : float, optional
        Bound on the steps of adaptive solvers, for a rate without a bound: a rate that is zero at every stage of a step
        is not seen, however large it is in between. Give about the length of the shortest time in which it is not zero.
    leap : bool, default=False
        Tau-leaping [1]_, for many small jumps: fixed time steps do not end at the jumps, and all jumps of a step are
        applied at its end. The weak order is 1.

    Attributes
    ----------
    rate : Term
    affect : Affect

    References
    ----------
    .. [1] D. T. Gillespie, "Approximate accelerated stochastic simulation of chemically reacting systems", Journal of
       Chemical Physics 115 (2001) 1716-1733.

    Examples
    --------
    A price that halves twice a year on average:

    >>> from skneuralde import Jump
    >>> crash = Jump(2.0, lambda t, u: u / 2)

    The normal jumps of Merton's model of a log price:

    >>> news = Jump(10.0, lambda t, u, z: u - 0.01 + 0.02 * z)
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
        self.bound = bound
        self.max_step = max_step
        self.leap = leap

    def draw(self, normals: Tensor) -> Tensor:
        """Return marks from independent standard normal numbers ``(batch, dim)``."""
        return normals if self.marks is None else self.marks(normals)

    def check(self, t: Time, u: State, c: Context | None = None, *, name: str) -> None:
        """Call rate and affect once and check their values.

        Raises
        ------
        ValueError
            If a value has the wrong shape, dtype or device or is not finite, or if the rate is negative or above its
            bound.
        """
        rate = check_term(self.rate, name=f"{name}.rate", shape=(), t=t, u=u, c=c)
        self.check_rate(rate, t, u, name=name)
        marks = self.draw(torch.zeros_like(u))
        check_term(self.affect.with_mark(marks), name=f"{name}.affect", shape=u.shape[1:], t=t, u=u, c=c)

    def check_rate(self, rate: Tensor, t: Time, u: State, *, name: str) -> None:
        """Check that rates ``(batch,)`` are finite, not negative and not above the bound.

        Raises
        ------
        ValueError
            Naming the first time and state at which one is not.
        """
        limit = math.inf if self.bound is None else self.bound * (1.0 + 1e-6)
        wrong = ~((rate >= 0.0) & (rate <= limit) & rate.isfinite())
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            value = float(rate[row])
            reason = "exceeds its bound" if value > limit else "must be finite and not negative"
            bound_text = f" {self.bound:g}" if value > limit and self.bound is not None else ""
            raise ValueError(
                f"{name}.rate {reason}{bound_text}: it is {value:g} at t = {float(t[row]):g} and u = {u[row].tolist()}"
            )
