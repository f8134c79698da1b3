"""Preconditioned minimal residuals for linear equations whose matrix is known by its products with vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Linear = Callable[[Tensor], Tensor]

#: Maximal number of search directions.
_MOST = 60


#: Search directions and their images, which are orthonormal.
Directions = list[tuple[Tensor, Tensor]]


def minimal_residual(
    apply: Linear, precondition: Linear, r: Tensor, *, tolerance: float, directions: Directions | None = None
) -> tuple[Tensor, Tensor]:
    """Solve ``apply(x) = r`` for a batch of equations ``(batch, ...)``; each stops at its own residual.

    Parameters
    ----------
    apply, precondition : callable
        ``(batch, ...)`` to the same shape.
    r : Tensor of shape (batch, ...)
    tolerance : float
        Norm of the residual, relative to the norm of r, at which iterations stop.
    directions : list, optional
        Search directions of earlier solves with the same matrix and other r, which are used first; new ones are added.

    Returns
    -------
    x : Tensor of shape (batch, ...)
    residual : Tensor of shape (batch, 1)
        Norm of the residual, relative to the norm of r.

    References
    ----------
    .. [1] S. C. Eisenstat, H. C. Elman and M. H. Schultz, "Variational iterative methods for nonsymmetric systems of
       linear equations", SIAM J. Numer. Anal. 20 (1983) 345-357 (generalised conjugate residuals).
    .. [2] M. L. Parks, E. de Sturler, G. Mackey, D. D. Johnson and S. Maiti, "Recycling Krylov subspaces for sequences
       of linear systems", SIAM J. Sci. Comput. 28 (2006) 1651-1674.
    """
    flat = r.flatten(1)
    size = flat.norm(dim=1, keepdim=True)
    scale = torch.where(size > 0, size, 1.0)
    x, rest = torch.zeros_like(flat), flat
    directions = [] if directions is None else directions
    for z, q in directions:
        share = (rest * q).sum(1, keepdim=True)
        x, rest = torch.addcmul(x, share, z), torch.addcmul(rest, share, q, value=-1)
    left = (rest.norm(dim=1, keepdim=True) if directions else size) / scale
    for _ in range(_MOST):
        active = left > tolerance
        if not bool(active.any()):
            break
        z = precondition(rest.view_as(r)).flatten(1)
        q = apply(z.view_as(r)).flatten(1)
        for direction, image in directions:
            share = (q * image).sum(1, keepdim=True)
            z, q = torch.addcmul(z, share, direction, value=-1), torch.addcmul(q, share, image, value=-1)
        length = q.norm(dim=1, keepdim=True)
        # Equations that are solved get no further direction, so that none depends on the others of the batch.
        inverse = torch.where(active & (length > 0), 1.0 / length, 0.0)
        z, q = z * inverse, q * inverse
        directions.append((z, q))
        share = (rest * q).sum(1, keepdim=True)
        x, rest = torch.addcmul(x, share, z), torch.addcmul(rest, share, q, value=-1)
        left = torch.where(active, rest.norm(dim=1, keepdim=True) / scale, left)
    return x.view_as(r), left
