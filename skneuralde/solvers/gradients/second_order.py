"""Gradients that can be differentiated again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skneuralde._transforms import twice_differentiated
from skneuralde.solvers.mesh.replay import Replay


def differentiable_gradient(
    replay: Replay, u: Tensor, dependencies: Sequence[Tensor], slopes: Sequence[Tensor]
) -> list[Tensor | None]:
    """Gradient in the initial states and the dependencies, from those of the requested states, with a graph.

    The graph of all steps is held, whatever the gradient mode.
    """
    with twice_differentiated():
        ends = replay.run(u)[0]
    pairs = [(end, slope) for end, slope in zip(ends, slopes, strict=True) if end.requires_grad]
    sources = [x for x in (u, *dependencies) if x.requires_grad]
    if not pairs or not sources:
        return [None] * (1 + len(dependencies))
    differentiable, along = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(differentiable, sources, along, create_graph=True, allow_unused=True))
    return [next(found) if x.requires_grad else None for x in (u, *dependencies)]
