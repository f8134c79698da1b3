"""The first and the smallest step of an adaptive method."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.solvers.core.tolerance import Tolerance

#: A step must be at least this share of the times around it, some spacings of floating-point numbers,
SPACING = 16.0 * torch.finfo(torch.float64).eps
#: and of this share of the whole time: near zero, times are far closer to each other.
_NEAR_ZERO = torch.finfo(torch.float64).eps


def first_step(
    drift: Callable[[Tensor], Tensor],
    u0: Tensor,
    f0: Tensor,
    tolerance: Tolerance,
    order: float,
    error: float,
    fallback: float | Tensor,
) -> Tensor:
    """A first step for each path, float64 (batch, 1), from the scales of u, u' and u''.

    ``drift`` is the drift at the initial time as a function of the state; one probe differentiates it along the
    solution, so that later times are not evaluated. ``error`` is the error to aim at, relative to the tolerance, and
    ``fallback`` is the step of a path whose state does not move at first.

    Notes
    -----
    As in [1]_, except for the rate at which derivatives grow: here it is that from the first to the second one, so
    that the step does not depend on the unit of time.

    References
    ----------
    .. [1] E. Hairer, S. Norsett and G. Wanner, *Solving Ordinary Differential Equations I* (1993), section II.4.
    """
    speed = tolerance.measure(f0, u0)
    # For a state that starts at zero, a hundredth of the tolerance stands for its size.
    probe = 0.01 * tolerance.measure(u0, u0).clamp_min(1.0) / speed
    probe = torch.where(probe.isfinite(), probe, fallback)
    change = drift(u0 + probe.to(u0.dtype) * f0) - f0
    rate = tolerance.measure(change, u0) / (probe * speed)
    step = (error / (speed * rate ** (order - 1.0))) ** (1.0 / order)
    step = torch.minimum(step, 1e4 * error * probe)
    return torch.where(step.isfinite() & (step > 0), step, fallback)


def smallest_step(start: Tensor, end: Tensor) -> Tensor:
    """Length below which a step from the start no longer moves the time."""
    return SPACING * torch.maximum(start.abs(), _NEAR_ZERO * end)
