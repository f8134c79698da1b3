"""ROCK2: orthogonal Runge-Kutta-Chebyshev of second order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.methods.stabilized.base import Advance
from skneuralde.solvers.methods.stabilized.order_conditions import of_stages
from skneuralde.solvers.methods.stabilized.rock import ROCK, by_recurrence, interpolated
from skneuralde.solvers.methods.stabilized.rock_tables import ROCK2 as TABLE
from skneuralde.solvers.methods.stabilized.stability_polynomials import Recurrence

#: Share of the distance of a stage from the chord in the error estimate.
_SHARE = 0.3


class ROCK2(ROCK):
    """Second order, stable along ``0.81 s^2`` of the negative real axis with s stages: for diffusion.

    The interval is close to the longest one that is possible at second order. Steps end on save times. The stages are
    of first order only: for stiff components with a forcing, `rkc2` is better.

    Notes
    -----
    The published estimate compares the slopes of the last two stages, and does not notice a slope that changes suddenly
    before or after them. So it also includes the distance of the stage before these from the chord of the step, and the
    slope at its end if that is unusual. Stages, unlike their slopes, do not multiply stiff components by their
    stiffness.

    References
    ----------
    .. [1] A. Abdulle and A. A. Medovikov, "Second order Chebyshev methods based on orthogonal polynomials", Numer.
       Math. 90 (2001) 1-18.
    """

    name = "rock2"
    order = error_order = 2
    reference = "Abdulle & Medovikov (2001)"
    table, share = TABLE, 0.81

    def advance(self, rhs: RightHandSide, t: Tensor, h: Tensor, u: Tensor, f: Tensor, s: int) -> Advance:
        c = coefficients(s)
        *time_points, last, end = rhs.along(t, h, c.nodes, u.dtype)
        now, _ = by_recurrence(rhs, time_points, h, u, f, c.recurrence)
        step = c.sigma * h
        slope = rhs.drift(last, now)
        middle = torch.addcmul(now, step, slope)
        final = rhs.drift(end, middle)
        error = (1.0 - c.tau / c.sigma**2) * step * (final - slope)
        u1 = torch.addcmul(middle, step, final) - error
        f1 = rhs.drift(rhs.at_end(t, h, u.dtype), u1)
        with torch.no_grad():
            change = u1 - u
            before = torch.hypot(error, _SHARE * (now - u - c.nodes[-2] * change))
            error = torch.hypot(
                before, self.change_at_end([h * f, h * slope, h * final], h * f1, change, c.nodes[-1], s)
            )
        return Advance(u1, f1, error)


@dataclass(frozen=True)
class ROCK2Scheme:
    """Coefficients of one step with s stages.

    Attributes
    ----------
    recurrence : Recurrence
        Coefficients of the first s - 2 stages.
    nodes : tuple of float
        Fractions of the step at which the drift is evaluated after its start.
    sigma, tau : float
        Coefficients of the last two stages, which supply the factor ``1 + 2 sigma z + tau z^2``.
    """

    recurrence: Recurrence
    nodes: tuple[float, ...]
    sigma: float
    tau: float


@lru_cache(maxsize=512)
def coefficients(s: int) -> ROCK2Scheme:
    """The step of s stages; it has order 2 for any zeros, also inaccurate ones."""
    stages = interpolated(TABLE, s)
    nodes, second = of_stages(stages.mu, stages.nu)[1:, :2].T.tolist()
    sigma = 0.5 * (1.0 - nodes[-1])
    tau = 0.5 * (1.0 - 2.0 * second[-1] - 4.0 * sigma * nodes[-1])
    return ROCK2Scheme(stages, (*nodes, nodes[-1] + sigma), sigma, tau)
