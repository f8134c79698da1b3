"""`MLP`: the settings of a coefficient that is a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

from sklearn.base import BaseEstimator
from torch import Tensor

from skneuralde.terms.activations import ACTIVATIONS


class MLP(BaseEstimator):
    """A multilayer perceptron as a coefficient of the equation.

    It is a parameter object, which holds settings and no weights, so that a grid search can set them, for instance as
    ``drift__hidden_layer_sizes``. Inputs and outputs are scaled inside the network.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(50,)
        Number of units in each hidden layer; an empty sequence makes the coefficient linear.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "softplus"}, default="tanh"
        Activation of the hidden layers.
    features : callable, default=None
        Function of the state ``u (batch, dim)``, in the caller's units, that returns a tensor ``(batch, n_features)``,
        which the network sees in place of the state. It is used even if the state is not among the inputs.
    inputs : sequence of {"time", "state", "context", "controls"}, default=None
        Inputs of this network; None takes the estimator's ``inputs``. ``()`` makes the coefficient a learned constant.

    Examples
    --------
    >>> from skneuralde import MLP
    >>> MLP((50, 50), activation="silu")
    MLP(activation='silu', hidden_layer_sizes=(50, 50))
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (50,),
        activation: str = "tanh",
        features: Callable[[Tensor], Tensor] | None = None,
        inputs: Sequence[str] | None = None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.features = features
        self.inputs = inputs

    def layer_sizes(self, name: str) -> tuple[int, ...]:
        """Validate all parameters and return the hidden layer sizes; ``name`` is the coefficient's, for messages."""
        given: Any = self.hidden_layer_sizes
        sizes = (given,) if isinstance(given, Integral) else tuple(given)
        if not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes of {name} must be positive integers, got {given!r}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation of {name} must be one of {sorted(ACTIVATIONS)}, got {self.activation!r}")
        if self.features is not None and not callable(self.features):
            raise ValueError(f"features of {name} must be a function of the state, got {self.features!r}")
        if isinstance(self.inputs, str):
            raise ValueError(f"inputs of {name} must be a sequence of names, got {self.inputs!r}")
        return tuple(int(size) for size in sizes)

    def sees(self, default: tuple[str, ...]) -> tuple[str, ...]:
        """Inputs of the network, given those of networks by default."""
        return default if self.inputs is None else tuple(self.inputs)
