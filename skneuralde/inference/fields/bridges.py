"""Bridges: fields between two snapshots, exact in the diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.problems import FieldDrift, FieldModes, phi_functions

#: Ends of the pieces of an interval, as shares of it. The first pieces are shorter, since diffusion smooths fast.
PIECES = (torch.arange(6, dtype=torch.float64) / 5.0).square()
#: Inputs that change within this share of an interval from its ends change there.
_ROUNDING = 1e-9


def pieces_between(knots: Tensor) -> Tensor:
    """Ends of the pieces of intervals in which inputs change at the shares ``knots (n, m)`` of their length.

    Pieces end at the knots, too. Intervals with fewer knots than others begin with pieces of length zero.
    """
    inside = (knots > _ROUNDING) & (knots < 1.0 - _ROUNDING)
    added = torch.where(inside, knots.nan_to_num(posinf=0.0, neginf=0.0).round(decimals=9), 0.0)
    most = int(inside.sum(1).max()) if knots.numel() else 0
    ends = torch.cat([added, PIECES.to(knots).expand(len(knots), -1)], 1).sort(1).values
    return ends[:, ends.shape[1] - len(PIECES) - most :]


def middles(ends: Tensor) -> Tensor:
    """The middles of pieces, from their ends along the last axis."""
    return 0.5 * (ends[..., :-1] + ends[..., 1:])


@dataclass(frozen=True)
class Bridge:
    """The fields between one snapshot and the next."""

    nodes: Tensor  #: (pieces, batch, n), states at the middles of the pieces
    mean: Tensor  #: (batch, n), time average of the state over the interval
    gap: Tensor  #: (batch, n), the constant in the right-hand side that makes the bridge end at the second snapshot


def build_bridge(
    drift: FieldDrift, h: float, start: Tensor, stop: Tensor, forcing: Tensor | None = None, ends: Tensor = PIECES
) -> Bridge:
    """Connect the fields ``start`` and ``stop``, ``(batch, n)``, within a time h.

    The state obeys du/dt = D Lap u + forcing + gap, with the present diffusivity of the drift, without gradients. The
    forcing, ``(pieces, batch, n)``, is constant on each piece of the interval, and the gap on all of it. Without a
    forcing the gap is the mean of the right-hand side without diffusion. Each piece is solved in closed form in the
    eigenbasis of the diffusion. Pieces end at the shares ``ends`` of the interval, from 0 to 1.
    """
    modes = FieldModes(drift, start)
    x = modes.to_modes(start)
    forced = None if forcing is None else [modes.to_modes(f) for f in forcing]

    def functions(length: float, order: int) -> list[Tensor]:
        """``length**k`` times the k-th phi function of ``length`` times the eigenvalues, in the shape of x."""
        if modes.diffusion is None:
            still: Sequence[float] = (1.0, length, 0.5 * length**2)
            return [x.new_tensor(value) for value in still[: order + 1]]
        values = phi_functions(length * modes.eigenvalues[None], order)
        still = (1.0, 1.0, 0.5)
        return [length**k * modes.factors(value, still[k]) for k, value in enumerate(values)]

    nodes, mean = [], torch.zeros_like(x)
    for piece, share in enumerate(ends.diff().tolist()):
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
    nodes = [node + functions(at * h, 1)[1] * gap for node, at in zip(nodes, middles(ends).tolist(), strict=True)]
    back = modes.from_modes
    return Bridge(torch.stack([back(node) for node in nodes]), back(mean), back(gap))
