"""The level of a learned coefficient: the biases of its last layer, set so that it has a given mean."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde._typing import Context, State, Time
from skneuralde.terms.base import Sum, Term
from skneuralde.terms.jumps import BoundedRate
from skneuralde.terms.network import Network

#: How far biases may move, in units of the last layer: beyond, positive outputs and rates would have no gradient left.
_REACH = 8.0
#: Bisections.
_HALVINGS = 40


def learned_network(term: Term) -> Network | None:
    """The network that moves a coefficient as a whole; None where it is known, learned before, or the user's own."""
    if isinstance(term, Network):
        return None if term.has_learned else term
    if isinstance(term, BoundedRate):
        return learned_network(term.raw)
    parts = term.terms if isinstance(term, Sum) else []
    return next((network for part in parts if (network := learned_network(part)) is not None), None)


@torch.no_grad()
def set_level(term: Term, level: Tensor, t: Time, u: State, c: Context | None) -> None:
    """Give a coefficient, at these states, a mean as near to ``level (*shape,)`` as its network can.

    Bisection: every component grows with its own bias. Nothing happens to a coefficient without a network.
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
