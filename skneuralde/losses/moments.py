"""The loss "moments": mean and variance over repeated paths, of the simulation and of the data, time by time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from skneuralde.inference import Model
from skneuralde.losses.base import Loss, Objective
from skneuralde.losses.data import CurveData, TrainingData
from skneuralde.losses.ensemble import Ensemble
from skneuralde.losses.simulation import PathObjective


class MomentMatching(Loss):
    """Squared distances of mean and log variance at common times, in standard errors of the data's.

    A weight counts repetitions: n is the sum of the weights of the series that are observed at a time. With s^2 the
    data's variance, of n - 1 degrees of freedom, the standard error of the mean is s / sqrt(n). The standard error of
    the log variance and the bias of log s^2 are those of a normal distribution: sqrt(trigamma((n - 1) / 2)), close to
    sqrt(2 / (n - 1)), and digamma((n - 1) / 2) - log((n - 1) / 2). The loss is about one if the model is right.

    Distances of two independent halves of the paths are multiplied, so that the Monte Carlo error of the simulated
    moments adds nothing. The bias of the simulated log variance is removed by the jackknife.
    """

    name = "moments"
    simulated = True
    antithetic = True
    suits_weak_solvers = True
    #: Three mirrored pairs for each half: the jackknife leaves one out, and two have a variance.
    min_paths = 12
    #: Number of groups of paths whose distances are multiplied.
    groups = 2

    def bind(self, data: TrainingData) -> Objective:
        return MomentObjective(self, data.curves())

    def plain(self) -> PlainMomentMatching:
        return PlainMomentMatching()


class PlainMomentMatching(MomentMatching):
    """The plain squares of the same distances, to which the Monte Carlo error of the simulated moments adds.

    The gradient in a rate of jumps is that of the distances alone, without the part of that error.
    """

    groups = 1


class MomentObjective(PathObjective):
    """`MomentMatching` bound to data; an item is a time."""

    loss: MomentMatching

    def __init__(self, loss: MomentMatching, data: CurveData):
        super().__init__(loss, data)
        curves, targets, row_weight = data.curves, data.targets, data.row_weight
        self.all_series = torch.arange(len(targets), device=targets.device)
        observed = ~targets.isnan() & (row_weight > 0)[..., None]
        self.entries = observed.any(-1).nonzero()
        series, place = self.entries.unbind(1)
        times, self.time_of = curves.times[series, place].unique(return_inverse=True)
        self.n_times = len(times)
        self.entry_weight = (row_weight[..., None] * observed)[series, place]
        values = targets[series, place].where(self.entry_weight > 0, 0.0)
        self.count = self._sum(self.entry_weight)
        self.used = self.count >= 2.0
        _refuse_too_few(self.used, self.count)
        share = self.entry_weight / self.count[self.time_of].clamp_min(1.0)
        self.mean = self._sum(share * values)
        off = (values - self.mean[self.time_of]).square()
        variance = self._sum(self.entry_weight * off) / (self.count - 1.0).clamp_min(1.0)
        _refuse_equal(self.used & (variance <= 0.0), times)
        self.std = variance.sqrt().where(self.used, 1.0)
        self.entry_weight = self.entry_weight * self.used[self.time_of]
        half = 0.5 * (self.count - 1.0).clamp_min(1.0)
        self.log_variance = half.log() - half.digamma()
        self.log_variance_error = torch.polygamma(1, half).sqrt()
        self.weight = 2.0 * self.used.sum(-1).to(targets.dtype)

    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        paths = self.simulate(model, self.all_series, seed=seed).at(*self.entries.unbind(1))
        mean, std = self.mean[self.time_of], self.std[self.time_of]
        residual = paths.map(lambda x: ((x - mean) / std).where(self.entry_weight > 0, 0.0))
        groups = torch.arange(len(residual) // 2).tensor_split(self.loss.groups)
        parts = [self.distances(residual.part(slice(2 * int(g[0]), 2 * int(g[-1]) + 2))) for g in groups]
        product = (parts[0] * parts[-1]).where(self.used, 0.0).sum((0, 2))
        return product[items] / self.weight[items].clamp_min(1.0)

    def distances(self, residual: Ensemble) -> Tensor:
        """Distances of mean and log variance in standard errors, (2, times, dim), from (paths, entries, dim)."""
        n = len(residual) // 2
        first = residual.pairs(lambda x: x.mean(1))
        second = residual.pairs(lambda x: x.square().mean(1))
        square = residual.pairs(lambda x: x.mean(1).square())
        every = (first.mean(0), second.mean(0), square.mean(0))
        without = [(n * mean - one) / (n - 1) for mean, one in zip(every, (first, second, square), strict=True)]
        log_variance = n * self.variance(every, n).log() - (n - 1) * self.variance(without, n - 1).log().mean(0)
        mean = self._sum(self.entry_weight * every[0]) / self.count.sqrt().clamp_min(1.0)
        return torch.stack([mean, (log_variance - self.log_variance) / self.log_variance_error])

    def variance(self, statistics: Sequence[Tensor], n: int) -> Tensor:
        """Unbiased estimate, from n pairs of paths, of what the data's variance estimates; (..., times, dim).

        The statistics (..., entries, dim) are the mean over the paths, the mean of their squares and the mean of the
        squares of the pairs' means. Only pairs are independent.
        """
        mean, second, square = statistics
        weight, count = self.entry_weight, self.count.where(self.used, 2.0)
        error = (square - mean.square()) / (n - 1)  # variance of the mean over the paths
        centre = self._sum(weight * mean) / count
        between = (mean - centre.index_select(-2, self.time_of)).square()
        total = count[self.time_of]
        within = (second - mean.square()) * (total - 1.0) / total + (weight - 1.0) / total * error
        return (self._sum(weight * (within + between)) / (count - 1.0)).where(self.used, 1.0)

    def _sum(self, entries: Tensor) -> Tensor:
        """Sums over the entries of each time, (..., times, dim)."""
        sums = entries.new_zeros(*entries.shape[:-2], self.n_times, entries.shape[-1])
        return sums.index_add(-2, self.time_of, entries)


def _refuse_too_few(used: Tensor, count: Tensor) -> None:
    """Refuse data without repetitions, and warn of times that are left out."""
    if not used.any():
        largest = float(count.max()) if count.numel() else 0.0
        raise ValueError(
            "loss='moments' compares variances over several series at common times, but at no time are two or more "
            f"observed: the largest number (sum of weights) is {largest:g}. Give at least two series with the same "
            "times (a split for validation needs as many), or use loss='nll' for observed states, 'energy' for "
            "repeated paths at times of their own, or 'mean' for data that are means."
        )
    left_out = int(((count > 0) & ~used).any(-1).sum())
    if left_out:
        warnings.warn(
            f"loss='moments' leaves out {left_out} of {len(used)} times, at which an output is observed in fewer than "
            "two series: one value has no variance.",
            UserWarning,
            stacklevel=7,
        )


def _refuse_equal(equal: Tensor, times: Tensor) -> None:
    """Refuse times at which all series are equal."""
    if equal.any():
        time, output = (int(i) for i in equal.nonzero()[0])
        raise ValueError(
            f"loss='moments' needs series that differ: at time {float(times[time]):g} output {output} is the same in "
            "all of them, so that its log variance is minus infinity. Leave that time out, or use loss='mean' or "
            "'energy'."
        )
