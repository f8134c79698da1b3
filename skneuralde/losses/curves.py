"""Losses of the residuals of curves: solutions, or simulated paths, less the data."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from skneuralde.inference import Model
from skneuralde.losses.base import Loss, Objective
from skneuralde.losses.data import CurveData, TrainingData
from skneuralde.losses.ensemble import Ensemble
from skneuralde.losses.simulation import PathObjective


class CurveLoss(Loss):
    """A loss of the solution of an equation without noise, as a penalty on its residuals.

    A subclass implements `penalty`. See `SimulatedLoss` for equations with noise.

    Examples
    --------
    A Huber loss, which outliers influence less than least squares:

    >>> import numpy as np
    >>> import torch
    >>> from skneuralde import NeuralSDERegressor
    >>> from skneuralde.losses import CurveLoss
    >>> from torch.nn.functional import huber_loss
    >>> class Huber(CurveLoss):
    ...     name = "huber"
    ...
    ...     def __init__(self, delta=1.0):
    ...         self.delta = delta
    ...
    ...     def penalty(self, residual, observed):
    ...         return residual.mean(lambda x: huber_loss(x, torch.zeros_like(x), reduction="none", delta=self.delta))
    >>> t = np.arange(10.0)[:, None]
    >>> y = 2.0 * np.exp(-0.3 * t[:, 0])
    >>> y[4] += 1.0
    >>> model = NeuralSDERegressor("mlp", None, hidden_layer_sizes=(), loss=Huber(delta=0.1), random_state=0)
    >>> bool(abs(model.fit(t, y).predict([[9.0]])[0] - y[9]) < 0.02)
    True
    """

    has_residual_noise = True

    def bind(self, data: TrainingData) -> Objective:
        return CurveObjective(self, data.curves())

    @abstractmethod
    def penalty(self, residual: Ensemble, observed: Tensor) -> Tensor:
        """The loss of each entry.

        Parameters
        ----------
        residual : Ensemble of shape (samples, series, time, dim)
            Solution less data, in standard deviations of the data; exactly zero in entries that were not observed. An
            equation without noise has one sample. ``residual.mean(function)`` is the mean over the samples of a
            function of the tensor; its gradient takes the jumps of simulated paths into account.
        observed : bool Tensor of shape (series, time, dim)

        Returns
        -------
        Tensor of shape (series, time, dim)
            Without a reduction. Entries that were not observed have no weight. The last axis may have length one if
            `weigh` says so.
        """

    def weigh(self, weight: Tensor) -> Tensor:
        """Weights of the penalties, from the weights of the entries (series, time, dim); by default the same."""
        return weight


class SimulatedLoss(CurveLoss):
    """A loss of simulated paths, for an equation with noise or jumps, as a penalty on their residuals.

    A subclass implements `penalty` for many samples. It sets ``antithetic = False`` if it assumes that all samples are
    independent: by default every second path has the mirrored noise of the path before it.
    """

    simulated = True
    has_residual_noise = False
    antithetic = True


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


class CurveObjective(PathObjective):
    """A `CurveLoss` bound to data; an item is a series."""

    loss: CurveLoss

    def __init__(self, loss: CurveLoss, data: CurveData):
        super().__init__(loss, data)
        self.targets, self.scale = data.targets, data.scale
        self.observed = ~data.targets.isnan() & (data.row_weight > 0)[..., None]
        self.entry_weight = loss.weigh(data.row_weight[..., None] * self.observed)
        self.weight = self.entry_weight.sum((1, 2))

    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        solution = self.simulate(model, items, seed=seed)
        used = solution.paths.shape[2]
        targets, observed = self.targets[items, :used], self.observed[items, :used]
        # The residual is exactly zero in entries that were not observed, and so is its gradient.
        data = targets.where(observed, 0.0)
        residual = solution.map(lambda paths: (paths.where(observed, 0.0) - data) / self.scale)
        weight = self.entry_weight[items, :used]
        penalty = self.loss.check_shape("penalty", self.loss.penalty(residual, observed), weight.shape)
        total = (weight * penalty).sum((1, 2))
        return total / self.weight[items].clamp_min(torch.finfo(total.dtype).tiny)
