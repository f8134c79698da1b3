"""Checkpointed gradients: few states are stored, and the steps in between are made again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde._calls import is_same
from skneuralde.solvers.gradients.dependencies import Leaves, checked, other_leaves
from skneuralde.solvers.mesh.mesh import Mesh
from skneuralde.solvers.mesh.outputs import Replay


class Checkpoint(NamedTuple):
    """State and solver state at the start of the steps ``first`` to ``last - 1`` of a mesh, in its order of paths."""

    first: int
    last: int
    u: Tensor
    solver_state: Tensor | None


def checkpointed(
    replay: Replay,
    u: Tensor,
    dependencies: Sequence[Tensor],
    *,
    stored: tuple[list[Checkpoint], list[Tensor]] | None = None,
) -> list[Tensor]:
    """Reverse mode through the steps after one checkpoint at a time; these are made again, with their noise.

    ``stored`` are the checkpoints and the requested states, if the step loop has kept them; otherwise one state in
    ``sqrt(n_steps)`` is a checkpoint. torch's own checkpoint keeps the nodes of the graph, whose memory grows with the
    steps, or has no gradient with respect to chosen tensors.
    """
    with torch.no_grad():
        checkpoints, values = _store(replay, u) if stored is None else stored
    return list(_Checkpointed.apply(replay, checkpoints, values, u, *dependencies))


def checkpoint_every_step(mesh: Mesh, states: Tensor, solver_states: Tensor | None) -> list[Checkpoint]:
    """A checkpoint at each step, from the states (sum of mesh.active, ...) at which they begin."""
    checkpoints, begin = [], 0
    for k, active in enumerate(mesh.active):
        rows = slice(begin, begin + active)
        # The first step finds its solver state by itself.
        solver_state = None if solver_states is None or k == 0 else solver_states[rows]
        checkpoints.append(Checkpoint(k, k + 1, states[rows], solver_state))
        begin += active
    return checkpoints


def _store(replay: Replay, u: Tensor) -> tuple[list[Checkpoint], list[Tensor]]:
    n_steps = len(replay.mesh)
    size = math.ceil(math.sqrt(n_steps))
    checkpoints, values, u, solver_state = [], [], u.detach(), None
    for first in range(0, n_steps, size):
        last = min(first + size, n_steps)
        checkpoints.append(Checkpoint(first, last, u, solver_state))
        kept, u, solver_state = replay.run(u, solver_state, first=first, last=last)
        values += kept
    return checkpoints, values


class _Checkpointed(torch.autograd.Function):
    """The requested states as they are; going back, the graph after one checkpoint at a time is held."""

    @staticmethod
    def forward(ctx, replay, checkpoints, values, u, *dependencies):
        ctx.replay, ctx.checkpoints = replay, checkpoints
        ctx.save_for_backward(u, *dependencies)
        # A requested state may be the very tensor that a checkpoint holds.
        return tuple(value.clone() for value in values)

    @staticmethod
    def backward(ctx, *slopes):
        u, *dependencies = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, None, None, *ctx.replay.differentiable_gradient(u, dependencies, slopes)
        by_step = dict(zip(ctx.replay.outputs.places, slopes, strict=True))
        totals: list[Tensor | None] = [None] * len(dependencies)
        u_slope = state_slope = None
        after = None
        for checkpoint in reversed(ctx.checkpoints):
            requested = [by_step[k] for k in range(checkpoint.first, checkpoint.last) if k in by_step]
            back = partial(_back, ctx.replay, checkpoint, after, dependencies, u_slope, state_slope, requested)
            u_slope, state_slope, *found = checked(back)
            after = checkpoint.u
            totals = [_sum(*pair) for pair in zip(totals, found, strict=True)]
        if u_slope is not None and len(u_slope) < len(u):
            # The last paths take no step at all.
            u_slope = torch.cat([u_slope, u_slope.new_zeros(len(u) - len(u_slope), *u_slope.shape[1:])])
        return None, None, None, u_slope, *totals


def _back(
    replay: Replay,
    checkpoint: Checkpoint,
    after: Tensor | None,
    dependencies: Sequence[Tensor],
    u_slope: Tensor | None,
    state_slope: Tensor | None,
    requested: list[Tensor],
) -> tuple[tuple[Tensor | None, ...], Leaves]:
    """Make the steps after a checkpoint again and differentiate in the state, the solver state and the dependencies.

    Slopes at the end may lack the last paths, which have ended before. The graph does not outlive the call. ``after``
    are the states at the next checkpoint.
    """
    first, last, u, solver_state = checkpoint
    u = u.detach().requires_grad_()
    solver_state = None if solver_state is None else solver_state.detach().requires_grad_()
    with torch.enable_grad():
        kept, u_end, state_end = replay.run(u, solver_state, first=first, last=last)
        if after is not None and not is_same(u_end[: len(after)], after):
            raise ValueError(
                "a coefficient is not a function of (t, u): steps that are made again for the gradient do not give the "
                'same states as before; gradient="direct" makes them once'
            )
        pairs = [
            (end[: len(slope)], slope)
            for end, slope in zip([u_end, state_end, *kept], [u_slope, state_slope, *requested], strict=True)
            if end is not None and slope is not None and end.requires_grad
        ]
    if not pairs:
        return (None,) * (2 + len(dependencies)), []
    ends, end_slopes = zip(*pairs, strict=True)
    sources = [u, *([] if solver_state is None else [solver_state]), *dependencies]
    # Tensors that callables captured may have a graph of their own, which all steps go through.
    found = torch.autograd.grad(ends, sources, end_slopes, allow_unused=True, retain_graph=True)
    return found if solver_state is not None else (found[0], None, *found[1:]), other_leaves(ends, sources)


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """The sum of two gradients; None is zero."""
    return b if a is None else a if b is None else a + b
