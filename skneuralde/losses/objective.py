"""Objectives: losses bound to data, which training minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from skneuralde.inference.model import Model


class Objective(ABC):
    """A loss bound to data.

    Training minimises the weighted mean of `values` over the items. An item is the smallest part of the data that has
    a value of its own: a transition, a series, a time or an individual.

    Attributes
    ----------
    weight : Tensor of shape (items,)
        Weight of each item in the mean.
    stochastic : bool
        Whether the values carry Monte Carlo noise.
    is_sequential : bool
        Whether the values take many steps one after the other, however few the items are.
    version : int
        Changes whenever `start_epoch` changes what is compared, for instance the number of simulated paths.
    """

    weight: Tensor
    stochastic: bool = False
    is_sequential: bool = False
    version: int = 1

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def items(self) -> Tensor:
        """Positions of the items with a positive weight; training evaluates no others."""
        return self.weight.nonzero()[:, 0]

    @abstractmethod
    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        """The loss of these items, ``(items,)``, not reduced; ``seed`` fixes all simulation noise."""

    @abstractmethod
    def start_epoch(self, model: Model, epoch: int) -> None:
        """Adjust what changes slowly: the number of paths, the fineness of the propagation."""


class SumOfSquares(Objective):
    """An objective whose items are independent residuals, cheap enough to be differentiated one by one."""

    @abstractmethod
    def residuals(self, model: Model) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The residuals of an item as a function of its data.

        Returns
        -------
        module : torch.nn.Module
            Maps the data of one item to its residuals ``(k,)``, in units in which their squares count alike. Its
            parameters are the model's own.
        data : tuple of Tensor
            Data of all items, which are the first axis.
        """
