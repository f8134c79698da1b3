"""Exact moments of a linear equation with constant coefficients."""

from __future__ import annotations

import torch
from torch import Tensor

#: exp(F h), and the mean and the covariance after an interval; the covariance is None without noise.
Flow = tuple[Tensor, Tensor, Tensor | None]

#: Taylor degree, and the largest norm for it: the truncation error is then below one float64 epsilon.
_DEGREE, _RADIUS = 8, 0.05


def transform(matrix: Tensor, vector: Tensor) -> Tensor:
    """M v of ``(batch, dim, dim)`` and ``(batch, dim)``; in one dimension a plain product, which is much faster."""
    return matrix[..., 0] * vector if vector.shape[-1] == 1 else (matrix @ vector[..., None])[..., 0]


def sandwich(matrix: Tensor, covariance: Tensor) -> Tensor:
    """M P M' of ``(batch, dim, dim)`` each."""
    return matrix.square() * covariance if matrix.shape[-1] == 1 else matrix @ covariance @ matrix.mT


def linear_gaussian_flow(matrix: Tensor, offset: Tensor, density: Tensor | None, h: Tensor) -> Flow:
    """Solve ``m' = a + F m`` and ``P' = F P + P F' + Q`` from zero over ``h (batch,)``.

    F = ``matrix (batch, dim, dim)`` is the drift's Jacobian, a = ``offset (batch, dim)`` the drift at the point of
    linearisation, and Q = ``density (batch, dim, dim)`` the noise's covariance per unit of time, None without noise.
    If h is negative, ``m' = -a - F m`` and ``P' = -F P - P F' + Q`` are solved over ``-h``.

    One dimension has a closed form. Otherwise a Taylor polynomial on ``h / 2^k`` is doubled ``k`` times; every interval
    has its own k. Unlike the exponential of Van Loan's block matrix this never forms exp(-F h), and so stays accurate
    if F is stiff (N. J. Higham, *Functions of Matrices*, 2008, chapter 10; C. F. Van Loan, IEEE TAC 23, 1978).
    """
    solve = _scalar_flow if offset.shape[-1] == 1 else _doubling_flow
    return solve(matrix, offset, density, h)


def _scalar_flow(matrix: Tensor, offset: Tensor, density: Tensor | None, h: Tensor) -> Flow:
    exponent = matrix * h[:, None, None]
    transition = exponent.exp()
    growth = _expm1_over(exponent)
    mean = offset * (h[:, None] * growth[..., 0])
    covariance = None
    if density is not None:
        # (exp(2x) - 1) / 2x is (exp(x) - 1) / x times the mean of exp(x) and one.
        covariance = density * (growth * ((0.5 * h.abs())[:, None, None] * (1.0 + transition)))
    return transition, mean, covariance


def _expm1_over(x: Tensor) -> Tensor:
    """(exp(x) - 1) / x with the right value and derivatives at zero."""
    small = x.abs() < 1e-4
    safe = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, 1.0 + x * (0.5 + x / 6.0), torch.expm1(safe) / safe)


def _doubling_flow(matrix: Tensor, offset: Tensor, density: Tensor | None, h: Tensor) -> Flow:
    size = matrix.detach().abs().sum(-1).amax(-1) * h.detach().abs()
    doublings = (size.nan_to_num(0.0, 0.0, 0.0).clamp_min(_RADIUS) / _RADIUS).log2().ceil()
    least, most = (int(x) for x in doublings.aminmax()) if len(h) else (0, 0)
    short = h * 2.0**-doublings
    scaled = matrix * short[:, None, None]
    unit = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand_as(matrix)

    # exp - 1 is doubled: squaring a matrix close to the unit matrix would lose digits every time.
    growth, mean_factor, power = torch.zeros_like(matrix), unit, unit
    for k in range(1, _DEGREE + 1):
        power = scaled @ power / k
        growth = growth + power
        if k < _DEGREE:
            mean_factor = mean_factor + power / (k + 1)
    mean = short[:, None] * transform(mean_factor, offset)
    covariance = None
    if density is not None:
        term = short.abs()[:, None, None] * density
        covariance = term
        for k in range(2, _DEGREE + 1):
            product = scaled @ term
            term = (product + product.mT) / k
            covariance = covariance + term

    transition = unit + growth
    for k in range(most):
        doubled = _doubled(transition, growth, mean, covariance)
        if k >= least:
            further = k < doublings
            doubled = _chosen(further, doubled, (growth, mean, covariance))
        growth, mean, covariance = doubled
        transition = unit + growth
    return transition, mean, covariance


def _doubled(transition: Tensor, growth: Tensor, mean: Tensor, covariance: Tensor | None) -> Flow:
    """The growth, mean and covariance of intervals of twice the length."""
    return (
        growth + transition @ growth,
        mean + transform(transition, mean),
        None if covariance is None else covariance + sandwich(transition, covariance),
    )


def _chosen(rows: Tensor, first: Flow, second: Flow) -> Flow:
    """The results of the first computation for some rows, a mask, and those of the second one for the others."""
    matrix, mean, covariance = second
    return (
        torch.where(rows[:, None, None], first[0], matrix),
        torch.where(rows[:, None], first[1], mean),
        None if first[2] is None or covariance is None else torch.where(rows[:, None, None], first[2], covariance),
    )
