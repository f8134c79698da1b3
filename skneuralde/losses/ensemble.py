"""Simulated paths as losses see them: members that may branch where the rate of a jump is learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Alternative(NamedTuple):
    """What paths would be with one jump more on some channel.

    Attributes
    ----------
    paths : Tensor of shape (paths, series, ...)
        Without a gradient.
    weight : Tensor of shape (paths, series)
        Zero, with the gradient of the probability of that jump.
    """

    paths: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Ensemble:
    r"""Paths of some series, with independent jumps.

    Member p has the weight 1 - e_p and its alternative the weight e_p, which is zero: so values are those of the paths,
    while the gradient of e_p is that of the law of the jumps. A loss F of all paths has the gradient of

    .. math:: F(x) + \sum_p e_p (F(x_1, ..., x'_p, ..., x_n) - F(x)),

    exactly: `shift` adds the sum, for statistics of which a loss consists.

    Attributes
    ----------
    paths : Tensor of shape (paths, series, ...)
    alternatives : tuple of Alternative
        One for each channel whose rate has a gradient.
    """

    paths: Tensor
    alternatives: tuple[Alternative, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def map(self, function: Callable[[Tensor], Tensor]) -> Ensemble:
        """The same function of every path, from (paths, series, ...) to (paths, series, ...)."""
        others = tuple(Alternative(function(paths), weight) for paths, weight in self.alternatives)
        return Ensemble(function(self.paths), others)

    def part(self, members: slice) -> Ensemble:
        """Some of the paths."""
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
        """Zeros (series, ...), or () without alternatives, with the gradient of a statistic of all paths in the rates.

        ``statistic(x)[p]`` is what it becomes, but for a constant, when path p is taken from ``x (paths, series, ...)``
        and all others are as they are.
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
        """A symmetric statistic of pairs of neighbouring paths, (pairs, 2, series, ...) to (pairs, series, ...)."""
        together = self.paths.unflatten(0, (-1, 2))
        values = before = statistic(together)
        for paths, weight in self.alternatives:
            for k in range(2):
                with torch.no_grad():
                    change = statistic(torch.stack([paths[k::2], self.paths[1 - k :: 2]], 1)) - before
                values = values + _aligned(weight[k::2], change) * change
        return values


def _aligned(weight: Tensor, like: Tensor) -> Tensor:
    """Weights (paths, series) with as many axes as something (paths, series, ...)."""
    return weight.reshape(*weight.shape, *[1] * (like.ndim - weight.ndim))
