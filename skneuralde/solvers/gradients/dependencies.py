"""Tensors that a solution depends on, for gradients that are assembled by hand."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Stepper
from skneuralde.solvers.gradients.captured import captured_tensors

R = TypeVar("R")


def dependencies_of(stepper: Stepper, rhs: RightHandSide, u: Tensor) -> list[Tensor]:
    """The tensors that steps may depend on and that require a gradient: those within reach of the coefficients.

    Where one of them is computed from another, it is their leaves.
    """
    within_reach = captured_tensors(stepper, rhs.problem, rhs.context)
    found = [x for x in within_reach if x.requires_grad and x is not u]
    if any(_reaches(x, found) for x in found if not x.is_leaf):
        found = _unique(leaf for x in found for leaf in ([x] if x.is_leaf else leaf_tensors(x)))
    return found


#: Leaves of a graph, which do not keep it alive.
Leaves = list["weakref.ref[Tensor]"]


def other_leaves(ends: Iterable[Tensor], sources: Sequence[Tensor]) -> Leaves:
    """The leaves of the graph of ``ends`` besides the sources and what these were computed from."""
    known = {get_gradient_edge(x).node for x in sources if x.requires_grad}
    nodes = set[Any]().union(*(_ancestors(end, known) for end in ends))
    return [weakref.ref(node.variable) for node in nodes if hasattr(node, "variable")]


def checked(make: Callable[[], tuple[R, Leaves]]) -> R:
    """The result of steps that are made with a graph, and made again if they use a tensor that was not known.

    A coefficient may make leaves of its own, for a derivative: they go with the graph, or differ when it is made again.

    Raises
    ------
    RuntimeError
        If a coefficient depends on a tensor that is not within reach of it, so that its gradient would be lost.
    """
    result, others = make()
    alive = {id(leaf): leaf for reference in others if (leaf := reference()) is not None}
    if alive:
        result, others = make()
        for reference in others:
            leaf = reference()
            if leaf is not None and id(leaf) in alive:
                raise RuntimeError(
                    f"a coefficient uses a tensor of shape {tuple(leaf.shape)} that requires a gradient and is not "
                    "within its reach: give it to the function by a closure, a default argument or a torch.nn.Module, "
                    "or use gradient='direct'"
                )
    return result


def states_after_jumps(rhs: RightHandSide, t: Tensor, u: Tensor) -> list[Tensor]:
    """States after a jump on each channel at times ``t (batch, 1)``, to see what they depend on."""
    now = rhs.at(t, u.dtype)
    return [rhs.affect(k, now, u, jump.draw(torch.zeros_like(u))) for k, jump in enumerate(rhs.problem.jumps)]


def leaf_tensors(tensor: Tensor) -> list[Tensor]:
    """The leaf tensors in the graph of a tensor."""
    return [node.variable for node in _ancestors(tensor) if hasattr(node, "variable")]


def _reaches(tensor: Tensor, others: list[Tensor]) -> bool:
    """Whether a tensor was computed from one of the others."""
    nodes = _ancestors(tensor) - {tensor.grad_fn}
    known = {id(node.variable) if hasattr(node, "variable") else id(node) for node in nodes}
    return any(id(x if x.is_leaf else x.grad_fn) in known for x in others)


def _ancestors(tensor: Tensor, ends: Collection[Any] = ()) -> set[Any]:
    """The nodes of the graph of a tensor, up to those where it ends."""
    seen, todo = set[Any](), [tensor.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen and node not in ends:
            seen.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return seen


def _unique(tensors: Iterable[Tensor]) -> list[Tensor]:
    return list({id(x): x for x in tensors}.values())
