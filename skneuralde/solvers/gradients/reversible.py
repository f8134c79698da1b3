"""Reversible gradients, in constant memory, for methods whose steps can be undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.stepper import StepInput, Stepper
from skneuralde.solvers.gradients.dependencies import Leaves, checked, other_leaves
from skneuralde.solvers.mesh.mesh import Mesh, walk
from skneuralde.solvers.mesh.outputs import Replay

#: Steps whose noise is drawn at once.
_BLOCK = 64


def reversible(replay: Replay, u: Tensor, dependencies: Sequence[Tensor]) -> list[Tensor]:
    """Reverse mode that steps back from the last states, by steps of negative length and noise."""
    return list(_Reversed.apply(replay, u, *dependencies))


class _Reversed(torch.autograd.Function):
    """Makes the steps without a graph; on the way back the graph of one step at a time is made."""

    @staticmethod
    def forward(ctx, replay, u, *dependencies):
        ctx.replay = replay
        ctx.save_for_backward(u, *dependencies)
        stepper, rhs, mesh, outputs = replay
        ctx.ends = {}
        kept = []
        for k, before, step in walk(stepper, rhs, u.detach(), mesh, 0, len(mesh), None):
            if k in outputs.places:
                kept.append(outputs.keep(stepper, k, before, step))
            staying = mesh.active[k + 1] if k + 1 < len(mesh) else 0
            if staying < mesh.active[k]:
                ctx.ends[k] = step.u1[staying:]
        # A requested state may be the very tensor of an end, which would keep its own node alive.
        return tuple(state.clone() for state in kept)

    @staticmethod
    def backward(ctx, *slopes):
        initial, *dependencies = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *ctx.replay.differentiable_gradient(initial, dependencies, slopes)
        stepper, rhs, mesh, outputs = ctx.replay
        slope_of = dict(zip(outputs.places, slopes, strict=True))
        u = slope = next(iter(ctx.ends.values()))[:0]
        totals: list[Tensor | None] = [None] * len(dependencies)
        for k, t, h, noise in _backwards(mesh):
            if k in ctx.ends:
                u, slope = torch.cat([u, ctx.ends[k]]), torch.cat([slope, torch.zeros_like(ctx.ends[k])])
            if k in slope_of:
                rows = outputs.places[k].rows
                slope = slope + slope_of[k] if rows is None else slope.index_add(0, rows, slope_of[k])
            part = mesh.part(rhs, mesh.active[k])
            undone = None if noise is None else noise.map(torch.neg)
            u = stepper.step(StepInput(part, t + h, -h, u, undone)).u1
            back = partial(_back, stepper, StepInput(part, t, h, u, noise), dependencies, slope)
            slope, *others = checked(back)
            totals = [total if new is None else new if total is None else total + new
                      for total, new in zip(totals, others, strict=True)]  # fmt: skip
        rest = slope.new_zeros(len(initial) - len(slope), slope.shape[1])
        return None, torch.cat([slope, rest]), *totals


def _back(
    stepper: Stepper, inputs: StepInput, dependencies: Sequence[Tensor], slope: Tensor
) -> tuple[tuple[Tensor, ...], Leaves]:
    """Differentiate a step in the state and the dependencies. The graph does not outlive the call."""
    with torch.enable_grad():
        sources = [inputs.u.detach().requires_grad_(), *dependencies]
        end = stepper.step(inputs._replace(u=sources[0])).u1
        # Tensors that callables captured may have a graph of their own, which all steps go through.
        found = torch.autograd.grad(end, sources, slope, allow_unused=True, retain_graph=True)
    return found, other_leaves([end], sources)


def _backwards(mesh: Mesh) -> Iterator[tuple[int, Tensor, Tensor | float, Increments | None]]:
    """The steps of a mesh from the last to the first: number, start, length and noise."""
    for last in range(len(mesh), 0, -_BLOCK):
        first = max(0, last - _BLOCK)
        yield from ((k, *step) for k, step in reversed(list(enumerate(mesh.steps(first, last), first))))
