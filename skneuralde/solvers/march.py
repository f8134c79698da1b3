"""Steps along a mesh that is known in advance: fixed steps, and the accepted steps of an adaptive method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.solvers.base import Increments, Step, Stepper
from skneuralde.solvers.equation import Equation


@dataclass(frozen=True)
class Mesh:
    """The steps of every path.

    Paths with more steps come first (``order``), so that those still under way are the first ``active[k]`` of them.

    Attributes
    ----------
    t : sequence of float64 Tensor of shape (active[k], 1)
        Where step k starts.
    h : sequence of float, or of Tensor of shape (active[k], 1)
        Its signed length.
    active : list of int
        Number of paths that make step k.
    order : int64 Tensor of shape (batch,) or None
        None keeps the paths as they are; then all make every step.
    """

    t: Sequence[Tensor]
    h: Sequence[Tensor | float]
    active: list[int]
    order: Tensor | None

    @classmethod
    def shared(cls, t: Tensor, h: Tensor, batch: int) -> Mesh:
        """The same steps for all paths, from ``t`` and ``h`` of shape (n_steps,)."""
        columns = t[:, None, None].expand(-1, batch, 1).unbind(0)
        return cls(columns, h.tolist(), [batch] * len(t), None)

    @classmethod
    def ragged(cls, t: Tensor, h: Tensor, count: Tensor, dtype: torch.dtype) -> Mesh:
        """Steps of every path from (batch, n_steps) padded on the right; ``count`` of them are real."""
        order = count.argsort(descending=True, stable=True)
        n_steps = int(count.max()) if len(count) else 0
        steps = torch.arange(n_steps, device=t.device)
        active = (count[:, None] > steps).sum(0).tolist()
        t, h = t[order], h[order].to(dtype)
        columns = range(n_steps)
        return cls(
            [t[: active[k], k : k + 1] for k in columns], [h[: active[k], k : k + 1] for k in columns], active, order
        )


def march(
    stepper: Stepper, equation: Equation, u0: Tensor, mesh: Mesh, noise: Iterator[Increments] | None = None
) -> Iterator[tuple[Tensor, Step]]:
    """Make the steps of a mesh; yields the state before each step and the step, in the mesh's order of paths.

    ``noise`` gives the increments of each step, for the paths that make it.
    """
    u, carry, part, rows = u0, None, equation, len(u0)
    if mesh.order is not None:
        u, part = u0[mesh.order], equation.select(mesh.order)
    for t, h, active in zip(mesh.t, mesh.h, mesh.active, strict=True):
        if mesh.order is not None and active < rows:
            rows, u, part = active, u[:active], equation.select(mesh.order[:active])
            carry = None if carry is None else carry[:active]
        step = stepper.step(part, t, h, u, None if noise is None else next(noise), carry)
        yield u, step
        u, carry = step.u1, step.state


class Record:
    """Tensors left by some steps of a mesh, to be picked by step and path; rows in the mesh's order."""

    def __init__(self, mesh: Mesh, batch: int):
        self.batch = batch
        self.order = mesh.order
        self.kept: dict[int, Tensor] = {}

    def keep(self, step: int, tensor: Tensor) -> None:
        """Keep what step number ``step`` left."""
        self.kept[step] = tensor

    def positions(self, step: Tensor, path: Tensor) -> Tensor:
        """Where a step's row of a path is when all that is kept lies one under the other."""
        numbers = torch.tensor(list(self.kept), device=step.device)
        sizes = torch.tensor([len(tensor) for tensor in self.kept.values()], device=step.device)
        offset = torch.zeros(int(numbers.max()) + 1, dtype=torch.int64, device=step.device)
        offset[numbers] = sizes.cumsum(0) - sizes
        if self.order is None:
            return offset[step] + path
        rank = torch.empty_like(self.order)
        rank[self.order] = torch.arange(self.batch, device=step.device)
        return offset[step] + rank[path]

    def pick(self, step: Tensor) -> Tensor:
        """``(batch, n)`` steps of each path, or ``(1, n)`` of all, to ``(batch, n, dim)``."""
        if self.order is None and len(step) == 1:
            return torch.stack([self.kept[k] for k in step[0].tolist()], 1)
        rows = self.positions(step, torch.arange(self.batch, device=step.device)[:, None])
        return torch.cat(list(self.kept.values())).index_select(0, rows.flatten()).unflatten(0, rows.shape)
