"""Inputs of the coefficients besides the state, as functions of time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class InputPath:
    """Static context and interpolated controls of several series; all series share a single row of knots."""

    context: Tensor  #: (series, p)
    #: float64 (series or 1, n_knots), increasing times, padded on the right with infinity; steps of solvers end there
    knots: Tensor
    controls: Tensor  #: (series or 1, n_knots, q), values at the knots
    #: "next" (a knot's value acts over the interval that ends there), "linear" or "previous". Outside the knots the
    #: nearest value holds.
    interpolation: str

    def __call__(self, t: Tensor) -> Tensor:
        """The inputs at one time per series, ``(series,)`` to ``(series, p + q)``."""
        return self.on_grid(t[:, None])[:, 0]

    def on_grid(self, t: Tensor) -> Tensor:
        """The inputs at several times per series, ``(series, n)`` to ``(series, n, p + q)``."""
        context = self.context[:, None].expand(-1, t.shape[1], -1)
        if self.controls.shape[-1] == 0:
            return context
        last = self.knots.isfinite().sum(-1, keepdim=True) - 1
        # "next" holds on [knot i, knot i + 1): a step that starts on a knot uses the value of the interval it enters.
        knots = self.knots[0] if self._shared else self.knots
        after = torch.searchsorted(knots, t.contiguous(), right=True)
        upper, lower = torch.minimum(after, last), (after - 1).clamp_min(0)
        if self.interpolation == "next":
            value = self._control(upper)
        elif self.interpolation == "previous":
            value = self._control(lower)
        else:
            start, end = (knots[at] if self._shared else knots.gather(1, at) for at in (lower, upper))
            fraction = ((t - start) / torch.where(end > start, end - start, 1.0)).clamp(0, 1)
            share = fraction.to(self.controls.dtype)[..., None]
            value = torch.lerp(self._control(lower), self._control(upper), share)
        return torch.cat([context, value], -1)

    @property
    def _shared(self) -> bool:
        return len(self.knots) == 1

    def _control(self, position: Tensor) -> Tensor:
        if self._shared:
            return self.controls[0][position]
        return self.controls[torch.arange(len(position), device=position.device)[:, None], position]

    def select(self, items: Tensor) -> InputPath:
        """The inputs of these series; an item may occur several times."""
        if self._shared:
            # Shared controls are not copied: copies for many paths would take most of the time and memory.
            return InputPath(self.context[items], self.knots, self.controls, self.interpolation)
        return InputPath(self.context[items], self.knots[items], self.controls[items], self.interpolation)

    def resolved(self) -> InputPath | Tensor | None:
        """The context for a solver: this path, a constant tensor if there are no controls, or None."""
        if self.controls.shape[-1]:
            return self
        return self.context if self.context.shape[-1] else None


@dataclass(frozen=True)
class RepeatedInputs:
    """The inputs of ``n_paths`` copies of every series, always evaluated at the same times for all copies."""

    inputs: InputPath
    n_paths: int

    @property
    def knots(self) -> Tensor:
        """The knots of all copies, or a single row if the series share them."""
        knots = self.inputs.knots
        return knots if len(knots) == 1 else knots.repeat(self.n_paths, 1)

    def __call__(self, t: Tensor) -> Tensor:
        """The inputs of all copies, ``(n_paths * series,)`` to ``(n_paths * series, p + q)``."""
        return self.inputs(t[: len(self.inputs.context)]).repeat(self.n_paths, 1)

    def on_grid(self, t: Tensor) -> Tensor:
        """The inputs of all copies at several times each."""
        return self.inputs.on_grid(t[: len(self.inputs.context)]).repeat(self.n_paths, 1, 1)
