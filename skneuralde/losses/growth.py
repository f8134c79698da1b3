"""How many paths to simulate: few as long as the gradient is clear, more when its noise dominates."""

from __future__ import annotations

from torch import Tensor


class GrowingPaths:
    """The number of paths, doubled whenever the noise of the gradient outweighs the gradient.

    The gradient is taken with two independent noises. Half of their squared distance estimates the variance of either,
    their product the square of the true gradient; where the variance is larger, a step mostly follows the noise.

    Parameters
    ----------
    least, most : int
        Where it starts and the most that it takes.
    every : int
        Epochs from one look to the next.

    References
    ----------
    R. H. Byrd, G. M. Chin, J. Nocedal and Y. Wu, "Sample size selection in optimization methods for machine learning",
    Mathematical Programming 134 (2012).
    """

    def __init__(self, least: int, most: int, every: int):
        self.number, self.most, self.every = min(least, most), most, every

    def __call__(self, epoch: int) -> int:
        return self.number

    def is_due(self, epoch: int) -> bool:
        """Whether to look at the gradient before this epoch."""
        return self.number < self.most and epoch % self.every == 0

    def judge(self, one: Tensor, other: Tensor) -> None:
        """Take note of two gradients with independent noise."""
        variance, signal = 0.5 * (one - other).square().sum(), (one * other).sum()
        if variance > signal:
            self.number = min(2 * self.number, self.most)
