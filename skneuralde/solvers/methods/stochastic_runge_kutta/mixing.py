"""Diagonal noise that does not commute: components of g that read other components of the state.

Such noise brings in the double integrals of one Brownian motion along another. Given increments and space-time areas,
their mean is known; what deviates from it has the standard deviation ``h / sqrt(12)``, and limits the strong order to
1/2 (J. Foster, *Numerical approximations for stochastic differential equations*, PhD thesis, Oxford 2020, theorem
5.1.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.right_hand_side import RightHandSide, TimePoint

#: Change of each component by which the dependencies of g are found, relative to its size.
_CHANGE = 0.1
#: Error of the whole solution, in tolerances of a step.
_GLOBAL_ERRORS = 90.0

ADVICE = (
    "the noise does not commute, since components of the diffusion depend on other components of the state, so that "
    "methods converge with strong order 1/2 only: loosen rtol and atol, or give rtol=None and dt if only distributions "
    "matter, or write the diffusion so that each component depends on its own component of the state"
)


@torch.no_grad()
def mixing_components(rhs: RightHandSide, t: Tensor, u: Tensor) -> tuple[int, ...]:
    """The components of the state that other components of a diagonal diffusion read, on any path, at the start."""
    if rhs.problem.noise != "diagonal" or rhs.has_additive_noise or u.shape[1] == 1 or len(u) == 0:
        return ()
    now = rhs.at(t, u.dtype)
    # Beside the start, where a derivative may vanish.
    size = u.abs() + (u == 0.0).to(u.dtype)
    u = u + 0.5 * _CHANGE * size
    base = rhs.diffusion(now, u)
    smallest = torch.finfo(u.dtype).eps ** 0.75
    found = []
    for j in range(u.shape[1]):
        moved = u.clone()
        moved[:, j] += _CHANGE * size[:, j]
        change = (rhs.diffusion(now, moved) - base).abs() > smallest * base.abs()
        change[:, j] = False
        if bool(change.any()):
            found.append(j)
    return tuple(found)


def mixed_terms(
    rhs: RightHandSide,
    now: TimePoint,
    h: Tensor | float,
    u: Tensor,
    g: Tensor,
    noise: Increments,
    components: tuple[int, ...],
) -> tuple[Tensor, Tensor]:
    """The double integrals that a step for noise that commutes has wrong, and the size of what is not known of them.

    Both are (batch, dim). Such a step takes the integral of W_i along itself for that of W_j along W_i.
    """
    assert noise.area is not None
    h = torch.as_tensor(h, dtype=u.dtype, device=u.device).expand_as(u)
    root, w, area = h.sqrt(), noise.w, noise.area
    own = 0.5 * (w * w - h)
    total, square = torch.zeros_like(u), torch.zeros_like(u)
    for j in components:
        unit = torch.zeros_like(u[0])
        unit[j] = 1.0
        # The change of each other component of g if the j-th moves by its noise.
        change = (rhs.diffusion(now, u + root * g * unit) - g) * (1.0 - unit)
        along = 0.5 * w * w[:, j, None] + area[:, j, None] * w - area * w[:, j, None]
        total = total + change * (along - own) / root
        square = square + change * change
    return total, (square * h / 12.0).sqrt()


def error_so_far(rhs: RightHandSide, t: Tensor, h: Tensor | float, local: Tensor) -> Tensor:
    """Errors (batch, dim) to be compared with a tolerance, from the local errors of mean zero of steps from ``t``.

    They add up to a random walk: as if all steps so far had been like this one.
    """
    steps = 1.0 + (t - rhs.lower).clamp_min(0.0) / h
    return local * steps.sqrt().to(local.dtype) / _GLOBAL_ERRORS
