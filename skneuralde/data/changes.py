"""Changes of observed values over time, and their typical sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Changes:
    """Changes of a state over time."""

    values: np.ndarray  # (n, dim)
    gaps: np.ndarray  # (n,), the time that each change took
    #: Whether the next change starts where this one ends, ``(n - 1,)``; None if all changes are independent.
    follows: np.ndarray | None = None

    def rate(self) -> np.ndarray:
        """Typical size of the drift, ``(dim,)``.

        Measured by the mean product of neighbouring slopes, which is free of noise since increments of Brownian motion
        are independent; by the mean square of the slopes if the changes are independent.
        """
        if self.follows is None:
            return _root_mean((self.values / self.gaps[:, None]) ** 2)
        if not self.follows.any():
            return np.zeros(self.values.shape[1])
        slopes = self.values / self.gaps[:, None]
        products = slopes[:-1] * slopes[1:]
        del slopes  # panels are large
        return np.sqrt(np.abs(np.mean(products[self.follows], axis=0)))

    def volatility(self) -> np.ndarray:
        """Typical size of the diffusion, ``(dim,)``: the root mean square of the changes per square root of time."""
        squares = self.values**2
        squares /= self.gaps[:, None]
        return _root_mean(squares)


def _root_mean(squares: np.ndarray) -> np.ndarray:
    return np.sqrt(squares.mean(axis=0)) if len(squares) else np.zeros(squares.shape[1])
