"""Phi functions of exponential integrators: ``phi_0 = exp``, ``phi_k(z) = (phi_{k-1}(z) - 1 / (k-1)!) / z``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Terms of the series, enough for float64 up to |z| = 1.
_TERMS = 17


def phi_functions(z: Tensor, order: int) -> list[Tensor]:
    """Return ``phi_0`` to ``phi_order`` of every element of z.

    They are summed as series for ``|z| <= 1``, where the recurrence would cancel, and by the recurrence elsewhere.

    References
    ----------
    .. [1] M. Hochbruck and A. Ostermann, "Exponential integrators", Acta Numerica 19 (2010) 209-286.
    """
    small = z.abs() <= 1.0
    near, far = torch.where(small, z, 0.0), torch.where(small, 1.0, z)
    values = [torch.exp(z)]
    beyond = values[0]
    for k in range(1, order + 1):
        beyond = torch.expm1(far) / far if k == 1 else (beyond - 1.0 / math.factorial(k - 1)) / far
        values.append(torch.where(small, _series(near, k), beyond))
    return values


def _series(z: Tensor, k: int) -> Tensor:
    """Sum of ``z^j / (j + k)!``."""
    value = torch.zeros_like(z)
    for j in reversed(range(_TERMS)):
        value = value * z + 1.0 / math.factorial(j + k)
    return value
