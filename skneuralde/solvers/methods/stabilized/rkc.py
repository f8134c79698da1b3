"""RKC2: Runge-Kutta-Chebyshev of second order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from skneuralde.solvers.core.dense_output import DenseOutput
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.methods.stabilized.base import Advance, Stabilized

#: Damping: the stability polynomial stays below 1 by about a third of this.
_EPSILON = 2.0 / 13.0


class RKC2(Stabilized, DenseOutput):
    """Second order, stable along ``0.65 s^2`` of the negative real axis with s stages: for diffusion.

    All stages are of second order, so that a forcing of stiff components does no harm. The dense output is the cubic
    Hermite interpolant; the error estimate controls its slopes.

    Notes
    -----
    The published estimate compares the change over a step with the slopes at its ends. It vanishes if half of the
    weight of the slopes lies behind a sudden change, and with two stages for every quadrature, since the step is then
    the trapezoidal rule. So steps have three stages or more, and the estimate also compares a stage in the middle with
    the dense output. Where the one comparison vanishes for a sudden change, the other does not.

    References
    ----------
    .. [1] B. P. Sommeijer, L. F. Shampine and J. G. Verwer, "RKC: An explicit solver for parabolic PDEs", J. Comput.
       Appl. Math. 88 (1998) 315-326.
    """

    name = "rkc2"
    order = 2
    error_order = 3
    reference = "Sommeijer, Shampine & Verwer (1998)"

    def stages(self, z: float) -> int:
        return max(3, 1 + int(math.sqrt(1.0 + 1.54 * z)))

    def advance(self, rhs: RightHandSide, t: Tensor, h: Tensor, u: Tensor, f: Tensor, s: int) -> Advance:
        c = chebyshev(s)
        time_points = rhs.along(t, h, tuple(c.nodes[1:]), u.dtype)
        hf = h * f
        before, now = u, u + c.first * hf
        middle = now
        for j, time_point in enumerate(time_points):
            mu, nu, weight, start = c.mu[j], c.nu[j], c.weight[j], c.start[j]
            fixed = torch.add(torch.mul(u, 1.0 - mu - nu), hf, alpha=start)
            fixed = torch.add(torch.add(fixed, now, alpha=mu), before, alpha=nu)
            before, now = now, torch.addcmul(fixed, weight * h, rhs.drift(time_point, now))
            middle = now if j + 2 == c.middle else middle
        f1 = rhs.drift(rhs.at_end(t, h, u.dtype), now)
        hf1, change = h * f1, now - u
        with torch.no_grad():
            at_ends = 0.4 * (hf + hf1) - 0.8 * change
            inside = middle - _hermite(c.nodes[c.middle], u, hf, hf1, change)
            error = torch.hypot(at_ends, inside)
        return Advance(now, f1, error)

    def interpolate(self, theta: Tensor, u0: Tensor, stages: tuple[Tensor, ...]) -> Tensor:
        begin, end, change = stages
        return _hermite(theta.to(u0.dtype), u0, begin, end, change)


def _hermite(theta: float | Tensor, u: Tensor, begin: Tensor, end: Tensor, change: Tensor) -> Tensor:
    """The cubic through both ends of a step, from its change and its slopes times its length."""
    rest = 1.0 - theta
    return u + theta * theta * (1.0 + 2.0 * rest) * change + theta * rest * (rest * begin - theta * end)


@dataclass(frozen=True)
class Chebyshev:
    """Coefficients of a method of s stages; the lists begin with the second stage.

    Attributes
    ----------
    first : float
        The weight of the first stage.
    mu, nu, weight, start : list of float
        Weights of the two stages before, of the drift, and of the drift at the start of the step.
    nodes : list of float
        Fractions of the step at which the drift is evaluated, beginning with 0.
    middle : int
        The stage of second order in the middle of the step, whose value the error estimate uses.
    """

    first: float
    mu: list[float]
    nu: list[float]
    weight: list[float]
    start: list[float]
    nodes: list[float]
    middle: int


@lru_cache(maxsize=512)
def chebyshev(s: int) -> Chebyshev:
    """The coefficients of s stages, from Chebyshev polynomials and their derivatives at ``1 + epsilon / s^2``."""
    w0 = 1.0 + _EPSILON / s**2
    value, first, second = [1.0, w0], [0.0, 1.0], [0.0, 0.0]
    for j in range(2, s + 1):
        value.append(2.0 * w0 * value[-1] - value[-2])
        first.append(2.0 * value[j - 1] + 2.0 * w0 * first[-1] - first[-2])
        second.append(4.0 * first[j - 1] + 2.0 * w0 * second[-1] - second[-2])
    w1 = first[s] / second[s]
    b = [0.0, 1.0 / w0] + [second[j] / first[j] ** 2 for j in range(2, s + 1)]
    b[0] = b[2]
    stages = range(2, s + 1)
    mu = [2.0 * b[j] * w0 / b[j - 1] for j in stages]
    nu = [-b[j] / b[j - 2] for j in stages]
    weight = [2.0 * b[j] * w1 / b[j - 1] for j in stages]
    start = [-(1.0 - b[j - 1] * value[j - 1]) * weight[j - 2] for j in stages]
    nodes = [0.0, b[1] * w1, *(w1 * second[j] / first[j] for j in range(2, s))]
    middle = min(range(min(2, s - 1), s), key=lambda j: abs(nodes[j] - 0.5))
    return Chebyshev(b[1] * w1, mu, nu, weight, start, nodes, middle)
