"""A number of simulated paths that grows when the noise of the gradient dominates."""

from __future__ import annotations

from torch import Tensor


class GrowingPaths:
    """The number of paths, doubled whenever the noise of the gradient outweighs the gradient.

    The gradient is computed with two independent noises. Half of the squared distance of the two estimates the variance
    of either, and their product the square of the true gradient. If the variance is larger, a step mostly follows the
    noise.

    Parameters
    ----------
    least, most : int
        The first number, and the largest.
    every : int
        Epochs between two comparisons.

    References
    ----------
    .. [1] R. H. Byrd, G. M. Chin, J. Nocedal and Y. Wu, "Sample size selection in optimization methods for machine
       learning", Mathematical Programming 134 (2012).
    """

    def __init__(self, least: int, most: int, every: int):
        self.number, self.most, self.every = min(least, most), most, every

    def __call__(self, epoch: int) -> int:
        return self.number

    def is_due(self, epoch: int) -> bool:
        """Whether to compare two gradients before this epoch."""
        return self.number < self.most and epoch % self.every == 0

    def judge(self, one: Tensor, other: Tensor) -> None:
        """Double the number if two gradients with independent noise differ too much."""
        variance, signal = 0.5 * (one - other).square().sum(), (one * other).sum()
        if variance > signal:
            self.number = min(2 * self.number, self.most)
