"""ETDRK4: exponential time differencing of fourth order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skneuralde.problems import FieldModes, phi_functions
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step, StepInput, Stepper


class ETDRK4(Stepper):
    """Fourth order: for a known Laplacian and a reaction that is not stiff. Its steps end on save times.

    Diffusion is solved in closed form in its eigenbasis, so that it limits neither stability nor the step. Everything
    else is explicit. Without diffusion it is the classical Runge-Kutta method. The error estimate replaces the slope of
    the last stage by that at the end of the step, with which the next step begins.

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
        return rhs.drift_without_diffusion(rhs.at(t, u.dtype), u)

    def step(self, inputs: StepInput) -> Step:
        rhs, t, h, u, _, solver_state = inputs
        start = self.start_state(rhs, t, u) if solver_state is None else solver_state
        modes = FieldModes(rhs.field, u)
        half, whole = _functions(modes, h, u, 0.5), _functions(modes, h, u, 1.0)
        middle, end = rhs.along(t, h, (0.5, 1.0), u.dtype)
        length = h if not isinstance(h, Tensor) else h.view(-1, *[1] * (half[0].ndim - 1))

        def slope(now, x):
            return length * modes.to_modes(rhs.drift_without_diffusion(now, modes.from_modes(x)))

        x, n0 = modes.to_modes(u), length * modes.to_modes(start)
        first = torch.addcmul(half[0] * x, 0.5 * half[1], n0)
        na = slope(middle, first)
        nb = slope(middle, torch.addcmul(first, half[2], na - n0))
        base = whole[0] * x
        nc = slope(end, base + whole[1] * n0 + 2.0 * whole[2] * (nb - n0))
        last = 4.0 * whole[3] - whole[2]
        inner = 2.0 * whole[2] - 4.0 * whole[3]
        x1 = base + (whole[1] - 3.0 * whole[2] + 4.0 * whole[3]) * n0 + inner * (na + nb) + last * nc
        u1 = modes.from_modes(x1)
        ahead = rhs.drift_without_diffusion(end, u1)
        error = modes.from_modes(last * (length * modes.to_modes(ahead) - nc))
        return Step(u1, error, ahead)


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
