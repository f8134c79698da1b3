"""Diagonal noise that does not commute: components of g that read other components of the state.

Such noise brings in the double integrals of one Brownian motion along another. Given increments and space-time areas,
their mean is known; what deviates from it has the standard deviation ``h / sqrt(12)``, and limits the strong order to
1/2 (J. Foster, *Numerical approximations for stochastic differential equations*, PhD thesis, Oxford 2020, theorem
5.1.2).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.right_hand_side import RightHandSide, TimePoint

#: Change of each component by which the dependencies of g are found, relative to its size.
_CHANGE = 0.1
#: Powers of ten of the sizes of other states, and how many sizes; states of each size.
_SIZES, _PER_SIZE = (-3.0, 6.0, 10), 3
#: The longest step, as a share of the power of two above the whole time: what other components read along a longer one
#: cannot be seen from its ends.
LONGEST_STEP = 1.0 / 16.0
#: Error of the whole solution, in tolerances of a step.
_GLOBAL_ERRORS = 48.0

ADVICE = (
    "the noise does not commute, since components of the diffusion depend on other components of the state, so that "
    "methods converge with strong order 1/2 only: loosen rtol and atol, or give rtol=None and dt if only distributions "
    "matter, or write the diffusion so that each component depends on its own component of the state"
)


@torch.no_grad()
def mixing_components(rhs: RightHandSide, t: Tensor, u: Tensor) -> tuple[int, ...]:
    """The components of the state that other components of a diagonal diffusion read, on any path, at any time.

    A diffusion may read them in other states only. So it is also looked at in states of all sizes, spread over the time
    of the solution, which are the same for every batch.
    """
    if rhs.problem.noise != "diagonal" or rhs.has_additive_noise or u.shape[1] == 1 or len(u) == 0:
        return ()
    # Beside the start, where a derivative may vanish.
    size = u.abs() + (u == 0.0).to(u.dtype)
    found = _read_by_others(rhs, t, u + 0.5 * _CHANGE * size, _CHANGE * size)
    generator = np.random.default_rng(0)
    scale = np.logspace(*_SIZES).repeat(_PER_SIZE)[:, None]
    start, change = scale * generator.uniform(-1.0, 1.0, (2, len(scale), u.shape[1]))
    path = torch.arange(max(len(scale), len(u) if rhs.context is not None else 0), device=u.device)
    states, changes = (torch.as_tensor(x).to(u)[path % len(scale)] for x in (start, change))
    path = path % len(u)
    share = torch.as_tensor(generator.uniform(size=(len(path), 1))).to(t.device)
    lower, upper = (x.expand(len(u), 1)[path] for x in (rhs.lower, rhs.upper))
    try:
        found |= _read_by_others(rhs.select(path), lower + share * (upper - lower), states, changes)
    except Exception:  # a function of the caller's that refuses states outside its domain may read anything inside
        found = set(range(u.shape[1]))
    return tuple(sorted(found))


def _read_by_others(rhs: RightHandSide, t: Tensor, u: Tensor, change: Tensor) -> set[int]:
    """The components whose change changes other components of g somewhere; a g without a value tells nothing."""
    now, smallest = rhs.at(t, u.dtype), torch.finfo(u.dtype).eps ** 0.75
    g = rhs.problem.diffusion
    assert g is not None
    base = g(now.t, u, now.context)
    found = set()
    for j in range(u.shape[1]):
        moved = u.clone()
        moved[:, j] += change[:, j]
        differs = (g(now.t, moved, now.context) - base).abs() > smallest * base.abs()
        differs[:, j] = False
        if bool(differs.any()):
            found.add(j)
    return found


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
    w, area = noise.w, noise.area
    own = 0.5 * (w * w - h)
    # A kink that the step reaches may be beyond the usual size of its noise.
    reach = torch.maximum(w.abs(), h.sqrt()).copysign(w)
    total, square = torch.zeros_like(u), torch.zeros_like(u)
    for j in components:
        unit = torch.zeros_like(u[0])
        unit[j] = 1.0
        # The slope of each other component of g in the j-th noise.
        slope = (rhs.diffusion(now, u + reach * g * unit) - g) * (1.0 - unit) / reach[:, j, None]
        along = 0.5 * w * w[:, j, None] + area[:, j, None] * w - area * w[:, j, None]
        total = total + slope * (along - own)
        square = square + slope * slope
    return total, h * (square / 12.0).sqrt()


def error_so_far(rhs: RightHandSide, t: Tensor, h: Tensor | float, local: Tensor) -> Tensor:
    """Errors (batch, dim) to be compared with a tolerance, from the local errors of mean zero of steps from ``t``.

    They add up to a random walk: as if all steps so far had been like this one.
    """
    steps = 1.0 + (t - rhs.lower).clamp_min(0.0) / h
    return local * steps.sqrt().to(local.dtype) / _GLOBAL_ERRORS
