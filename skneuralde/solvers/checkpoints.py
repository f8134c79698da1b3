"""Gradients that keep few states and make the steps in between once more."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skneuralde.solvers.equation import Equation
from skneuralde.solvers.leaves import leaves_of
from skneuralde.solvers.march import Marcher, Mesh
from skneuralde.solvers.wanted import Wanted, run


def checkpointed(marcher: Marcher, equation: Equation, u: Tensor, mesh: Mesh, wanted: Wanted) -> list[Tensor]:
    """Reverse mode through one segment of the mesh at a time, which is made again for it; its noise, too."""
    if len(mesh) == 0:
        return []
    leaves = leaves_of(marcher, equation, u, mesh)
    size = math.ceil(math.sqrt(len(mesh)))
    kept: list[Tensor] = []
    carry = None
    for first in range(0, len(mesh), size):
        work = marcher, equation, mesh, wanted, first, min(first + size, len(mesh))
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
        marcher, equation, mesh, wanted, first, last = work
        states, u_end, carry_end = run(marcher, equation, u, mesh, wanted, first=first, last=last, carry=carry)
        # The last wanted state may be the very tensor that goes on.
        return u_end.clone(), carry_end, *(state.clone() for state in states)

    @staticmethod
    def backward(ctx, *slopes):
        marcher, equation, mesh, wanted, first, last = ctx.work
        u, carry = (x if x is None else x.detach().requires_grad_() for x in ctx.saved_tensors)
        assert u is not None  # only what is carried may be
        with torch.enable_grad():
            states, u_end, carry_end = run(marcher, equation, u, mesh, wanted, first=first, last=last, carry=carry)
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
