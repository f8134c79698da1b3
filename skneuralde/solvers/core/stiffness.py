"""Stiffness: step length times the rate at which the fastest component decays."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.spectral_radius import Spectrum

#: Up to this number of states Jacobians are dense matrices.
MOST_STATES = 64
#: Squarings of a matrix; the estimate of the spectral radius is too large by a factor of (condition)^(1 / 32) at most.
_SQUARINGS = 5


def spectral_radius(matrix: Tensor) -> Tensor:
    """Spectral radius of matrices ``(n, d, d)``, float64 (n, 1), from the norm of a high power.

    The norm of the matrix itself would depend on the units of the states: an oscillator of frequency w has the norm
    w^2 and the spectral radius w.
    """
    log, share, tiny = torch.zeros_like(matrix[:, :1, :1]), 1.0, torch.finfo(matrix.dtype).tiny
    for _ in range(_SQUARINGS):
        norm = matrix.norm(dim=(1, 2), keepdim=True)
        log = log + share * norm.log()
        matrix = matrix / norm.clamp_min(tiny)
        matrix, share = matrix @ matrix, 0.5 * share
    log = log + share * matrix.norm(dim=(1, 2), keepdim=True).log()
    return log.exp()[:, :, 0].double()


def stiffness_of_stages(apart: Tensor, change: Tensor, scale: Tensor) -> Tensor:
    """Step length times the rate of decay, float64 (n, 1), from two stages at the same time; 0 where nothing decays.

    The stages are ``apart`` from each other, and their slopes, times the step, differ by ``change``; all (n, dim). The
    components are measured by ``scale``, the size that the tolerance gives them: where stability limits a step, the
    fast ones are as large as that and all others far smaller.

    References
    ----------
    .. [1] E. Hairer and G. Wanner, *Solving Ordinary Differential Equations II* (1996), section IV.2.
    """
    apart, change = apart / scale, change / scale
    ratio = change.norm(dim=1, keepdim=True) / apart.norm(dim=1, keepdim=True)
    decays = (apart * change).sum(1, keepdim=True) < 0.0
    return torch.where(decays, ratio, 0.0).double()


def has_eigenvalues(rhs: RightHandSide, u: Tensor) -> bool:
    """Whether the Jacobian is a dense matrix."""
    return rhs.field is None and u.shape[1] <= MOST_STATES


@torch.no_grad()
def eigenvalues(rhs: RightHandSide, t: Tensor, u: Tensor, least: Tensor | None = None) -> Tensor:
    """Eigenvalues of the Jacobian, complex128 (n, dim), at times ``t (n, 1)``; 0 where it is not finite.

    They may be 0 where all are below ``least (n, 1)``.
    """
    _, slope = rhs.linearized_drift(rhs.at(t, u.dtype), u)
    slope = slope.double()
    # No eigenvalue is larger than a norm.
    size = slope.abs()
    bound = torch.minimum(size.sum(1).amax(1, keepdim=True), size.sum(2).amax(1, keepdim=True))
    needed = bound.isfinite() if least is None else bound.isfinite() & (bound >= least)
    rows = needed[:, 0].nonzero()[:, 0]
    values = torch.zeros(u.shape, dtype=torch.complex128, device=u.device)
    return values.index_copy_(0, rows, torch.linalg.eigvals(slope[rows])) if len(rows) else values


@torch.no_grad()
def extreme_rates(rhs: RightHandSide, t: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Rates of the fastest decay and of the fastest growth, float64 (n, 1), at times ``t (n, 1)`` and states ``u``.

    They are the largest real parts of the eigenvalues of minus the Jacobian and of the Jacobian. For many states and
    for fields one of them is the spectral radius, depending on its direction, and the other one 0.
    """
    if has_eigenvalues(rhs, u):
        rates = eigenvalues(rhs, t, u).real
        return -rates.amin(1, keepdim=True), rates.amax(1, keepdim=True)
    now = rhs.at(t, u.dtype)
    spectrum = Spectrum.estimate(rhs, now, u)
    decays = (rhs.derivative(now, u, spectrum.vector) * spectrum.vector).sum(1, keepdim=True) < 0.0
    radius = spectrum.radius.double()
    return torch.where(decays, radius, 0.0), torch.where(decays, 0.0, radius)
