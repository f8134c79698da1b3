"""Multilayer perceptron with analytic derivatives with respect to the state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skneuralde._typing import Coefficient, Context, State, Time
from skneuralde.terms.activations import ACTIVATIONS
from skneuralde.terms.base import Expansion, Term, sum_of_squares
from skneuralde.terms.columns import Columns
from skneuralde.terms.derivatives import value_and_jacobian, value_and_two_derivatives
from skneuralde.terms.inputs import Inputs
from skneuralde.terms.mlp import MLP
from skneuralde.terms.outputs import OUTPUTS, squares, weighted_sum

Module = TypeVar("Module", bound=nn.Module)

#: Initial size of a network's output, in units of the output's scale: small, so that training starts near zero.
_INITIAL_SIZE = 0.1


class Network(Term):
    """A coefficient that is a multilayer perceptron, with inputs and outputs in the caller's units.

    Parameters
    ----------
    mlp : MLP
    inputs : Inputs
    output_scale : Tensor of shape (*shape,)
        Typical size of the coefficient; its shape is the coefficient's.
    positive : {None, "softplus", "cholesky"}
        None: any sign, initially about 0.1 of the scale. "softplus": positive components, initially the scale.
        "cholesky": a lower triangular matrix with positive diagonal, initially the diagonal of the scale.
    generator : torch.Generator
        Draws the initial weights.
    name : str
        The coefficient's name, for messages.
    """

    has_learned = False  # whether its weights come from an earlier fit

    def __init__(
        self,
        mlp: MLP,
        inputs: Inputs,
        output_scale: Tensor,
        *,
        positive: str | None = None,
        generator: torch.Generator,
        name: str,
    ):
        super().__init__()
        if positive not in OUTPUTS:
            raise ValueError(f"positive must be one of {list(OUTPUTS)}, got {positive!r}")
        hidden = mlp.layer_sizes(name)
        self.activation = mlp.activation
        self.columns = Columns(replace(inputs, sees=mlp.sees(inputs.sees)), mlp.features, name)
        self.output = OUTPUTS[positive](output_scale.detach().to(inputs.dtype))
        self.state_dependent = self.columns.n_state > 0
        # A network without inputs is a learned constant: the biases of the last layer.
        sizes = (self.columns.width, *(hidden if self.columns.width else ()), self.output.width)
        gain = ACTIVATIONS[self.activation].gain
        layers = [Layer.random(n_in, n_out, gain, generator) for n_in, n_out in pairwise(sizes)]
        layers[-1] = Layer(_INITIAL_SIZE * layers[-1].weight.detach(), self.output.initial_bias())
        # nn.ModuleList does not know the type of its modules.
        self.layers: Sequence[Layer] = nn.ModuleList(layers).to(inputs.dtype)  # type: ignore[assignment]

    def forward(self, t: Time, u: State, c: Context | None = None) -> Coefficient:
        activate = ACTIVATIONS[self.activation].function
        x = self.columns(t, self.columns.state_input(u), c)
        *hidden, last = self.layers
        for layer in hidden:
            x = activate(layer(x))
        return self.output(last(x))

    def _linearize(self, t: Tensor, u: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        features = self.columns.features
        state_input, inner = (u, None) if features is None else value_and_jacobian(features, u)
        raw, slope, _ = self._last_layer(self.columns(t, state_input, c))
        return self.output.linearize(raw, slope if inner is None else slope @ inner)

    def _curvature(self, t: Tensor, u: Tensor, c: Tensor | None, cov: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.columns.features is None:
            raw, slope, second = self._last_layer(self.columns(t, u, c), cov)
        else:
            state_input, inner, inner_second = value_and_two_derivatives(self.columns.features, u, cov)
            raw, slope, second = self._last_layer(self.columns(t, state_input, c), inner @ cov @ inner.mT)
            second = second + (slope @ inner_second[..., None])[..., 0]
            slope = slope @ inner
        return self.output.curvature(raw, slope, second, cov)

    def expand(self, t: Time, u: State, c: Context | None = None) -> Expansion:
        """Second-order Taylor expansion around the states, with exact derivatives for a state of one dimension."""
        if self.columns.n_state != 1 or u.shape[-1] != 1 or self.columns.features is not None:
            return super().expand(t, u, c)
        value, slope, second = self._curvature(t, u, c, torch.ones_like(u)[..., None])
        return ScalarExpansion(value, slope[..., 0], second)

    def _last_layer(self, x: Tensor, cov: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Last layer ``(batch, width)`` and its Jacobian ``(batch, width, n_state)``.

        With ``cov (batch, n_state, n_state)`` also the second derivatives summed with these weights, else zero.
        """
        activation = ACTIVATIONS[self.activation]
        first, *rest = self.layers
        pre = first(x)
        # Up to the first activation the derivatives with respect to the state are the same for every path. Sharing the
        # products of weights there leaves only matrix products.
        shared = self.columns.state_weights(first.weight).T
        if not rest:
            return pre, shared.T.expand(len(x), -1, -1), torch.zeros_like(pre)
        tangents, second = shared, pre.new_zeros(())
        for depth, layer in enumerate(rest):
            weight = layer.weight.T
            if cov is None:
                post, gain = activation.with_slope(pre)
            else:
                post, gain, curvature = activation.with_curvature(pre)
                if depth == 0:
                    pairs = _outer_squares(shared.T)[..., None] * weight[:, None, None]
                    second = weighted_sum(_row_products(curvature, pairs), cov)
                else:
                    second = torch.addcmul(second * gain, curvature, squares(tangents.mT, cov)) @ weight
            if depth == 0:
                tangents = _row_products(gain, shared.T[..., None] * weight[:, None])
            else:
                tangents = (tangents * gain[:, None]) @ weight
            pre = layer(post)
        return pre, tangents.mT, second


