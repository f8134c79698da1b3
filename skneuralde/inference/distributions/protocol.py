"""Interface of predictive distributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor


class PredictiveDistribution(Protocol):
    """Distributions of n vectors of ``dim`` components: of states or observations at the ends of transitions."""

    @property
    def mean(self) -> Tensor:
        """Means, ``(n, dim)``."""

    @property
    def cov(self) -> Tensor:
        """Covariances, ``(n, dim, dim)``."""

    @property
    def std(self) -> Tensor:
        """Standard deviations of the components, ``(n, dim)``."""

    def observed(self, observe: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> PredictiveDistribution:
        """Distributions of the observations, by a function of mean (m, dim) and covariance (m, dim, dim) of states."""

    def log_density(self, target: Tensor) -> Tensor:
        """Log densities ``(n,)`` at ``target (n, dim)``. NaN entries are integrated out; 0 if all are NaN."""

    def quantiles(self, levels: Tensor) -> Tensor:
        """Quantiles of every component, ``(n, dim, n_levels)``."""

    def draw(self, normals: Tensor, choice: Tensor) -> Tensor:
        """Draws ``(n_samples, n, dim)`` from independent standard normal numbers of that shape.

        By ``choice (n_samples, n)``, further standard normal numbers, a mixture chooses its component.
        """
