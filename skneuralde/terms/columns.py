"""Scaled input columns of a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from skneuralde.terms.inputs import Inputs


class Columns(nn.Module):
    """Assembles and scales the inputs of a network: state or features, then context and controls, then time.

    Features are a function of the state whose value replaces the state; ``name`` is the coefficient's, for messages.
    """

    shift: Tensor | None
    factor: Tensor | None

    def __init__(self, inputs: Inputs, features: Callable[[Tensor], Tensor] | None, name: str):
        super().__init__()
        if features is not None:
            features = inputs.copies.of(features, f"{name}.features", inputs.dtype)
        self.name = name
        self.features = features
        self.sees_time = "time" in inputs.sees
        self.context = inputs.context_columns
        self.sees_context = self.context.stop > self.context.start

        state_loc, state_scale = _state_scaling(inputs, features, name)
        self.n_state = len(state_loc)
        time_loc, time_scale = (state_loc.new_tensor([value] * self.sees_time) for value in inputs.time)
        loc = torch.cat([state_loc, inputs.context_loc[self.context], time_loc])
        scale = torch.cat([state_scale, inputs.context_scale[self.context], time_scale])
        factor = scale.to(inputs.dtype).reciprocal()
        shift = -loc.to(inputs.dtype) * factor
        self.width = len(factor)
        scaled = bool((factor != 1).any() or (shift != 0).any())
        self.register_buffer("factor", factor if scaled else None)
        self.register_buffer("shift", shift if scaled else None)

    def state_input(self, u: Tensor) -> Tensor:
        """Return the columns that stand for the state: u itself, its features, or none."""
        if self.features is not None:
            return self.features(u)
        return u if self.n_state else u[:, :0]

    def forward(self, t: Tensor, columns: Tensor, c: Tensor | None) -> Tensor:
        """Scaled inputs ``(batch, width)``, from time, the result of `state_input`, and context."""
        parts = [columns] if self.n_state else []
        if self.sees_context:
            if c is None:
                raise ValueError(f"the network of {self.name} sees context or controls, but there are none")
            parts.append(c[:, self.context])
        if self.sees_time:
            parts.append(t)
        x = parts[0] if len(parts) == 1 else torch.cat(parts or [columns], -1)
        return x if self.factor is None or self.shift is None else torch.addcmul(self.shift, x, self.factor)

    def state_weights(self, weights: Tensor) -> Tensor:
        """Weights ``(units, n_state)`` of the first layer with respect to the unscaled state or features."""
        weights = weights[:, : self.n_state]
        return weights if self.factor is None else weights * self.factor[: self.n_state]


def _state_scaling(inputs: Inputs, features: Callable[[Tensor], Tensor] | None, name: str) -> tuple[Tensor, Tensor]:
    """Location and scale of the columns that stand for the state; empty if there are none."""
    if features is None:
        stop = inputs.dim if "state" in inputs.sees else 0
        return inputs.state_loc[:stop], inputs.state_scale[:stop]
    sample = inputs.state_sample.to(inputs.dtype)
    if not len(sample):
        raise ValueError(f"features of {name} are scaled by fully observed states, but there are none")
    with torch.no_grad():
        values = features(sample)
    if not isinstance(values, Tensor) or values.ndim != 2 or len(values) != len(sample):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"features of {name} must turn a state of shape {tuple(sample.shape)} into a tensor of shape "
            f"({len(sample)}, n_features), got {got}"
        )
    if values.dtype != sample.dtype:
        raise ValueError(f"features of {name} must keep the state's dtype {sample.dtype}, got {values.dtype}")
    if not bool(values.isfinite().all()):
        row = int((~values.isfinite()).any(-1).nonzero()[0])
        raise ValueError(f"features of {name} are not finite at u = {sample[row].tolist()}: {values[row].tolist()}")
    scale, loc = torch.std_mean(values, 0, correction=0)
    rounding = 10 * torch.finfo(values.dtype).eps * loc.abs()
    return loc, torch.where(scale > rounding, scale, 1.0)
