"""Base classes of losses, and of objectives: losses bound to data, which training minimises."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from skneuralde.inference import Model
from skneuralde.losses.data import TrainingData


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
        """A module that maps the data of one item to its residuals ``(k,)``, and the data of all items.

        Squares of all residuals count alike. The module's parameters are the model's own. Items are the first axis of
        each tensor of the data.
        """


class Loss(ABC):
    """A loss: facts about itself as class attributes, and a method that binds it to data.

    A direct subclass implements `bind`. Most losses of your own are simpler to write as a subclass of `CurveLoss`,
    `SimulatedLoss` or `TransitionLoss`.

    A loss has no state. Its constructor only assigns its arguments to attributes of the same names, so that
    `sklearn.base.clone` and `GridSearchCV` can copy the loss and search over its parameters, for instance as
    ``loss__delta``.

    Attributes
    ----------
    name : str
        The name in messages and in ``loss_name_``.
    of_transitions : bool
        Whether each observation is compared with its prediction from the one before, instead of whole curves.
    of_snapshots : bool
        Whether populations are compared, each series being a single observation.
    simulated : bool
        Whether the loss needs simulated paths, and so an equation with noise or jumps. A loss of curves that needs
        none is for equations without noise.
    is_likelihood : bool
        Whether the loss is a negative log likelihood, whose curvature gives standard errors.
    can_filter : bool
        Whether the loss handles hidden states and noisy or partial observations, by filtering.
    has_residual_noise : bool
        Whether the standard deviation of the residuals is the observation noise of an equation without noise.
    accepts_means : bool
        Whether the data may be means of many paths.
    suits_weak_solvers : bool
        Whether the loss depends on smooth means of the paths only, so that a method of weak order 2 is enough. Its
        three-valued increments make distances between paths too short.
    compares_paths : bool
        Whether distances between paths count. These need normal increments, but no single path needs an accuracy of
        its own, so that fixed steps are enough.
    shrinks_noise : bool
        Whether the loss is smallest without any noise, so that a learned diffusion goes to zero.
    antithetic : bool
        Whether paths are simulated in pairs with mirrored noise, which reduces the error of means.
    min_paths : int
        The smallest number of paths that the loss can be estimated from.
    """

    name: ClassVar[str] = "custom"
    of_transitions: ClassVar[bool] = False
    of_snapshots: ClassVar[bool] = False
    simulated: ClassVar[bool] = False
    is_likelihood: ClassVar[bool] = False
    can_filter: ClassVar[bool] = False
    has_residual_noise: ClassVar[bool] = False
    accepts_means: ClassVar[bool] = False
    suits_weak_solvers: ClassVar[bool] = False
    compares_paths: ClassVar[bool] = False
    shrinks_noise: ClassVar[bool] = False
    antithetic: ClassVar[bool] = False
    min_paths: ClassVar[int] = 1

    @abstractmethod
    def bind(self, data: TrainingData) -> Objective:
        """The objective that compares a model with these data."""

    def check_shape(self, method: str, values: Tensor, expected: tuple[int, ...]) -> Tensor:
        """The values that a method of this loss returned; another shape would be broadcast to a wrong loss."""
        if values.shape != expected:
            raise ValueError(
                f"{method} of loss={self} must return a tensor of shape {tuple(expected)}, got {tuple(values.shape)}."
            )
        return values

    def plain(self) -> Loss:
        """The variant for ``debiased=False``; the loss itself if it has none."""
        return self

    def for_snapshots(self) -> Loss:
        """The variant for series with a single observation each; the loss itself if it has none."""
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor by name, as in scikit-learn; ``deep`` changes nothing."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Loss:
        """Set arguments of the constructor by name and return the loss; unknown names raise a ValueError."""
        valid = list(self.get_params())
        for name, value in params.items():
            if name not in valid:
                raise ValueError(f"Invalid parameter {name!r} for loss {self}. Valid parameters are: {valid!r}.")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({params})"
