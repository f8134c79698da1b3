"""Steps along a mesh that is known in advance: fixed steps, and the accepted steps of an adaptive method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.base import Step, Stepper
from skneuralde.solvers.equation import Equation
from skneuralde.solvers.jump_log import JumpLog

#: Noise of the steps ``first`` to ``last - 1`` of a mesh, for the paths that make them.
MeshNoise = Callable[[int, int], Iterator[Increments]]


class MeshJumps(Protocol):
    """The jumps of the paths of a mesh.

    Attributes
    ----------
    is_decided : bool
        Whether it is known which candidates are jumps.
    """

    is_decided: bool

    def after(
        self, k: int, marcher: Stepper, equation: Equation, t: Tensor, step: Step, u: Tensor, carry: Tensor | None
    ) -> Step:
        """Step ``k`` from states ``u``, which ends at the times ``t``, with the jumps that belong to it."""

    def jumps(self) -> JumpLog:
        """The jumps that have happened."""


#: Steps whose times are taken apart at once.
_CHUNK = 512


@dataclass(frozen=True)
class Mesh:
    """The steps of every path.

    Paths with more steps come first (``order``), so that those still under way are the first ``active[k]`` of them.

    Attributes
    ----------
    t : float64 Tensor of shape (batch, n_steps)
        Where step k of each path starts, in the mesh's order of paths.
    h : Tensor of shape (batch, n_steps), or of shape (n_steps,) for all paths
        Its signed length.
    active : list of int
        Number of paths that make step k.
    order : int64 Tensor of shape (batch,) or None
        None keeps the paths as they are; then all make every step.
    noise : callable or None
        Gives the noise of some steps, the same at every call.
    landings : MeshJumps or None
        The jumps between steps, or inside them.
    """

    t: Tensor
    h: Tensor
    active: list[int]
    order: Tensor | None
    noise: MeshNoise | None = None
    landings: MeshJumps | None = None

    @classmethod
    def shared(cls, t: Tensor, h: Tensor, batch: int) -> Mesh:
        """The same steps for all paths, from ``t`` and ``h`` of shape (n_steps,)."""
        return cls(t.expand(batch, -1), h, [batch] * len(t), None)

    @classmethod
    def ragged(cls, t: Tensor, h: Tensor, count: Tensor, dtype: torch.dtype) -> Mesh:
        """Steps of every path from (batch, n_steps) padded on the right; ``count`` of them are real."""
        order = count.argsort(descending=True, stable=True)
        n_steps = int(count.max()) if len(count) else 0
        steps = torch.arange(n_steps, device=t.device)
        active = (count[:, None] > steps).sum(0).tolist()
        return cls(t[order, :n_steps], h[order, :n_steps].to(dtype), active, order)

    def __len__(self) -> int:
        return len(self.active)

    def times(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor | float]]:
        """Start and length of the steps ``first`` to ``last - 1``: (active[k], 1) each, or one length for all."""
        for begin in range(first, last, _CHUNK):
            part = slice(begin, min(begin + _CHUNK, last))
            starts = self.t[:, part, None].unbind(1)
            if self.h.ndim == 1:
                yield from zip(starts, self.h[part].tolist(), strict=True)
                continue
            for active, t, h in zip(self.active[part], starts, self.h[:, part, None].unbind(1), strict=True):
                yield t[:active], h[:active]

    def sorted(self, rows: Tensor) -> Tensor:
        """Rows of the batch in the mesh's order of paths."""
        return rows if self.order is None else rows[self.order]

    def part(self, equation: Equation, active: int) -> Equation:
        """The equation of the first ``active`` paths."""
        return equation if self.order is None else equation.select(self.order[:active])


class Marcher(Stepper):
    """A method that can follow a mesh."""

    gradients: tuple[str, ...] = ("direct", "checkpoint", "forward")

    def first_carry(self, equation: Equation, t: Tensor, u: Tensor, f: Tensor) -> Tensor | None:
        """What a first step can reuse, as `step` would find it by itself: nothing, or the drift f at the start."""
        return None

    def march(
        self, equation: Equation, u: Tensor, mesh: Mesh, first: int, last: int, carry: Tensor | None
    ) -> Iterator[tuple[int, Tensor, Step]]:
        """Make the steps ``first`` to ``last - 1`` of a mesh; yields the number, the state before, and the step.

        A step ends after the jumps at its end.

        ``u`` and ``carry`` belong to the paths that make step ``first``, or more, in the mesh's order.
        """
        noise = None if mesh.noise is None else mesh.noise(first, last)
        rows = -1
        for k, (t, h) in enumerate(mesh.times(first, last), first):
            active = mesh.active[k]
            if active != rows:
                rows, u, part = active, u[:active], mesh.part(equation, active)
                carry = None if carry is None else carry[:active]
            step = self.step(part, t, h, u, None if noise is None else next(noise), carry)
            if mesh.landings is not None:
                step = mesh.landings.after(k, self, part, t + h, step, u, carry)
            yield k, u, step
            u, carry = step.u1, step.state


class Dense(Marcher):
    """A method that also gives the solution inside its steps."""

    def knows_inside(self, equation: Equation) -> bool:
        """Whether it may be trusted there for this equation."""
        return True

    @abstractmethod
    def inside(self, theta: Tensor, u0: Tensor, stages: tuple[Tensor, ...]) -> Tensor:
        """The solution at fractions ``theta (n, 1)`` of steps that start at ``u0 (n, dim)``, from their stages."""
