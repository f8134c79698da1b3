"""Fields between two snapshots: what leads from the one to the other, exactly in the diffusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.problems import FieldDrift, FieldModes, phi_functions

#: Ends of the pieces of an interval, as shares of it: shorter ones at the start, where diffusion smooths fast.
PIECES = (torch.arange(6, dtype=torch.float64) / 5.0).square()
#: Lengths and middles of the pieces.
LENGTHS, MIDDLES = PIECES.diff(), (PIECES[:-1] + PIECES[1:]) / 2.0
#: Everything but diffusion at the middles of the pieces, ``(pieces, batch, n)``, from the states there.
Forcing = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Bridge:
    """Fields on the way from one snapshot to the next.

    Attributes
    ----------
    nodes : Tensor of shape (pieces, batch, n)
        States at the middles of the pieces.
    mean : Tensor of shape (batch, n)
        The mean of the state over the interval.
    gap : Tensor of shape (batch, n)
        What the forcing lacks everywhere for the bridge to end at the second snapshot.
    """

    nodes: Tensor
    mean: Tensor
    gap: Tensor


def build_bridge(drift: FieldDrift, h: float, start: Tensor, stop: Tensor, forcing: Tensor | None = None) -> Bridge:
    """Lead the fields ``start`` to ``stop``, ``(batch, n)``, within a time h.

    The state obeys du/dt = D Lap u + forcing + gap, where the forcing is constant on each piece of the interval and the
    gap on all of it, and is such that the bridge ends where it must. Each of these pieces is solved in closed form in
    the basis of the diffusion. Without a forcing the gap is all there is: the mean of the right-hand side.

    Parameters
    ----------
    drift : FieldDrift
        Tells the diffusion, with its present diffusivity, without gradients.
    h : float
    start, stop : Tensor of shape (batch, n)
    forcing : Tensor of shape (pieces, batch, n), optional

    Returns
    -------
    Bridge
    """
    modes = FieldModes(drift, start)
    x = modes.to_modes(start)
    forced = None if forcing is None else [modes.to_modes(f) for f in forcing]

    def functions(length: float, order: int) -> list[Tensor]:
        """The functions of ``length`` times the eigenvalues, the k-th with ``length`` to the power k, shaped as x."""
        if modes.diffusion is None:
            still: Sequence[float] = (1.0, length, 0.5 * length**2)
            return [x.new_tensor(value) for value in still[: order + 1]]
        values = phi_functions(length * modes.eigenvalues[None], order)
        still = (1.0, 1.0, 0.5)
        return [length**k * modes.factors(value, still[k]) for k, value in enumerate(values)]

    nodes, mean = [], torch.zeros_like(x)
    for piece, share in enumerate(LENGTHS.tolist()):
        length = share * h
        half, whole = functions(0.5 * length, 1), functions(length, 2)
        middle, ahead, area = half[0] * x, whole[0] * x, whole[1] * x
        if forced is not None:
            middle, ahead, area = (
                value + weight * forced[piece]
                for value, weight in ((middle, half[1]), (ahead, whole[1]), (area, whole[2]))
            )
        nodes.append(middle)
        mean, x = mean + area, ahead
    last = functions(h, 2)
    gap = (modes.to_modes(stop) - x) / last[1]
    mean = (mean + last[2] * gap) / h
    nodes = [node + functions(at * h, 1)[1] * gap for node, at in zip(nodes, MIDDLES.tolist(), strict=True)]
    back = modes.from_modes
    return Bridge(torch.stack([back(node) for node in nodes]), back(mean), back(gap))
