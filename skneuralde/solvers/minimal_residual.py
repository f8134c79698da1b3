"""Preconditioned minimal residuals: linear equations of which only products with vectors are known."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Linear = Callable[[Tensor], Tensor]

#: Directions that are tried.
_MOST = 60


def minimal_residual(apply: Linear, precondition: Linear, r: Tensor, *, tolerance: float) -> tuple[Tensor, Tensor]:
    """Solve ``apply(x) = r`` for a batch of equations ``(batch, ...)``, each to a residual of its own.

    Returns
    -------
    x : Tensor of shape (batch, ...)
    residual : Tensor of shape (batch, 1)
        Size of what is left over that of r.

    References
    ----------
    .. [1] S. C. Eisenstat, H. C. Elman and M. H. Schultz, "Variational iterative methods for nonsymmetric systems of
       linear equations", SIAM J. Numer. Anal. 20 (1983) 345-357 (generalised conjugate residuals).
    """
    flat = r.flatten(1)
    size = flat.norm(dim=1, keepdim=True)
    scale = torch.where(size > 0, size, 1.0)
    x, rest = torch.zeros_like(flat), flat
    directions: list[tuple[Tensor, Tensor]] = []
    left = size / scale
    for _ in range(_MOST):
        active = left > tolerance
        if not bool(active.any()):
            break
        z = precondition(rest.view_as(r)).flatten(1)
        q = apply(z.view_as(r)).flatten(1)
        for direction, image in directions:
            share = (q * image).sum(1, keepdim=True)
            z, q = z - share * direction, q - share * image
        length = q.norm(dim=1, keepdim=True)
        inverse = torch.where(length > 0, 1.0 / length, 0.0)
        z, q = z * inverse, q * inverse
        directions.append((z, q))
        share = torch.where(active, (rest * q).sum(1, keepdim=True), 0.0)
        x, rest = x + share * z, rest - share * q
        left = torch.where(active, rest.norm(dim=1, keepdim=True) / scale, left)
    return x.view_as(r), left
