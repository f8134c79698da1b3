"""Predictive distributions of rows: means, standard deviations and quantiles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from skneuralde.inference import DiagonalGaussian, PredictiveDistribution


class Marginals(Protocol):
    """Distributions of observations, component by component."""

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Quantiles of shape (n, dim, n_levels)."""


@dataclass(frozen=True)
class ClosedForm:
    """Marginals of a distribution in closed form."""

    distribution: PredictiveDistribution | DiagonalGaussian

    @torch.no_grad()
    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Quantiles of shape (n, dim, n_levels)."""
        return self.distribution.quantiles(torch.as_tensor(levels).to(self.distribution.mean)).cpu().numpy()


@dataclass(frozen=True)
class Empirical:
    """Marginals of samples ``(n_samples, n, dim)``."""

    samples: np.ndarray

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Quantiles of shape (n, dim, n_levels)."""
        return np.moveaxis(np.quantile(self.samples, levels, axis=0), 0, -1)


@dataclass
class Forecast:
    """Distribution of the observations at some positions.

    Attributes
    ----------
    mean, std : ndarray of shape (n, dim)
    parts : list of (rows, Marginals)
        The distributions of all rows, in groups.
    """

    mean: np.ndarray
    std: np.ndarray
    parts: list[tuple[np.ndarray, Marginals]] = field(default_factory=list)

    def put(self, rows: np.ndarray, distribution: PredictiveDistribution) -> None:
        """Set the distribution of these rows."""
        self.mean[rows], self.std[rows] = distribution.mean.cpu().numpy(), distribution.std.cpu().numpy()
        self.parts.append((rows, ClosedForm(distribution)))

    def put_samples(self, rows: np.ndarray, samples: np.ndarray) -> None:
        """Take the quantiles of these rows from samples ``(n_samples, len(rows), dim)``."""
        self.parts.append((rows, Empirical(samples)))

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Quantiles of shape (n, dim, n_levels)."""
        result = np.full((*self.mean.shape, len(levels)), np.nan)
        for rows, marginals in self.parts:
            result[rows] = marginals.quantiles(levels)
        return result