def copy_learned(module: Module, name: str, inputs: Inputs) -> Module:
    """Return a copy of a fitted equation's coefficients, given as the argument ``name``, to train them further."""
    copied: Module = inputs.copies.of(module, name, inputs.dtype)
    for part in copied.modules():
        if isinstance(part, Network):
            part.has_learned = True
    return copied


def _row_products(x: Tensor, matrices: Tensor) -> Tensor:
    """Products ``(batch, ..., m)`` of rows ``x (batch, k)`` with matrices ``(k, ..., m)``, as one matrix product."""
    return (x @ matrices.flatten(1)).view(len(x), *matrices.shape[1:])


def _outer_squares(rows: Tensor) -> Tensor:
    """Products ``(k, n, n)`` of all pairs of components of rows ``(k, n)``."""
    return rows[:, :, None] * rows[:, None, :]


@dataclass(frozen=True)
class ScalarExpansion:
    """Expansion around states of one dimension: value and two derivatives, each ``(batch, *shape)``."""

    value: Tensor
    slope: Tensor
    second: Tensor

    def along(self, directions: Tensor) -> tuple[Tensor, Tensor]:
        steps = directions.view(*directions.shape[:2], *[1] * (self.value.ndim - 1))
        return self.slope[:, None] * steps, self.second * sum_of_squares(steps, 1)


class Layer(nn.Module):
    """An affine layer with given weights ``(n_out, n_in)`` and biases.

    `torch.nn.Linear` would draw them from torch's global generator.
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    @classmethod
    def random(cls, n_in: int, n_out: int, gain: float, generator: torch.Generator) -> Layer:
        """Draw uniform weights that preserve the variance of unit inputs (LeCun et al. 1998), and uniform biases.

        They are drawn in double precision on the generator's device, so that every dtype starts from the same network.
        """
        draws = torch.rand(n_out, n_in + 1, dtype=torch.float64, generator=generator, device=generator.device) * 2 - 1
        fan = max(n_in, 1)
        return cls(draws[:, :-1] * (gain * math.sqrt(3 / fan)), draws[:, -1] / math.sqrt(fan))
