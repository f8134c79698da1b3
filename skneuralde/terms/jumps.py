"""Rates below a bound, and jumps by a learned amount."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skneuralde._typing import Coefficient, Context, State, Time
from skneuralde.terms.affects import Affect
from skneuralde.terms.base import Term


class BoundedRate(Term):
    """A rate between 0 and a bound for thinning, ``bound * sigmoid(raw + offset)``, of shape ``(batch,)``.

    ``raw`` has one value per path, ``(batch, 1)``, initially about zero; there the rate is ``start``, below the bound.
    """

    def __init__(self, raw: Term, *, bound: float, start: float):
        super().__init__()
        self.raw = raw
        self.bound = bound
        self.offset = math.log(start / (bound - start))
        self.state_dependent = raw.state_dependent

    def forward(self, t: Time, u: State, c: Context | None = None) -> Coefficient:
        return self.bound * torch.sigmoid(self.raw(t, u, c)[:, 0] + self.offset)

    def _linearize(self, t: Tensor, u: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        raw, slope = self.raw.linearize(t, u, c)
        share = torch.sigmoid(raw[:, 0] + self.offset)
        return self.bound * share, (self.bound * share * (1.0 - share))[:, None] * slope[:, 0]

    def _curvature(self, t: Tensor, u: Tensor, c: Tensor | None, cov: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raw, slope, second = self.raw.curvature(t, u, c, cov)
        slope, share = slope[:, 0], torch.sigmoid(raw[:, 0] + self.offset)
        gain = self.bound * share * (1.0 - share)
        variance = ((slope[:, None] @ cov)[:, 0] * slope).sum(-1)
        return self.bound * share, gain[:, None] * slope, gain * (second[:, 0] + (1.0 - 2.0 * share) * variance)


class MoveBy(Affect):
    """A jump by a(t, u), to u + a(t, u), independently of the mark."""

    def __init__(self, move: Term):
        super().__init__()
        self.move = move

    def forward(self, t: Time, u: State, c: Context | None, z: Tensor) -> State:
        return u + self.move(t, u, c)
