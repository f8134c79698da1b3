"""Noise of a time step: increments and space-time Levy areas."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Increments(NamedTuple):
    """Noise of one step: the Brownian motion's increments, and its space-time Levy areas if the method needs them.

    The area H of an interval of length h is the mean of the path minus its chord. It has variance h/12 and is
    independent of the increment W; the integral of the path over the interval, from zero, is h (W/2 + H).
    """

    w: Tensor
    area: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Increments:
        """Apply a function to both."""
        return Increments(function(self.w), None if self.area is None else function(self.area))

    def after(self, other: Increments) -> Increments:
        """Join others and these along the first axis, the others first."""
        area = None if self.area is None or other.area is None else torch.cat([other.area, self.area])
        return Increments(torch.cat([other.w, self.w]), area)

    def put(self, place: Tensor, other: Increments) -> Increments:
        """Overwrite rows (n,) along the first axis by others, in place."""
        self.w.index_copy_(0, place, other.w)
        if self.area is not None and other.area is not None:
            self.area.index_copy_(0, place, other.area)
        return self
