"""Mixtures of normal distributions, whose components differ in the number and time of jumps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skneuralde.inference.distributions.gaussian import gaussian_log_density

#: Steps of the search for a quantile, enough for 15 digits by bisection alone.
_MAX_STEPS = 60


@dataclass(frozen=True)
class Mixture:
    """Distributions of n vectors that are normal given the number of jumps and the time of a single jump."""

    log_weight: Tensor  #: (component, n), logarithms of the weights, which sum to one
    means: Tensor  #: (component, n, dim)
    covs: Tensor  #: (component, n, dim, dim)
    #: Jumps of each component; the largest number stands for itself and all larger ones. Only the first has none.
    jumps: tuple[int, ...]
    #: The channel of each component with a single jump; None for the others.
    channels: tuple[int | None, ...] = ()

    @property
    def weight(self) -> Tensor:
        """Weights of the components, ``(component, n)``."""
        return self.log_weight.exp()

    @property
    def mean(self) -> Tensor:
        """Means, ``(n, dim)``."""
        return (self.weight[..., None] * self.means).sum(0)

    @property
    def cov(self) -> Tensor:
        """Covariances, ``(n, dim, dim)``."""
        off = self.means - self.mean
        covs = self.covs + off[..., :, None] * off[..., None, :]
        return (self.weight[..., None, None] * covs).sum(0)

    @property
    def std(self) -> Tensor:
        """Standard deviations of the components, ``(n, dim)``."""
        return self.cov.diagonal(dim1=-2, dim2=-1).clamp_min(0.0).sqrt()

    @property
    def stds(self) -> Tensor:
        """Standard deviations by component of the mixture, ``(component, n, dim)``."""
        return self.covs.diagonal(dim1=-2, dim2=-1).clamp_min(0.0).sqrt()

    @property
    def evidence(self) -> Tensor:
        """Mean evidence of an observation for its jumps, ``(component - 1, n)``, in nats.

        The Kullback-Leibler divergence of every other component from the one without jumps.
        """
        none, some = self.covs[:1], self.covs[1:]
        shift = (self.means[1:] - self.means[:1])[..., None]
        if shift.shape[-2] == 1:
            ratio = (some / none)[..., 0, 0]
            return 0.5 * (ratio - 1.0 - ratio.log() + (shift.square() / none)[..., 0, 0])
        factor = torch.linalg.cholesky_ex(none)[0]
        white = torch.linalg.solve_triangular(
            factor, torch.cat([shift, torch.linalg.cholesky_ex(some)[0]], -1), upper=False
        )
        log_det = 2.0 * white[..., 1:].diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return 0.5 * (white.square().sum((-2, -1)) - shift.shape[-2] - log_det)

    def observed(self, observe: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Mixture:
        """See `PredictiveDistribution.observed`."""
        means, covs = observe(self.means.flatten(0, 1), self.covs.flatten(0, 1))
        shape = self.log_weight.shape
        return replace(self, means=means.unflatten(0, shape), covs=covs.unflatten(0, shape))

    def joint(self, target: Tensor) -> Tensor:
        """Log of weight times density of each component at ``target (n, dim)``, ``(component, n)``."""
        targets = target.expand(len(self.jumps), -1, -1).flatten(0, 1)
        density = gaussian_log_density(targets, self.means.flatten(0, 1), self.covs.flatten(0, 1))
        return self.log_weight + density.view_as(self.log_weight)

    def log_density(self, target: Tensor) -> Tensor:
        """See `PredictiveDistribution.log_density`."""
        nothing = target.isnan().all(-1)
        return torch.where(nothing, 0.0, self.joint(target).logsumexp(0))

    def posterior(self, target: Tensor) -> Tensor:
        """Probability of each component given the observation, ``(component, n)``."""
        return self.joint(target).softmax(0)

    def jump_probability(self, target: Tensor) -> Tensor:
        """Probability of at least one jump given the observation, ``(n,)``."""
        return self.posterior(target)[1:].sum(0)

    def jump_size(self, target: Tensor) -> Tensor:
        """Mean displacement by jumps, ``(n, dim)``, given the observation and that there was a jump.

        The change that the component without jumps does not expect is divided between jumps and diffusion in proportion
        to their variances. The result is NaN for NaN components of the target.
        """
        posterior = self.joint(target)[1:].softmax(0)
        shift = self.means[1:] - self.means[:1]
        values, vectors = torch.linalg.eigh(self.covs[1:] - self.covs[:1])
        added = (vectors * values.clamp_min(0.0)[..., None, :]) @ vectors.mT
        gain = torch.linalg.solve(self.covs[1:], added).mT
        size = shift + (gain @ (target - self.means[1:])[..., None])[..., 0]
        return (posterior[..., None] * size).sum(0)

    def quantiles(self, levels: Tensor) -> Tensor:
        """Quantiles of every component of the vectors, ``(n, dim, n_levels)``, to rounding.

        Newton's method, bracketed by the quantiles of the components; a step that would leave the bracket bisects it.
        """
        each = self.means[..., None] + self.stds[..., None] * torch.special.ndtri(levels)
        low, high = each.amin(0), each.amax(0)
        x = self.mean[..., None].clamp(low, high)
        rounding = 4.0 * torch.finfo(x.dtype).eps * torch.maximum(low.abs(), high.abs())
        for _ in range(_MAX_STEPS):
            below, density = self._marginal(x)
            excess = below - levels
            low, high = torch.where(excess <= 0.0, x, low), torch.where(excess >= 0.0, x, high)
            newton = x - excess / density
            inside = (newton > low) & (newton < high)
            step = torch.where(inside, newton, 0.5 * (low + high))
            done = (step - x).abs() <= rounding
            x = step
            if bool(done.all()):
                break
        return x

    def draw(self, normals: Tensor, choice: Tensor) -> Tensor:
        """See `PredictiveDistribution.draw`."""
        upper = self.weight.cumsum(0)
        uniform = torch.special.ndtr(choice) * upper[-1]
        component = (uniform[None] > upper[:, None]).sum(0).clamp_max(len(self.jumps) - 1)
        rows = torch.arange(component.shape[1], device=component.device)
        factor = torch.linalg.cholesky_ex(self.covs)[0][component, rows]
        return self.means[component, rows] + (factor @ normals[..., None])[..., 0]

    def _marginal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Marginal distribution functions and densities at ``x (n, dim, k)``, of the same shape."""
        std = self.stds[..., None].clamp_min(torch.finfo(x.dtype).tiny)
        z = (x - self.means[..., None]) / std
        weight = self.weight[:, :, None, None]
        density = weight / std * torch.exp(-0.5 * z.square()) * (2.0 * torch.pi) ** -0.5
        return (weight * torch.special.ndtr(z)).sum(0), density.sum(0)
