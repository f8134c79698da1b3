"""What a step needs to know of the noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Increments(NamedTuple):
    """Noise of one step: the Brownian motion's increments, and its space-time Levy areas if the method needs them.

    The area H of an interval of length h is the mean distance of the path from its chord: its variance is h/12, it is
    independent of the increment W, and the integral of the path over the interval, from zero, is h (W/2 + H).
    """

    w: Tensor
    area: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Increments:
        """What a function makes of both."""
        return Increments(function(self.w), None if self.area is None else function(self.area))

    def after(self, other: Increments) -> Increments:
        """Both, along the first axis."""
        area = None if self.area is None or other.area is None else torch.cat([other.area, self.area])
        return Increments(torch.cat([other.w, self.w]), area)

    def put(self, place: Tensor, other: Increments) -> Increments:
        """These, changed to others at places (n,) along the first axis."""
        self.w.index_copy_(0, place, other.w)
        if self.area is not None and other.area is not None:
            self.area.index_copy_(0, place, other.area)
        return self
