"""Stability polynomials of ROCK2 and ROCK4, computed from some of their zeros.

``R(x) = w(x) P(x)``, scaled to 1 at ``x0``, where w has one or two pairs of zeros ``1 - p / s^2 +- i q / s^2`` and P is
orthogonal on [-1, 1] for the weight ``w(x)^2 / sqrt(1 - x^2)``. Then w P, of degree s, oscillates with nearly constant
amplitude on [-1, 1], by Bernstein's asymptotic formula. ``x = x0 + z / slope`` corresponds to ``z = h lambda``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

#: The pairs (p, q) of the zeros of w.
Zeros = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Orthogonal:
    """The orthonormal polynomials ``b[j] P[j+1] = (x - a[j]) P[j] - b[j-1] P[j-1]``, with ``P[0] = start``."""

    start: float
    a: np.ndarray
    b: np.ndarray

    def taylor(self, x: np.ndarray | float, order: int) -> np.ndarray:
        """Coefficients of the last polynomial in powers of the distance from x, along axis 0."""
        x = np.asarray(x, dtype=np.float64)
        now, last, before = np.zeros((order + 1, *x.shape)), np.zeros((order + 1, *x.shape)), 0.0
        now[0] = self.start
        for a, b in zip(self.a, self.b, strict=True):
            following = (x - a) * now - before * last
            following[1:] += now[:-1]
            last, now, before = now, following / b, b
        return now


def orthogonal(s: int, zeros: Zeros) -> Orthogonal:
    """The polynomials up to degree s less that of w, by the Stieltjes procedure on a quadrature that is exact."""
    degree = s - 2 * len(zeros)
    n = s + 1
    x = np.cos((2.0 * np.arange(1, n + 1) - 1.0) * np.pi / (2.0 * n))
    weight = np.ones(n) / n
    for p, q in zeros:
        weight *= _quadratic(s, p, q, x)[0] ** 2
    now = np.full(n, 1.0 / np.sqrt(weight.sum()))
    start = float(now[0])
    last, before = np.zeros(n), 0.0
    a, b = np.zeros(degree), np.zeros(degree)
    for j in range(degree):
        a[j] = (weight * x * now * now).sum()
        following = (x - a[j]) * now - before * last
        b[j] = before = np.sqrt((weight * following * following).sum())
        last, now = now, following / before
    return Orthogonal(start, a, b)


def stability(s: int, zeros: Zeros, x: np.ndarray | float, order: int = 0) -> np.ndarray:
    """Coefficients of the unscaled polynomial ``w P`` in powers of the distance from x, along axis 0."""
    return _times_w(s, zeros, x, orthogonal(s, zeros).taylor(x, order))


def _times_w(s: int, zeros: Zeros, x: np.ndarray | float, series: np.ndarray) -> np.ndarray:
    for p, q in zeros:
        value, slope = _quadratic(s, p, q, x)
        product = value * series
        product[1:] += slope * series[:-1]
        product[2:] += series[:-2]
        series = product
    return series


def _quadratic(s: int, p: float, q: float, x: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """The factor of w that has one pair of zeros, and its derivative."""
    shifted = np.asarray(x, dtype=np.float64) - 1.0 + p / s**2
    return shifted**2 + (q / s**2) ** 2, 2.0 * shifted


class Recurrence(NamedTuple):
    """The stages whose polynomials are ``P[j](x) / P[j](x0)``.

    Attributes
    ----------
    mu, nu : list of float
        ``K[j+1] = K[j-1] + nu[j] (K[j] - K[j-1]) + mu[j] h f(K[j])`` for j from 0 on, with nu[0] = 1.
    length : float
        The method with the final stages is stable for z in ``[-length, 0]``.
    """

    mu: list[float]
    nu: list[float]
    length: float


def recurrence(s: int, zeros: Zeros, d: float) -> Recurrence:
    """The recurrence of the method of s stages whose polynomial has the value 1 at ``x0 = 1 + d / s^2``."""
    x0 = 1.0 + d / s**2
    family = orthogonal(s, zeros)
    value, first = _times_w(s, zeros, x0, family.taylor(x0, 1))
    slope = float(first / value)  # of the scaled polynomial with respect to x
    mu, nu = [], []
    ratio, before = 0.0, 0.0  # ratio of successive polynomials at x0
    for a, b in zip(family.a, family.b, strict=True):
        growth = (x0 - a - before * ratio) / b
        mu.append(float(1.0 / (slope * b * growth)))
        nu.append(float((x0 - a) / (b * growth)))
        ratio, before = 1.0 / growth, b
    return Recurrence(mu, nu, (x0 + 1.0) * slope)
