"""Squared errors of solutions, of means of simulated paths, and of single paths."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.losses.curves import CurveLoss, SimulatedLoss
from skneuralde.losses.ensemble import Ensemble


class LeastSquares(CurveLoss):
    """Squared distance of the solution to the data, for an equation without noise."""

    name = "least_squares"

    def penalty(self, residual: Ensemble, observed: Tensor) -> Tensor:
        return residual.mean(torch.square)


class MeanMatching(SimulatedLoss):
    """Squared distance of the mean of simulated paths to data that are means themselves.

    The residuals of two independent halves of the paths are multiplied: the plain square adds the variance of the
    simulated mean, and so rewards a model with too little noise.
    """

    name = "mean"
    accepts_means = True
    suits_weak_solvers = True
    min_paths = 4

    def plain(self) -> PlainMeanMatching:
        return PlainMeanMatching()

    def penalty(self, residual: Ensemble, observed: Tensor) -> Tensor:
        half = 2 * (len(residual) // 4)  # a pair of mirrored paths stays together
        return residual.part(slice(half)).mean() * residual.part(slice(half, None)).mean()


class PlainMeanMatching(MeanMatching):
    """The plain square of the distance of `MeanMatching`, which is biased towards too little noise."""

    shrinks_noise = True
    min_paths = 1

    def penalty(self, residual: Ensemble, observed: Tensor) -> Tensor:
        paths, mean = residual.paths, residual.paths.mean(0)
        return mean.square() + residual.shift(lambda x: (mean + (x - paths) / len(paths)).square())


class PathSquaredError(SimulatedLoss):
    """Squared error of single paths [1]_. It is smallest without any noise.

    References
    ----------
    .. [1] C. Rackauckas, "Neural Jump SDEs (Jump Diffusions) and Neural PDEs" (2019).
    """

    name = "path_mse"
    accepts_means = True
    shrinks_noise = True
    antithetic = False

    def penalty(self, residual: Ensemble, observed: Tensor) -> Tensor:
        return residual.mean(torch.square)
