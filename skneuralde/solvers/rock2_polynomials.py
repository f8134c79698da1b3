"""The stability polynomials of ROCK2, from the position of two of their zeros.

``R(x) = w(x) P(x)``, scaled to 1 at ``x0``, where w has the zeros ``1 - p / s^2 +- i q / s^2`` and P, of degree s - 2,
is orthogonal on [-1, 1] for the weight ``w(x)^2 / sqrt(1 - x^2)``: so w P swings evenly on [-1, 1], as in Bernstein's
asymptotic formula. ``x = x0 + z / slope`` is where the method has ``z = h lambda``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Orthogonal:
    """The orthonormal polynomials ``b[j] P[j+1] = (x - a[j]) P[j] - b[j-1] P[j-1]``, with ``P[0] = start``."""

    start: float
    a: np.ndarray
    b: np.ndarray

    def values(self, x: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The last polynomial and two derivatives."""
        x = np.asarray(x, dtype=np.float64)
        p, d1, d2 = np.full(x.shape, self.start), np.zeros(x.shape), np.zeros(x.shape)
        p_before, d1_before, d2_before = d1, d1, d1
        before = 0.0
        for a, b in zip(self.a, self.b, strict=True):
            p_next = ((x - a) * p - before * p_before) / b
            d1_next = ((x - a) * d1 + p - before * d1_before) / b
            d2_next = ((x - a) * d2 + 2.0 * d1 - before * d2_before) / b
            p_before, d1_before, d2_before = p, d1, d2
            p, d1, d2, before = p_next, d1_next, d2_next, b
        return p, d1, d2


def orthogonal(s: int, p: float, q: float) -> Orthogonal:
    """The polynomials up to degree ``s - 2``, by the Stieltjes procedure on a quadrature that is exact for them."""
    degree = s - 2
    n = degree + 3
    x = np.cos((2.0 * np.arange(1, n + 1) - 1.0) * np.pi / (2.0 * n))
    weight = factor(s, p, q, x)[0] ** 2 / n
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


def factor(s: int, p: float, q: float, x: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """The factor w and its derivative."""
    shifted = np.asarray(x, dtype=np.float64) - 1.0 + p / s**2
    return shifted**2 + (q / s**2) ** 2, 2.0 * shifted


def stability(s: int, p: float, q: float, x: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The unscaled polynomial ``w P`` and two derivatives."""
    value, d1, d2 = orthogonal(s, p, q).values(x)
    w, slope = factor(s, p, q, x)
    return w * value, slope * value + w * d1, 2.0 * value + 2.0 * slope * d1 + w * d2


@dataclass(frozen=True)
class Scheme:
    """Coefficients of one step with s stages.

    Attributes
    ----------
    mu, nu : list of float
        ``K[j+1] = K[j-1] + nu[j] (K[j] - K[j-1]) + mu[j] h f(K[j])`` for j from 0 to s - 3, with nu[0] = 1.
    nodes : list of float
        Where in the step the stages K lie, K[0] first; s - 1 of them.
    sigma, tau : float
        The last two stages make up for the factor ``1 + 2 sigma z + tau z^2``.
    length : float
        The method is stable for z in ``[-length, 0]``.
    """

    mu: list[float]
    nu: list[float]
    nodes: list[float]
    sigma: float
    tau: float
    length: float


def scheme(s: int, p: float, q: float, d: float) -> Scheme:
    """The step of s stages whose polynomial has the value 1 at ``x0 = 1 + d / s^2``."""
    x0 = 1.0 + d / s**2
    family = orthogonal(s, p, q)
    value, d1, _ = family.values(x0)
    w, w1 = factor(s, p, q, x0)
    slope = float(w1 / w + d1 / value)  # of the scaled polynomial with respect to x
    mu, nu, first, second = [], [], [0.0], [0.0]
    ratio, before = 0.0, 0.0  # of neighbouring polynomials at x0
    for j, (a, b) in enumerate(zip(family.a, family.b, strict=True)):
        growth = (x0 - a - before * ratio) / b
        mu.append(float(1.0 / (slope * b * growth)))
        nu.append(float((x0 - a) / (b * growth)))
        one, two = (first[j - 1], second[j - 1]) if j else (0.0, 0.0)
        first.append(one + nu[j] * (first[j] - one) + mu[j])
        second.append(two + nu[j] * (second[j] - two) + 2.0 * mu[j] * first[j])
        ratio, before = 1.0 / growth, b
    # With these the step has order 2, however accurate the zeros are.
    sigma = 0.5 * (1.0 - first[-1])
    tau = 0.5 * (1.0 - second[-1] - 4.0 * sigma * first[-1])
    return Scheme(mu, nu, first, sigma, tau, (x0 + 1.0) * slope)
