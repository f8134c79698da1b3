"""ROCK4: orthogonal Runge-Kutta-Chebyshev of fourth order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from skneuralde.solvers.core.controllers import PredictiveController
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.methods.stabilized.base import Advance
from skneuralde.solvers.methods.stabilized.order_conditions import EXACT, of_slope, of_stages
from skneuralde.solvers.methods.stabilized.rock import ROCK, by_recurrence, interpolated
from skneuralde.solvers.methods.stabilized.rock4_final_stages import FinalStages, final_stages
from skneuralde.solvers.methods.stabilized.rock_tables import ROCK4 as TABLE
from skneuralde.solvers.methods.stabilized.stability_polynomials import Recurrence
from skneuralde.solvers.methods.stages import combine

#: The largest weight of the states in the error estimate.
_LARGEST = 0.5


class ROCK4(ROCK):
    """Fourth order, stable along ``0.35 s^2`` of the negative real axis: for diffusion at small tolerances.

    It takes fewer and longer steps than `rock2` if solutions are smooth in space. Steps end on save times. The stages
    are of first order only: for stiff components with a forcing, `rkc2` is better.

    Notes
    -----
    The polynomials are those of [1]_. The last four stages follow from the conditions of order four; the two free nodes
    are chosen to make the errors of order five small. The embedded method of third order uses the slope at
    a stage in the middle of the recurrence in place of the last one, and is as stable as the method itself. An error
    estimate with the slope at the end of the step would multiply stiff components by their stiffness. The embedded
    method does not notice a slope that changes suddenly before that stage or after the last one. So the estimate also
    includes a difference of the states of the last stages, of order four, and the slope at the end of the step if that
    is unusual.

    References
    ----------
    .. [1] A. Abdulle, "Fourth order Chebyshev methods with recurrence relation", SIAM J. Sci. Comput. 23 (2002)
       2041-2054.
    """

    name = "rock4"
    order = error_order = 4
    reference = "Abdulle (2002)"
    table, share = TABLE, 0.35
    # Steps are few and long, and grow by large factors as a solution comes to rest.
    controller = PredictiveController()

    def advance(self, rhs: RightHandSide, t: Tensor, h: Tensor, u: Tensor, f: Tensor, s: int) -> Advance:
        c = coefficients(s)
        *time_points, first, second, third, last = rhs.along(t, h, c.nodes, u.dtype)
        start, slope = by_recurrence(rhs, time_points, h, u, f, c.recurrence, c.kept)
        states, stages = [start], [h * rhs.drift(first, start)]
        for time_point, row in zip((second, third, last), c.matrix, strict=True):
            states.append(combine(start, row, stages))
            stages.append(h * rhs.drift(time_point, states[-1]))
        u1 = combine(start, c.weights, stages)
        f1 = rhs.drift(rhs.at_end(t, h, u.dtype), u1)
        with torch.no_grad():
            error = combine(torch.zeros_like(u), c.error, [h * slope, *stages])
            before = torch.hypot(error, combine(torch.zeros_like(u), c.differences, [u, *states, u1]))
            error = torch.hypot(before, self.change_at_end([h * f, *stages], h * f1, u1 - u, c.nodes[-1], s))
        return Advance(u1, f1, error)


@dataclass(frozen=True)
class ROCK4Scheme:
    """Coefficients of one step with s stages.

    Attributes
    ----------
    recurrence : Recurrence
        Coefficients of the first s - 4 stages.
    kept : int
        The stage of the recurrence whose slope the error estimate uses.
    nodes : tuple of float
        Fractions of the step at which the drift is evaluated after its start.
    matrix, weights, error : tuple
        Coefficients of the last four stages, see `FinalStages`.
    differences : tuple of float
        Weights of the states at the start, of the last four stages, and at the end, whose sum is of order four.
    """

    recurrence: Recurrence
    kept: int
    nodes: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    error: tuple[float, ...]
    differences: tuple[float, ...]


@lru_cache(maxsize=512)
def coefficients(s: int) -> ROCK4Scheme:
    """The step of s stages; it has order 4 for any zeros, also inaccurate ones."""
    stages = interpolated(TABLE, s)
    w = of_stages(stages.mu, stages.nu)
    kept = len(stages.mu) // 2
    end = final_stages(w[-1], w[kept])
    start = float(w[-1, 0])
    nodes = (*w[1:, 0].tolist(), *(start + node for node in end.nodes))
    return ROCK4Scheme(stages, kept, nodes, end.matrix, end.weights, end.error, _differences(w[-1], end))


def _differences(start: np.ndarray, end: FinalStages) -> tuple[float, ...]:
    """The weights of states that cancel all terms up to order three, from the elementary weights of the first stage."""
    states, slopes = [np.zeros_like(start), start], [of_slope(start)]
    for row in end.matrix:
        states.append(start + np.array(row) @ np.array(slopes))
        slopes.append(of_slope(states[-1]))
    states.append(np.array(EXACT))
    conditions = np.array([[1.0, *state[:4]] for state in states]).T
    weights = np.linalg.svd(conditions)[2][-1]
    return tuple((_LARGEST * weights / abs(weights).max()).tolist())
