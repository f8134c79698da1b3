"""Mixtures of normal laws: what jumps make of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skneuralde.inference.distributions.gaussian import gaussian_log_density

#: Steps of the search for a quantile. Bisection alone would gain 15 digits in them.
_MAX_STEPS = 60


@dataclass(frozen=True)
class Mixture:
    """Laws of n vectors that are normal once the number of jumps, and where it matters their time, is known.

    Attributes
    ----------
    log_weight : Tensor of shape (component, n)
        Logarithms of weights that sum to one.
    means : Tensor of shape (component, n, dim)
    covs : Tensor of shape (component, n, dim, dim)
    jumps : tuple of int, one per component
        How many jumps a component has; the largest number stands for so many or more. The first has none, and no other.
    channels : tuple of int or None, one per component
        Of which channel its jump is, where it is one.
    """

    log_weight: Tensor
    means: Tensor
    covs: Tensor
    jumps: tuple[int, ...]
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
        spread = self.covs + off[..., :, None] * off[..., None, :]
        return (self.weight[..., None, None] * spread).sum(0)

    @property
    def std(self) -> Tensor:
        """Standard deviations of the components, ``(n, dim)``."""
        return self.cov.diagonal(dim1=-2, dim2=-1).clamp_min(0.0).sqrt()

    @property
    def stds(self) -> Tensor:
        """Standard deviations by component of the mixture, ``(component, n, dim)``."""
        return self.covs.diagonal(dim1=-2, dim2=-1).clamp_min(0.0).sqrt()

    @property
    def expected_jumps(self) -> Tensor:
        """Expected number of jumps, ``(n,)``."""
        return self.log_weight.new_tensor(self.jumps) @ self.weight

    @property
    def evidence(self) -> Tensor:
        """How clearly every component but the first shows, ``(component - 1, n)``.

        Its divergence from the component without jumps, in nats: what an observation says on average for the jump,
        when there is one.
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
        """The laws of what is observed, given how mean (m, dim) and covariance (m, dim, dim) of it follow."""
        means, covs = observe(self.means.flatten(0, 1), self.covs.flatten(0, 1))
        shape = self.log_weight.shape
        return replace(self, means=means.unflatten(0, shape), covs=covs.unflatten(0, shape))

    def joint(self, target: Tensor) -> Tensor:
        """Log of weight times density of every component at ``target (n, dim)``, ``(component, n)``."""
        targets = target.expand(len(self.jumps), -1, -1).flatten(0, 1)
        density = gaussian_log_density(targets, self.means.flatten(0, 1), self.covs.flatten(0, 1))
        return self.log_weight + density.view_as(self.log_weight)

    def log_density(self, target: Tensor) -> Tensor:
        """Log densities ``(n,)`` at ``target (n, dim)``, whose NaN entries are integrated out; 0 where all are."""
        nothing = target.isnan().all(-1)
        return torch.where(nothing, 0.0, self.joint(target).logsumexp(0))

    def posterior(self, target: Tensor) -> Tensor:
        """Probability of every component given what was observed, ``(component, n)``."""
        return self.joint(target).softmax(0)

    def jump_probability(self, target: Tensor) -> Tensor:
        """Probability that there was at least one jump, given what was observed, ``(n,)``."""
        return self.posterior(target)[1:].sum(0)

    def jump_size(self, target: Tensor) -> Tensor:
        """Mean of what jumps have moved the vectors by, ``(n, dim)``, given target and that there was a jump.

        The part of the change that the component without jumps does not explain, divided between jumps and diffusion
        in proportion to what either adds to the variance. Where components of target are NaN, so is the result.
        """
        posterior = self.joint(target)[1:].softmax(0)
        shift = self.means[1:] - self.means[:1]
        values, vectors = torch.linalg.eigh(self.covs[1:] - self.covs[:1])
        added = (vectors * values.clamp_min(0.0)[..., None, :]) @ vectors.mT
        gain = torch.linalg.solve(self.covs[1:], added).mT
        size = shift + (gain @ (target - self.means[1:])[..., None])[..., 0]
        return (posterior[..., None] * size).sum(0)

    def cdf(self, x: Tensor) -> Tensor:
        """Distribution functions of the components at ``x (n, dim, k)``, of the same shape."""
        return self._marginal(x)[0]

    def quantiles(self, levels: Tensor) -> Tensor:
        """Quantiles of every component, ``(n, dim, n_levels)``, to rounding.

        Newton's method within a bracket, which bisects wherever Newton would leave it: a quantile of a mixture lies
        between those of its components.
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
        """Draws ``(n_samples, n, dim)`` from standard normal numbers, of which ``choice (n_samples, n)`` are more."""
        upper = self.weight.cumsum(0)
        uniform = torch.special.ndtr(choice) * upper[-1]
        component = (uniform[None] > upper[:, None]).sum(0).clamp_max(len(self.jumps) - 1)
        rows = torch.arange(component.shape[1], device=component.device)
        factor = torch.linalg.cholesky_ex(self.covs)[0][component, rows]
        return self.means[component, rows] + (factor @ normals[..., None])[..., 0]

    def _marginal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Distribution functions and densities of the components at ``x (n, dim, k)``."""
        std = self.stds[..., None].clamp_min(torch.finfo(x.dtype).tiny)
        z = (x - self.means[..., None]) / std
        weight = self.weight[:, :, None, None]
        density = weight / std * torch.exp(-0.5 * z.square()) * (2.0 * torch.pi) ** -0.5
        return (weight * torch.special.ndtr(z)).sum(0), density.sum(0)
