"""What is said of a state, or of what is observed of it, at the end of a transition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor


class PredictiveDistribution(Protocol):
    """Probability laws of n vectors, each of ``dim`` components."""

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
        """The laws of what is observed, given how mean (m, dim) and covariance (m, dim, dim) of it follow."""

    def log_density(self, target: Tensor) -> Tensor:
        """Log densities ``(n,)`` at ``target (n, dim)``, whose NaN entries are integrated out; 0 where all are."""

    def quantiles(self, levels: Tensor) -> Tensor:
        """Quantiles of every component, ``(n, dim, n_levels)``."""

    def draw(self, normals: Tensor, choice: Tensor) -> Tensor:
        """Draws ``(n_samples, n, dim)``.

        Parameters
        ----------
        normals : Tensor of shape (n_samples, n, dim)
            Independent standard normal numbers.
        choice : Tensor of shape (n_samples, n)
            More of them, for what else has to be chosen.
        """
