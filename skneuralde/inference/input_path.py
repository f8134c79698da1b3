"""What the networks see besides the state, as a function of time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

INTERPOLATIONS = ("next", "linear", "previous")


@dataclass(frozen=True)
class InputPath:
    """Static context and interpolated controls of several series.

    Attributes
    ----------
    context : Tensor of shape (series, p)
    knots : float64 Tensor of shape (series, n_knots)
        Increasing times at which controls are known, padded on the right with infinity.
    controls : Tensor of shape (series, n_knots, q)
    interpolation : {"next", "linear", "previous"}
        ``"next"``: a knot's value acts over the interval that ends there. Beyond the first and last knot the nearest
        value holds.
    """

    context: Tensor
    knots: Tensor
    controls: Tensor
    interpolation: str

    def __call__(self, t: Tensor) -> Tensor:
        """The inputs at one time per series, ``(series,)`` to ``(series, p + q)``."""
        if self.controls.shape[-1] == 0:
            return self.context
        last = self.knots.isfinite().sum(-1) - 1
        # "next" holds on [knot i, knot i + 1): a step that starts on a knot uses the value of the interval it enters.
        after = torch.searchsorted(self.knots, t[:, None].contiguous(), right=True)[:, 0]
        upper = torch.minimum(after, last)
        lower = (after - 1).clamp_min(0)
        if self.interpolation == "next":
            value = self._control(upper)
        elif self.interpolation == "previous":
            value = self._control(lower)
        else:
            start, end = self._knot(lower), self._knot(upper)
            fraction = ((t - start) / torch.where(end > start, end - start, 1.0)).clamp(0, 1)
            value = torch.lerp(self._control(lower), self._control(upper), fraction.to(self.controls.dtype)[:, None])
        return torch.cat([self.context, value], -1)

    def _control(self, position: Tensor) -> Tensor:
        return self.controls[torch.arange(len(position), device=position.device), position]

    def _knot(self, position: Tensor) -> Tensor:
        return self.knots.gather(1, position[:, None])[:, 0]

    def select(self, items: Tensor) -> InputPath:
        """The inputs of these series; an item may be named several times."""
        return InputPath(self.context[items], self.knots[items], self.controls[items], self.interpolation)

    def resolved(self) -> InputPath | Tensor | None:
        """What ``integrate`` takes as context: this path, a constant tensor where nothing varies, or None."""
        if self.controls.shape[-1]:
            return self
        return self.context if self.context.shape[-1] else None
