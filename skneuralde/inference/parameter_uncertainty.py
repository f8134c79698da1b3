"""Uncertainty of the parameters of a fitted model, and of functions of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from skneuralde.terms.derivatives import along

#: Trainable parameters by name.
Parameters = dict[str, Tensor]


def trainable_parameters(model: nn.Module) -> Parameters:
    """The parameters that training adjusts, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def call_with(module: nn.Module, parameters: Parameters, arguments: Sequence[Tensor]) -> Any:
    """Call a module with other values of its parameters; those that are not given keep theirs.

    A module or parameter may be in several places, which torch would not restore afterwards.
    """
    given = {id(p): parameters[name] for name, p in module.named_parameters() if name in parameters}
    values = {
        f"{path}.{name}" if path else name: given[id(p)]
        for path, part in module.named_modules()
        for name, p in part.named_parameters(recurse=False)
        if id(p) in given
    }
    return torch.func.functional_call(module, values, tuple(arguments), tie_weights=False)


def parameter_vector(model: nn.Module) -> Tensor:
    """The trainable parameters of a model as one float64 vector on the CPU."""
    parameters = list(trainable_parameters(model).values())
    if not parameters:
        return torch.zeros(0, dtype=torch.float64)
    return parameters_to_vector(parameters).detach().to("cpu", torch.float64)


@torch.no_grad()
def set_parameters(model: nn.Module, vector: Tensor) -> None:
    """Put a vector from `parameter_vector` into a model."""
    parameters = list(trainable_parameters(model).values())
    if parameters:
        vector_to_parameters(vector.to(parameters[0]), parameters)


def split(vector: Tensor, like: Parameters) -> Parameters:
    """A vector from `parameter_vector` as named parameters, in their dtypes and on their devices."""
    pieces = vector.split([p.numel() for p in like.values()]) if like else ()
    return {name: piece.view_as(p).to(p) for (name, p), piece in zip(like.items(), pieces, strict=True)}


class Uncertainty(ABC):
    """Uncertainty of a model's trainable parameters."""

    @abstractmethod
    def std(self, function: Callable[[Parameters], Tensor], model: nn.Module) -> Tensor:
        """Standard deviation of ``function(parameters)``, of the same shape, at the parameters of the model."""


@dataclass(frozen=True)
class GaussianUncertainty(Uncertainty):
    """A normal distribution around the model's own parameters."""

    factor: Tensor  #: float64 (n_parameters, n_parameters), a matrix L with covariance L L'

    @property
    def covariance(self) -> Tensor:
        """Covariance of the parameters, ``(n_parameters, n_parameters)``."""
        return self.factor @ self.factor.mT

    def std(self, function: Callable[[Parameters], Tensor], model: nn.Module) -> Tensor:
        """Standard deviation by the delta method: one directional derivative per column of the factor."""
        here = {name: p.detach() for name, p in trainable_parameters(model).items()}
        values = [p[None] for p in here.values()]

        def as_row(*values: Tensor) -> Tensor:
            return function({name: value[0] for name, value in zip(here, values, strict=True)})[None]

        variance = torch.zeros_like(function(here))
        for column in self.factor.mT:
            directions = [direction[None] for direction in split(column, here).values()]
            variance = variance + along(as_row, values, directions)[1][0].square()
        return variance.sqrt()


@dataclass(frozen=True)
class EnsembleUncertainty(Uncertainty):
    """Parameters of several models, trained from different seeds on different weights of the data."""

    members: Tensor  #: float64 (n_members, n_parameters)

    def std(self, function: Callable[[Parameters], Tensor], model: nn.Module) -> Tensor:
        """Standard deviation over the ensemble's members."""
        like = trainable_parameters(model)
        return torch.stack([function(split(member, like)) for member in self.members]).std(0)
