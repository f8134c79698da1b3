"""Tensors that a solution depends on, for gradients that are assembled by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from skneuralde._transforms import plain
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.mesh.mesh import walk
from skneuralde.solvers.mesh.outputs import Replay


def dependencies_of(replay: Replay, u: Tensor) -> list[Tensor]:
    """The tensors that steps depend on and that require a gradient.

    These are the parameters of the problem and the tensors that callables have captured, which are seen in a first step
    and in a jump. Where one of them is computed from another, it is their leaves.
    """
    stepper, rhs, mesh, _ = replay
    with torch.no_grad(), _Captured() as captured:
        next(walk(stepper, rhs, u, mesh, 0, 1, None))
        t, *_ = next(mesh.steps(0, 1))
        states_after_jumps(mesh.part(rhs, len(t)), t, u[: len(t)])
    found = captured.found
    if isinstance(rhs.problem, nn.Module):
        found += [p for p in rhs.problem.parameters() if p.requires_grad]
    found = _unique(x for x in found if x is not u)
    if any(_reaches(x, found) for x in found if not x.is_leaf):
        found = _unique(leaf for x in found for leaf in ([x] if x.is_leaf else leaf_tensors(x)))
    return found


class _Captured(TorchFunctionMode):
    """Notes the arguments of operations that require a gradient and are no results of earlier operations."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []
        self._results: dict[int, Tensor] = {}  # the tensors keep their identities from being used again

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for x in _tensors((args, kwargs)):
            if plain(x) is x and x.requires_grad and id(x) not in self._results:
                self.found.append(x)
        result = func(*args, **(kwargs or {}))
        self._results.update((id(x), x) for x in _tensors(result))
        return result


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


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


def _ancestors(tensor: Tensor) -> set[Any]:
    """The nodes of the graph of a tensor."""
    seen, todo = set[Any](), [tensor.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return seen


def _unique(tensors: Iterable[Tensor]) -> list[Tensor]:
    return list({id(x): x for x in tensors}.values())
