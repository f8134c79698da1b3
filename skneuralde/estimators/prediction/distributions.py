"""Predictive distributions of rows: means, deviations and quantiles, from laws or from samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from skneuralde.inference import DiagonalGaussian, PredictiveDistribution


class Marginals(Protocol):
    """Laws of what would be observed, component by component."""

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Quantiles of shape (n, dim, n_levels)."""


@dataclass(frozen=True)
class OfLaw:
    """Marginals that a law knows."""

    law: PredictiveDistribution | DiagonalGaussian

    @torch.no_grad()
    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Quantiles of shape (n, dim, n_levels)."""
        return self.law.quantiles(torch.as_tensor(levels).to(self.law.mean)).cpu().numpy()


@dataclass(frozen=True)
class Empirical:
    """Marginals of samples ``(n_samples, n, dim)``."""

    samples: np.ndarray

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Quantiles of shape (n, dim, n_levels)."""
        return np.moveaxis(np.quantile(self.samples, levels, axis=0), 0, -1)


@dataclass
class Forecast:
    """Distribution of what would be observed at some positions.

    Attributes
    ----------
    mean, std : ndarray of shape (n, dim)
    parts : list of (rows, Marginals)
        The laws of all rows, in groups.
    """

    mean: np.ndarray
    std: np.ndarray
    parts: list[tuple[np.ndarray, Marginals]] = field(default_factory=list)

    def put_law(self, rows: np.ndarray, law: PredictiveDistribution) -> None:
        """Say that these rows have this law."""
        self.mean[rows], self.std[rows] = law.mean.cpu().numpy(), law.std.cpu().numpy()
        self.parts.append((rows, OfLaw(law)))

    def put_samples(self, rows: np.ndarray, samples: np.ndarray) -> None:
        """Take the quantiles of these rows from samples ``(n_samples, len(rows), dim)``."""
        self.parts.append((rows, Empirical(samples)))

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Quantiles of shape (n, dim, n_levels)."""
        result = np.full((*self.mean.shape, len(levels)), np.nan)
        for rows, marginals in self.parts:
            result[rows] = marginals.quantiles(levels)
        return result
