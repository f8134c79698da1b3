"""Initial levels of learned coefficients, set by the biases of their last layer."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde._typing import Context, State, Time
from skneuralde.terms.base import Sum, Term
from skneuralde.terms.jumps import BoundedRate
from skneuralde.terms.network import Network

#: Largest change of a bias, in units of the last layer: beyond it, positive outputs and rates have hardly a gradient.
_REACH = 8.0
#: Number of bisections.
_HALVINGS = 40


def learned_network(term: Term) -> Network | None:
    """Return the network of a coefficient; None if it has none, a fitted one, or a module of the user."""
    if isinstance(term, Network):
        return None if term.has_learned else term
    if isinstance(term, BoundedRate):
        return learned_network(term.raw)
    parts = term.terms if isinstance(term, Sum) else []
    return next((network for part in parts if (network := learned_network(part)) is not None), None)


@torch.no_grad()
def set_level(term: Term, level: Tensor, t: Time, u: State, c: Context | None) -> None:
    """Set the biases of a coefficient's network so that its mean at these states is close to ``level (*shape,)``.

    They are found by bisection, as every component grows with its own bias. A coefficient without a network does not
    change.
    """
    network = learned_network(term)
    if network is None:
        return
    bias = network.layers[-1].bias
    low, high = bias - _REACH, bias + _REACH
    for _ in range(_HALVINGS):
        bias.copy_(0.5 * (low + high))
        below = (term(t, u, c).mean(0) < level).view_as(bias)
        low, high = torch.where(below, bias, low), torch.where(below, high, bias)
