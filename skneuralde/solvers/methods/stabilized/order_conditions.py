"""Elementary weights of Runge-Kutta methods up to order four, one for each rooted tree.

The trees are, in this order, ``t, [t], [t, t], [[t]], [t, t, t], [t, [t]], [[t, t]], [[[t]]]``, where t is a single
vertex. See E. Hairer, S. Norsett and G. Wanner, *Solving Ordinary Differential Equations I* (1993), section II.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Elementary weights of the exact solution.
EXACT = (1.0, 1 / 2, 1 / 3, 1 / 6, 1 / 4, 1 / 8, 1 / 12, 1 / 24)


def of_slope(stage: np.ndarray) -> np.ndarray:
    """Elementary weights of h f(K) from those of a stage K: products over the branches of each tree."""
    t, line, fork, longer = stage[:4]
    return np.array([1.0, t, t * t, line, t**3, t * line, fork, longer])


def of_stages(mu: Sequence[float], nu: Sequence[float]) -> np.ndarray:
    """Elementary weights of the stages ``K[j+1] = K[j-1] + nu[j] (K[j] - K[j-1]) + mu[j] h f(K[j])``, (n, 8)."""
    weights = np.zeros((len(mu) + 1, len(EXACT)))
    before = weights[0]
    for j, (own, other) in enumerate(zip(mu, nu, strict=True)):
        now = weights[j]
        weights[j + 1] = before + other * (now - before) + own * of_slope(now)
        before = now
    return weights
