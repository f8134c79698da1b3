"""Tensors that a solution depends on, for gradients that are assembled by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.mesh.mesh import walk
from skneuralde.solvers.mesh.replay import Replay


def dependencies_of(replay: Replay, u: Tensor) -> list[Tensor]:
    """The leaf tensors that steps depend on and that require a gradient.

    These are the parameters of the problem and the tensors that callables have captured, which are found in the graphs
    of a first step and of a jump.
    """
    stepper, rhs, mesh, _ = replay
    with torch.enable_grad():
        _, _, step = next(walk(stepper, rhs, u.detach(), mesh, 0, 1, None))
        found = leaf_tensors(step.u1)
        t, *_ = next(mesh.steps(0, 1))
        active = len(t)
        for state in states_after_jumps(mesh.part(rhs, active), t, u[:active].detach()):
            found += leaf_tensors(state)
    if isinstance(rhs.problem, nn.Module):
        found += [p for p in rhs.problem.parameters() if p.requires_grad]
    return list({id(leaf): leaf for leaf in found}.values())


def states_after_jumps(rhs: RightHandSide, t: Tensor, u: Tensor) -> list[Tensor]:
    """States after a jump on each channel at times ``t (batch, 1)``, to see what they depend on."""
    now = rhs.at(t, u.dtype)
    return [rhs.affect(k, now, u, jump.draw(torch.zeros_like(u))) for k, jump in enumerate(rhs.problem.jumps)]


def leaf_tensors(tensor: Tensor) -> list[Tensor]:
    """The leaf tensors in the graph of a tensor."""
    dependencies, seen, todo = [], set(), [tensor.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            dependencies.append(node.variable)
        todo += [parent for parent, _ in node.next_functions]
    return dependencies
