"""Forward-mode gradients, for few parameters: derivatives are propagated along with the states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from skneuralde._transforms import twice_differentiated
from skneuralde.solvers.gradients.dependencies import Leaves, checked, other_leaves
from skneuralde.solvers.mesh.outputs import Replay
from skneuralde.terms.derivatives import Pushforward

#: Steps whose graph is held at once.
_BLOCK = 16


def forward(replay: Replay, u: Tensor, dependencies: Sequence[Tensor]) -> list[Tensor]:
    """Forward mode with respect to the initial states and all tensors that the steps depend on.

    Each element of these tensors, and each component of the state, is a direction. Memory does not grow with steps.
    """
    return list(_Forward.apply(replay, u, *dependencies))


@dataclass
class _Direction:
    """A direction in which a solution is differentiated: one component of the state, or one element of a tensor."""

    of_tensors: list[Tensor | None]  #: change of the tensors that the steps depend on
    change: list[Tensor | None]  #: change of the state and the solver state
    along: list[Tensor | None]  #: changes of the requested states


#: The directions of the state, then those of each tensor; none of a tensor that no step has used so far.
_Directions = list[list[_Direction]]


class _Forward(torch.autograd.Function):
    """Propagates the derivatives in all directions, and contracts them in the backward pass."""

    @staticmethod
    def forward(ctx, replay, u, *dependencies):
        ctx.replay = replay
        ctx.save_for_backward(u, *dependencies)
        units = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)[: None if ctx.needs_input_grad[1] else 0]
        nothing: list[Tensor | None] = [None] * len(dependencies)
        directions: _Directions = [[_Direction(nothing, [unit.expand_as(u)], []) for unit in units]]
        directions += [[] for _ in dependencies]
        kept: list[Tensor] = []
        state, n_steps = None, len(replay.mesh)
        for first in range(0, n_steps, _BLOCK):
            steps = first, min(first + _BLOCK, n_steps)
            block = checked(partial(_push, replay, steps, u, state, dependencies, directions, len(kept)))
            values, u, state, directions, pushed = block
            for direction, changes in zip(chain(*directions), pushed, strict=True):
                n = len(changes) - len(values)
                direction.change = [*changes[:n]]
                direction.along += changes[n:]
            kept += values
        ctx.of_state, *ctx.of_tensors = [[direction.along for direction in group] for group in directions]
        return tuple(kept)

    @staticmethod
    def backward(ctx, *slopes):
        u, *dependencies = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *ctx.replay.differentiable_gradient(u, dependencies, slopes)
        gradients = [
            torch.stack([_product(slopes, along) for along in directions]).view_as(x) if directions else None
            for x, directions in zip(dependencies, ctx.of_tensors, strict=True)
        ]
        start = torch.zeros_like(u)
        for component, along in enumerate(ctx.of_state):
            for place, s, d in zip(ctx.replay.outputs.places.values(), slopes, along, strict=True):
                rows = torch.arange(len(s), device=s.device) if place.rows is None else place.rows
                start[:, component].index_add_(0, rows, (s * d).sum(-1))
        return None, start if ctx.of_state else None, *gradients


_Block = tuple[list[Tensor], Tensor, Tensor | None, _Directions, list[list[Tensor]]]


def _push(
    replay: Replay,
    steps: tuple[int, int],
    u: Tensor,
    state: Tensor | None,
    dependencies: Sequence[Tensor],
    directions: _Directions,
    n_kept: int,
) -> tuple[_Block, Leaves]:
    """Make steps: requested states, the state and solver state after them, and the changes of all these.

    The changes are along the directions that are returned, which include those of tensors used for the first time.
    """
    start, begin = (None if x is None else x.detach().requires_grad_() for x in (u, state))
    assert start is not None
    with torch.enable_grad(), twice_differentiated():
        values, u, state = replay.run(start, begin, first=steps[0], last=steps[1])
    ends, starts = [*_known(u, state), *values], _known(start, begin)
    sources = [*starts, *dependencies]
    push = Pushforward(ends, sources)
    directions = [*directions]
    for k, pulled in enumerate(push.pulled[len(starts) :]):
        if pulled is not None and not directions[1 + k]:
            directions[1 + k] = _of_tensor(dependencies, k, len(starts), n_kept)
    pushed = [push.along([*direction.change, *direction.of_tensors]) for direction in chain(*directions)]
    block = [x.detach() for x in values], u.detach(), None if state is None else state.detach(), directions, pushed
    return block, other_leaves(ends, sources)


def _of_tensor(tensors: Sequence[Tensor], k: int, n_starts: int, n_kept: int) -> list[_Direction]:
    """The directions of one tensor, which no step has used before."""
    x = tensors[k]
    return [
        _Direction(
            [unit.view_as(x) if i == k else None for i in range(len(tensors))], [None] * n_starts, [None] * n_kept
        )
        for unit in torch.eye(x.numel(), dtype=x.dtype, device=x.device)
    ]


def _product(slopes: Sequence[Tensor], along: Sequence[Tensor | None]) -> Tensor:
    return torch.stack([(s * d).sum() for s, d in zip(slopes, along, strict=True) if d is not None]).sum()


def _known(*tensors: Tensor | None) -> list[Tensor]:
    return [x for x in tensors if x is not None]
