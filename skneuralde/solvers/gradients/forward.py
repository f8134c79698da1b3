"""Forward-mode gradients, for few parameters: derivatives are propagated along with the states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde._transforms import twice_differentiated
from skneuralde.solvers.mesh.outputs import Replay
from skneuralde.terms.derivatives import Pushforward

#: Steps whose graph is held at once.
_BLOCK = 16


def forward(replay: Replay, u: Tensor, dependencies: Sequence[Tensor]) -> list[Tensor]:
    """Forward mode with respect to the initial states and all tensors that the steps depend on.

    Each element of these tensors, and each component of the state, is a direction. Memory does not grow with steps.
    """
    return list(_Forward.apply(replay, u, *dependencies))


@dataclass(frozen=True)
class _Directions:
    """Directions in which a solution is differentiated: the components of the state, then the elements of tensors."""

    dim: int  #: number of components; 0 if the initial states need no gradient
    tensors: Sequence[Tensor]

    def at_start(self, u: Tensor) -> list[Tensor | None]:
        """Change of the initial states along each direction."""
        units = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)[: self.dim]
        return [*(unit.expand_as(u) for unit in units), *[None] * sum(x.numel() for x in self.tensors)]

    def of_tensors(self) -> list[list[Tensor | None]]:
        """Change of each tensor along each direction."""
        changes: list[list[Tensor | None]] = [[None] * len(self.tensors) for _ in range(self.dim)]
        for k, x in enumerate(self.tensors):
            for unit in torch.eye(x.numel(), dtype=x.dtype, device=x.device):
                changes.append([unit.view_as(x) if i == k else None for i in range(len(self.tensors))])
        return changes


class _Forward(torch.autograd.Function):
    """Propagates the derivatives in all directions, and contracts them in the backward pass."""

    @staticmethod
    def forward(ctx, replay, u, *dependencies):
        ctx.replay = replay
        ctx.save_for_backward(u, *dependencies)
        directions = _Directions(u.shape[1] if ctx.needs_input_grad[1] else 0, dependencies)
        of_tensors = directions.of_tensors()
        changes: list[list[Tensor | None]] = [[du] for du in directions.at_start(u)]
        kept, along = [], [list[Tensor]() for _ in changes]
        state, n_steps = None, len(replay.mesh)
        for first in range(0, n_steps, _BLOCK):
            start, begin = (None if x is None else x.detach().requires_grad_() for x in (u, state))
            with torch.enable_grad(), twice_differentiated():
                values, u, state = replay.run(start, begin, first=first, last=min(first + _BLOCK, n_steps))
            ends, sources = [*_known(u, state), *values], [*_known(start, begin), *dependencies]
            push, n = Pushforward(ends, sources), len(ends) - len(values)
            for k, (change, others) in enumerate(zip(changes, of_tensors, strict=True)):
                pushed = push.along([*change, *others])
                changes[k] = [*pushed[:n]]
                along[k] += pushed[n:]
            kept += [value.detach() for value in values]
        ctx.along_state, ctx.along = along[: directions.dim], along[directions.dim :]
        return tuple(kept)

    @staticmethod
    def backward(ctx, *slopes):
        u, *dependencies = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *ctx.replay.differentiable_gradient(u, dependencies, slopes)
        products = iter([sum((s * d).sum() for s, d in zip(slopes, along, strict=True)) for along in ctx.along])
        gradients = [
            # A tensor without elements has no directions.
            torch.stack([next(products) for _ in range(x.numel())]).view_as(x) if x.numel() else torch.zeros_like(x)
            for x in dependencies
        ]
        start = torch.zeros_like(u)
        for component, along in enumerate(ctx.along_state):
            for place, s, d in zip(ctx.replay.outputs.places.values(), slopes, along, strict=True):
                rows = torch.arange(len(s), device=s.device) if place.rows is None else place.rows
                start[:, component].index_add_(0, rows, (s * d).sum(-1))
        return None, start if ctx.along_state else None, *gradients


def _known(*tensors: Tensor | None) -> list[Tensor]:
    return [x for x in tensors if x is not None]
