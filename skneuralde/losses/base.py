"""What training minimises: a weighted mean over items of values that depend on the model."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from skneuralde.inference.model import Model


class Objective(ABC):
    """A loss bound to data.

    Attributes
    ----------
    weight : Tensor of shape (items,)
        Weight of each item, a transition or a series, in the mean.
    stochastic : bool
        Whether the values carry Monte Carlo noise.
    is_sequential : bool
        Whether they take many steps one after the other, however few the items.
    version : int
        Which loss it is: another one when `start_epoch` has changed what is compared, such as the number of simulated
        paths.
    """

    weight: Tensor
    stochastic: bool = False
    is_sequential: bool = False
    version: int = 1

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def items(self) -> Tensor:
        """Positions of the items that have a weight, the only ones worth evaluating."""
        return self.weight.nonzero()[:, 0]

    @abstractmethod
    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        """The loss of these items, ``(items,)``, never reduced; ``seed`` fixes all simulation noise."""

    @abstractmethod
    def start_epoch(self, model: Model, epoch: int) -> None:
        """Adjust what changes slowly: the number of paths, the fineness of the propagation."""


class SumOfSquares(Objective):
    """An objective whose items are independent residuals, cheap enough to be differentiated one by one."""

    @abstractmethod
    def residuals(self, model: Model) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """How an item's residuals follow from its data.

        Returns
        -------
        module : torch.nn.Module
            Of the data of one item, to its residuals ``(k,)``, in units in which their squares count alike; its
            parameters are the model's own.
        data : tuple of Tensor
            Of all items, which are their first axis.
        """
