"""Ensembles of simulated paths, differentiable in the rates of jumps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Alternative(NamedTuple):
    """The paths with one jump more on some channel."""

    paths: Tensor  #: (paths, series, ...), without a gradient
    weight: Tensor  #: (paths, series); zero, with the gradient of the probability of that jump


@dataclass(frozen=True)
class Ensemble:
    r"""Simulated paths of some series, with independent jumps.

    Path p has the weight 1 - e_p and its alternative the weight e_p. Since e_p is zero, values are those of the paths.
    The gradient of e_p is the gradient of the probability of one jump more. A loss F of all paths has exactly the
    gradient of

    .. math:: F(x) + \sum_p e_p (F(x_1, ..., x'_p, ..., x_n) - F(x)).

    `shift` is this sum, and `mean` and `pairs` contain it. A loss that uses ``paths`` directly has no gradient in the
    rates of jumps unless it adds `shift`.
    """

    paths: Tensor  #: (paths, series, ...)
    alternatives: tuple[Alternative, ...] = ()  #: one for each channel of jumps whose rate has a gradient

    def __len__(self) -> int:
        return len(self.paths)

    def map(self, function: Callable[[Tensor], Tensor]) -> Ensemble:
        """An ensemble of a function of every path, from (paths, series, ...) to (paths, series, ...)."""
        others = tuple(Alternative(function(paths), weight) for paths, weight in self.alternatives)
        return Ensemble(function(self.paths), others)

    def part(self, members: slice) -> Ensemble:
        """An ensemble of some of the paths."""
        others = tuple(Alternative(paths[members], weight[members]) for paths, weight in self.alternatives)
        return Ensemble(self.paths[members], others)

    def at(self, series: Tensor, place: Tensor) -> Ensemble:
        """Entries (paths, n, ...) of these series at these places of their second axis, ``(n,)`` each."""
        others = tuple(Alternative(paths[:, series, place], weight[:, series]) for paths, weight in self.alternatives)
        return Ensemble(self.paths[:, series, place], others)

    def mean(self, statistic: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        """Mean over the paths of a statistic of single paths, from (paths, series, ...) to (paths, series, ...)."""
        return statistic(self.paths).mean(0) + self.shift(statistic) / len(self)

    def shift(self, statistic: Callable[[Tensor], Tensor]) -> Tensor:
        """Zeros (series, ...) with the gradient of a statistic of all paths in the rates of jumps.

        ``statistic(x)[p]`` is the value of the statistic, up to a constant, if path p is replaced by that of
        ``x (paths, series, ...)`` and all others stay.
        """
        total = self.paths.new_zeros(())
        if self.alternatives:
            with torch.no_grad():
                before = statistic(self.paths)
        for paths, weight in self.alternatives:
            with torch.no_grad():
                change = statistic(paths) - before
            total = total + (_aligned(weight, change) * change).sum(0)
        return total

    def pairs(self, statistic: Callable[[Tensor], Tensor]) -> Tensor:
        """A symmetric statistic of neighbouring paths, from (pairs, 2, series, ...) to (pairs, series, ...)."""
        together = self.paths.unflatten(0, (-1, 2))
        values = before = statistic(together)
        for paths, weight in self.alternatives:
            for k in range(2):
                with torch.no_grad():
                    change = statistic(torch.stack([paths[k::2], self.paths[1 - k :: 2]], 1)) - before
                values = values + _aligned(weight[k::2], change) * change
        return values


def _aligned(weight: Tensor, like: Tensor) -> Tensor:
    """Weights (paths, series) with axes of length one for the other axes of ``like (paths, series, ...)``."""
    return weight.reshape(*weight.shape, *[1] * (like.ndim - weight.ndim))
