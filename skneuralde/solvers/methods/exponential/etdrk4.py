"""ETDRK4: exponential time differencing of fourth order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skneuralde.problems import FieldModes, phi_functions
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step, StepInput, Stepper

#: Share of the third difference of the slopes in the error estimate.
_SHARE = 0.05
#: A step before that is shorter than this share of a step tells nothing about it.
_SHORTEST = 0.01


class ETDRK4(Stepper):
    """Fourth order: for a known Laplacian and a reaction that is not stiff. Its steps end on save times.

    Diffusion is solved in closed form in its eigenbasis, so that it limits neither stability nor the step. Everything
    else is explicit. Without diffusion it is the classical Runge-Kutta method.

    Notes
    -----
    The error estimate replaces the slope of the last stage by that at the end of the step, with which the next step
    begins. These two differ in their states only, so that a slope that depends on time alone would go unnoticed.
    Therefore the second difference of the slopes at the start, in the middle and at the end is also compared with that
    of the start, the middle and the start of the step before. They agree up to the order of the method, and not where
    the slope changes suddenly. A first step has only its own second difference. The larger estimate is taken, mode
    by mode.

    References
    ----------
    .. [1] S. M. Cox and P. C. Matthews, "Exponential time differencing for stiff systems", J. Comput. Phys. 176 (2002)
       430-455.
    .. [2] S. Krogstad, "Generalized integrating factor methods for stiff PDEs", J. Comput. Phys. 203 (2005) 72-88.
    """

    name = "etdrk4"
    noise_kinds = ("none",)
    adaptive = True
    order = error_order = 4
    reference = "Krogstad (2005)"

    def start_state(self, rhs: RightHandSide, t: Tensor, u: Tensor, f: Tensor | None = None) -> Tensor:
        start = FieldModes(rhs.field, u).to_modes(rhs.drift_without_diffusion(rhs.at(t, u.dtype), u))
        return _pack(start, start, torch.full_like(u[:, :1], torch.inf))

    def step(self, inputs: StepInput) -> Step:
        rhs, t, h, u, _, solver_state = inputs
        modes = FieldModes(rhs.field, u)
        half, whole = _functions(modes, h, u, 0.5), _functions(modes, h, u, 1.0)
        middle, end = rhs.along(t, h, (0.5, 1.0), u.dtype)
        length = h if not isinstance(h, Tensor) else h.view(-1, *[1] * (half[0].ndim - 1))
        x = modes.to_modes(u)
        start, before, gap = _unpack(self.start_state(rhs, t, u) if solver_state is None else solver_state, x)

        def slope(now, x):
            return length * modes.to_modes(rhs.drift_without_diffusion(now, modes.from_modes(x)))

        n0 = length * start
        first = torch.addcmul(half[0] * x, 0.5 * half[1], n0)
        na = slope(middle, first)
        nb = slope(middle, torch.addcmul(first, half[2], na - n0))
        base = whole[0] * x
        nc = slope(end, base + whole[1] * n0 + 2.0 * whole[2] * (nb - n0))
        last = 4.0 * whole[3] - whole[2]
        inner = 2.0 * whole[2] - 4.0 * whole[3]
        x1 = base + (whole[1] - 3.0 * whole[2] + 4.0 * whole[3]) * n0 + inner * (na + nb) + last * nc
        u1 = modes.from_modes(x1)
        ahead = modes.to_modes(rhs.drift_without_diffusion(end, u1))
        n1 = length * ahead
        with torch.no_grad():
            by_states = n1 - nc
            by_times = _SHARE * _third_difference(length * before, n0, 0.5 * (na + nb), n1, gap / length)
            error = last * torch.where(by_times.abs() > by_states.abs(), by_times, by_states)
        return Step(u1, modes.from_modes(error), _pack(ahead, start, h + torch.zeros_like(u[:, :1])))


def _third_difference(before: Tensor, start: Tensor, middle: Tensor, end: Tensor, gap: Tensor) -> Tensor:
    """Difference of two second differences: at 0, 1/2 and 1, and at -gap, 0 and 1/2, scaled to the same points.

    Without a step before, the ratio of the second difference to the first one estimates how much smaller it is.
    """
    rise = middle - start
    second = (end - middle) - rise
    alone = second * (second / (end - start)).abs().nan_to_num_(0.0).clamp_max_(1.0)
    other = (2.0 * rise - (start - before) / gap) / (1.0 + 2.0 * gap)
    return torch.where((gap >= _SHORTEST) & gap.isfinite(), second - other, alone)


def _pack(start: Tensor, before: Tensor, gap: Tensor) -> Tensor:
    """Solver state: slopes in the eigenbasis at the start of the step and of the step before, and its length."""
    return torch.cat([start.flatten(1), before.detach().flatten(1), gap], 1)


def _unpack(solver_state: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n = x[0].numel()
    start, before, gap = solver_state.split([n, n, 1], 1)
    return start.view_as(x), before.view_as(x), gap.detach().view(-1, *[1] * (x.ndim - 1))


def _functions(modes: FieldModes, h: Tensor | float, u: Tensor, share: float) -> list[Tensor]:
    """The functions of ``share h L``, each broadcasting against the states in the basis."""
    if modes.diffusion is None:
        still = [u.new_tensor(1.0 / math.factorial(k)) for k in range(4)]
        return [value.view([1] * u.ndim) for value in still]
    values = modes.eigenvalues[None]
    length = h.view(-1, *[1] * (values.ndim - 1)) if isinstance(h, Tensor) else h
    return [
        modes.factors(value, 1.0 / math.factorial(k))
        for k, value in enumerate(phi_functions(share * length * values, 3))
    ]
