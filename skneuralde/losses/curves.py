"""Losses of the residuals of curves: solutions, or simulated paths, less the data."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from skneuralde.inference.model import Model
from skneuralde.losses.base import Loss
from skneuralde.losses.data import CurveData, TrainingData
from skneuralde.losses.ensemble import Ensemble
from skneuralde.losses.objective import Objective
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
    >>> class Huber(CurveLoss):
    ...     name = "huber"
    ...
    ...     def __init__(self, delta=1.0):
    ...         self.delta = delta
    ...
    ...     def penalty(self, residual, observed):
    ...         def huber(x):
    ...             return torch.nn.functional.huber_loss(
    ...                 x, torch.zeros_like(x), reduction="none", delta=self.delta
    ...             )
    ...
    ...         return residual.mean(huber)
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


class CurveObjective(PathObjective):
    """A `CurveLoss` bound to data; an item is a series.

    Parameters
    ----------
    loss : CurveLoss
    data : CurveData
    """

    loss: CurveLoss

    def __init__(self, loss: CurveLoss, data: CurveData):
        super().__init__(loss, data)
        self.targets = data.targets
        self.observed = ~data.targets.isnan() & (data.row_weight > 0)[..., None]
        self.entry_weight = loss.weigh(data.row_weight[..., None] * self.observed)
        self.weight = self.entry_weight.sum((1, 2))
        self.scale = data.scale

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
