"""Gradients that keep few states, or one per step, and make the steps in between once more."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.gradients.dependencies import leaves_of
from skneuralde.solvers.mesh.mesh import Mesh, Stepper
from skneuralde.solvers.mesh.outputs import OneStatePerRow, RequestedStates, run
from skneuralde.solvers.mesh.step_states import StepStates


def stepwise(
    marcher: Stepper,
    rhs: RightHandSide,
    u0: Tensor,
    mesh: Mesh,
    wanted: OneStatePerRow,
    values: Tensor,
    visited: StepStates,
) -> Tensor:
    """Wanted states that a search has found already, differentiable by making each of its steps once more.

    Parameters
    ----------
    marcher : Stepper
    equation : RightHandSide
    u0 : Tensor of shape (batch, dim)
    mesh : Mesh
        Without noise and jumps.
    wanted : OneStatePerRow
        None of them at the start.
    values : Tensor of shape (n, dim)
        The wanted states.
    visited : StepStates
        What the search went through.
    """
    leaves = leaves_of(marcher, rhs, mesh.sorted(u0), mesh)
    return _Steps.apply((marcher, rhs, mesh, wanted), values, mesh.sorted(u0), *visited.along(mesh), *leaves)


class _Steps(torch.autograd.Function):
    """Steps of which only the states in between are kept; going back, the graph of one step at a time is held."""

    @staticmethod
    def forward(ctx, work, values, u, states, carries, *leaves):
        ctx.work, ctx.leaves, ctx.paths = work, leaves, len(u)
        ctx.save_for_backward(states, carries)
        return values.clone()

    @staticmethod
    def backward(ctx, slope):
        states, carries = ctx.saved_tensors
        wished = dict(zip(ctx.work[3].places, ctx.work[3].apart(slope), strict=True))
        totals: list[Tensor | None] = [None] * len(ctx.leaves)
        u_slope = carry_slope = None
        stop = len(states)
        for k, active in reversed(list(enumerate(ctx.work[2].active))):
            u = states[stop - active : stop]
            carry = None if carries is None or k == 0 else carries[stop - active : stop]
            stop -= active
            u_slope, carry_slope, *found = _back(ctx.work, k, u, carry, ctx.leaves, u_slope, carry_slope, wished.get(k))
            totals = [_sum(*pair) for pair in zip(totals, found, strict=True)]
        if u_slope is not None and len(u_slope) < ctx.paths:
            # The last paths take no step at all.
            u_slope = torch.cat([u_slope, u_slope.new_zeros(ctx.paths - len(u_slope), *u_slope.shape[1:])])
        return None, None, u_slope, None, None, *totals


def _back(
    work: tuple[Stepper, RightHandSide, Mesh, OneStatePerRow],
    k: int,
    u: Tensor,
    carry: Tensor | None,
    leaves: tuple[Tensor, ...],
    u_slope: Tensor | None,
    carry_slope: Tensor | None,
    wished: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """Make a step once more, and go back through it: to the states before, to what was carried, and to the leaves.

    Slopes at its end may lack the last paths, which go on no further. The graph lives no longer than the call.
    """
    marcher, rhs, mesh, wanted = work
    sources = [u.requires_grad_(), *([] if carry is None else [carry.requires_grad_()]), *leaves]
    with torch.enable_grad():
        ((_, before, step),) = marcher.march(rhs, u, mesh, k, k + 1, carry)
        ends: list[tuple[Tensor | None, Tensor | None]] = [(step.u1, u_slope), (step.state, carry_slope)]
        if wished is not None:
            ends.append((wanted.keep(marcher, k, before, step), wished))
        outputs = [
            (end[: len(back)], back) for end, back in ends if end is not None and back is not None and end.requires_grad
        ]
    # What callables captured may have a graph of its own, which every step goes through.
    found = torch.autograd.grad(
        [end for end, _ in outputs], sources, [back for _, back in outputs], allow_unused=True, retain_graph=True
    )
    return found if carry is not None else (found[0], None, *found[1:])


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """The sum of two gradients; None is none."""
    return b if a is None else a if b is None else a + b


def checkpointed(marcher: Stepper, rhs: RightHandSide, u: Tensor, mesh: Mesh, wanted: RequestedStates) -> list[Tensor]:
    """Reverse mode through one segment of the mesh at a time, which is made again for it; its noise, too."""
    if len(mesh) == 0:
        return []
    leaves = leaves_of(marcher, rhs, u, mesh)
    size = math.ceil(math.sqrt(len(mesh)))
    kept: list[Tensor] = []
    carry = None
    for first in range(0, len(mesh), size):
        work = marcher, rhs, mesh, wanted, first, min(first + size, len(mesh))
        u, carry, *states = _Segment.apply(work, u, carry, *leaves)
        kept += states
    return kept


class _Segment(torch.autograd.Function):
    """Steps of which only the first state is kept.

    torch's own checkpoint keeps the nodes of the graph, whose memory grows with the steps, or has no gradient with
    respect to chosen tensors.
    """

    @staticmethod
    def forward(ctx, work, u, carry, *leaves):
        ctx.work, ctx.leaves = work, leaves
        ctx.save_for_backward(u, carry)
        marcher, rhs, mesh, wanted, first, last = work
        states, u_end, carry_end = run(marcher, rhs, u, mesh, wanted, first=first, last=last, carry=carry)
        # The last wanted state may be the very tensor that goes on.
        return u_end.clone(), carry_end, *(state.clone() for state in states)

    @staticmethod
    def backward(ctx, *slopes):
        marcher, rhs, mesh, wanted, first, last = ctx.work
        u, carry = (x if x is None else x.detach().requires_grad_() for x in ctx.saved_tensors)
        assert u is not None  # only what is carried may be
        with torch.enable_grad():
            states, u_end, carry_end = run(marcher, rhs, u, mesh, wanted, first=first, last=last, carry=carry)
        ends = [
            (end, slope)
            for end, slope in zip([u_end, carry_end, *states], slopes, strict=True)
            if end is not None and slope is not None and end.requires_grad
        ]
        sources = [x for x in (u, carry, *ctx.leaves) if x is not None]
        # What callables captured may have a graph of its own, which every segment goes through.
        gradients = iter(
            torch.autograd.grad(
                [end for end, _ in ends],
                sources,
                [slope for _, slope in ends],
                allow_unused=True,
                retain_graph=True,
            )
        )
        return None, *(None if x is None else next(gradients) for x in (u, carry, *ctx.leaves))
