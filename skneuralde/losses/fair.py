"""Fair estimators of scores from simulated paths: unbiased at any number of paths, antithetic ones included.

The mean distance of two independent copies is estimated over all pairs of paths that are independent of each other
[1]_ [2]_. Two paths with mirrored noise are not independent, so their pair is left out: it would make the mean distance
too large.

References
----------
.. [1] T. Gneiting and A. E. Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 102 (2007).
.. [2] C. A. T. Ferro, "Fair scores for ensemble forecasts", QJRMS 140 (2014).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: All distances of vectors are taken within blocks of so many paths, so that memory grows linearly.
_BLOCK = 64


def fair_crps(residual: Tensor, *, mirrored: bool) -> Tensor:
    """Continuous ranked probability score of each entry, ``(...)``, of ``residual (paths, ...)``, paths minus data."""
    return residual.abs().mean(0) - 0.5 * mean_difference(residual, mirrored=mirrored)


def fair_energy_score(residual: Tensor, *, mirrored: bool) -> Tensor:
    """Energy score of vectors, ``(...)``, from ``residual (paths, ..., dim)``: paths minus data."""
    return distance(residual).mean(0) - 0.5 * mean_distance(residual, mirrored=mirrored)


def crps_of_members(x: Tensor, residual: Tensor, *, mirrored: bool) -> Tensor:
    """Contribution (paths, ...) of each path to `fair_crps` if it is taken from ``x`` and the others from ``residual``.

    Differences are summed by sorting.
    """
    n = len(residual)
    rows = residual.movedim(0, -1).sort(-1).values
    at = x.movedim(0, -1).contiguous()
    below = torch.nn.functional.pad(rows.cumsum(-1), (1, 0))
    rank = torch.searchsorted(rows.contiguous(), at)
    apart = at * (2 * rank - n) + below[..., -1:] - 2.0 * below.gather(-1, rank)
    apart = apart.movedim(-1, 0) - _to_dependent(x, residual, torch.abs, mirrored=mirrored)
    return x.abs() / n - apart / independent_pairs(n, mirrored=mirrored)


def energy_of_members(x: Tensor, residual: Tensor, *, mirrored: bool) -> Tensor:
    """Contribution (paths, ...) of each path to `fair_energy_score`, likewise; from (paths, ..., dim)."""
    apart, pairs = [], 0
    for block, others in zip(x.split(_BLOCK), residual.split(_BLOCK), strict=True):
        between = distances(block.movedim(0, -2), others.movedim(0, -2))
        apart.append(between.sum(-1).movedim(-1, 0) - _to_dependent(block, others, distance, mirrored=mirrored))
        pairs += independent_pairs(len(block), mirrored=mirrored)
    return distance(x) / len(x) - torch.cat(apart) / pairs


def _to_dependent(x: Tensor, paths: Tensor, size: Callable[[Tensor], Tensor], *, mirrored: bool) -> Tensor:
    """Distance of each path of x to the path in its place, plus that to the mirror image of that path."""
    total = size(x - paths)
    if not mirrored:
        return total
    even = len(x) // 2 * 2
    image = paths[:even].unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    return torch.cat([total[:even] + size(x[:even] - image), total[even:]])


def mean_difference(x: Tensor, *, mirrored: bool) -> Tensor:
    """Mean absolute difference of two independent paths, ``(...)``, from ``x (paths, ...)``; by sorting."""
    n = len(x)
    rank = torch.arange(1 - n, n, 2, dtype=x.dtype, device=x.device)
    total = 2.0 * torch.tensordot(rank, x.sort(0).values, dims=1)
    if mirrored:
        total = total - 2.0 * (x[: n // 2 * 2 : 2] - x[1::2]).abs().sum(0)
    return total / independent_pairs(n, mirrored=mirrored)


def mean_distance(x: Tensor, *, mirrored: bool) -> Tensor:
    """Mean Euclidean distance of two independent paths, ``(...)``, from ``x (paths, ..., dim)``."""
    total, pairs = x.new_zeros(x.shape[1:-1]), 0
    for block in x.split(_BLOCK):
        n = len(block)
        rows = block.movedim(0, -2)
        total = total + distances(rows, rows).sum((-2, -1))
        if mirrored:
            total = total - 2.0 * distance(block[: n // 2 * 2 : 2] - block[1::2]).sum(0)
        pairs += independent_pairs(n, mirrored=mirrored)
    return total / pairs


def distance(x: Tensor) -> Tensor:
    """Euclidean norm of the last axis; its gradient at zero is zero."""
    return torch.linalg.vector_norm(x, dim=-1)


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Distances of all rows, (..., n, m), from (..., n, dim) and (..., m, dim)."""
    # A matrix product would lose the distances of points that are near each other.
    return torch.cdist(x, y.expand(*x.shape[:-2], *y.shape[-2:]), compute_mode="donot_use_mm_for_euclid_dist")


def independent_pairs(n: int, *, mirrored: bool) -> int:
    """Number of ordered pairs of different paths that are independent."""
    return n * (n - 1) - (2 * (n // 2) if mirrored else 0)
