"""Normal distributions: log densities of partly observed vectors, quantiles and draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_LOG_2PI = math.log(2.0 * math.pi)


class Gaussian(NamedTuple):
    """Normal distributions: means (n, dim) and covariances (n, dim, dim)."""

    mean: Tensor
    cov: Tensor

    @property
    def std(self) -> Tensor:
        """Standard deviation of every component, ``(n, dim)``."""
        return self.cov.diagonal(dim1=-2, dim2=-1).clamp_min(0.0).sqrt()

    def rows(self, rows: Tensor | slice) -> Gaussian:
        """Some of the distributions."""
        return Gaussian(self.mean[rows], self.cov[rows])

    def observed(self, observe: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Gaussian:
        """See `PredictiveDistribution.observed`."""
        return Gaussian(*observe(self.mean, self.cov))

    def log_density(self, target: Tensor) -> Tensor:
        """See `gaussian_log_density`."""
        return gaussian_log_density(target, self.mean, self.cov)

    def quantiles(self, levels: Tensor) -> Tensor:
        """Quantiles of every component, ``(n, dim, n_levels)``."""
        return self.mean[..., None] + self.std[..., None] * torch.special.ndtri(levels)

    def draw(self, normals: Tensor, choice: Tensor) -> Tensor:
        """Draws ``(n_samples, n, dim)`` from standard normal numbers of that shape; ``choice`` is not used."""
        factor = torch.linalg.cholesky_ex(self.cov)[0]
        return self.mean + (factor @ normals[..., None])[..., 0]


class DiagonalGaussian(NamedTuple):
    """Normal distributions of independent components: means and standard deviations (n, dim)."""

    mean: Tensor
    std: Tensor

    def quantiles(self, levels: Tensor) -> Tensor:
        """Quantiles of every component, ``(n, dim, n_levels)``."""
        return self.mean[..., None] + self.std[..., None] * torch.special.ndtri(levels)

    def log_density(self, target: Tensor) -> Tensor:
        """See `PredictiveDistribution.log_density`."""
        observed = ~target.isnan()
        white = torch.where(observed, target - self.mean, 0.0) / self.std
        density = -0.5 * (white.square() + _LOG_2PI) - self.std.log()
        return density.where(observed, 0.0).sum(-1)


def gaussian_log_density(target: Tensor, mean: Tensor, cov: Tensor) -> Tensor:
    """Log densities (n,) of N(mean, cov) at ``target (n, dim)``; NaN entries of the target are integrated out.

    They are zero if all entries of a target are NaN, and NaN if the covariance is not positive definite.
    """
    observed = ~target.isnan()
    residual = torch.where(observed, target - mean, 0.0)
    if target.shape[-1] == 1:
        variance = torch.where(observed, cov[..., 0], 1.0)
        density = -0.5 * (residual.square() / variance + variance.log() + _LOG_2PI)
        return torch.where(observed, density, 0.0)[:, 0]
    unit = torch.eye(target.shape[-1], dtype=cov.dtype, device=cov.device)
    both = observed[:, :, None] & observed[:, None, :]
    factor, info = torch.linalg.cholesky_ex(torch.where(both, cov, unit))
    white = torch.linalg.solve_triangular(factor, residual[..., None], upper=False)[..., 0]
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    density = -0.5 * white.square().sum(-1) - log_det - 0.5 * _LOG_2PI * observed.sum(-1, dtype=mean.dtype)
    return torch.where(info == 0, density, torch.full_like(density, math.nan))
