"""Steps along a mesh that is known in advance: fixed steps, and the accepted steps of an adaptive method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat

from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step, Stepper
from skneuralde.solvers.jumps.apply import MeshJumps

#: Start, (active[k], 1), signed length, of the same shape or one for all, and noise of the steps ``first`` to
#: ``last - 1`` of a mesh, for the paths that make them; the same at every call.
MeshSteps = Callable[[int, int], Iterator[tuple[Tensor, Tensor | float, Increments | None]]]

#: Their noise alone.
MeshNoise = Callable[[int, int], Iterator[Increments]]

#: Steps whose times are taken apart at once.
_CHUNK = 512


@dataclass(frozen=True)
class Mesh:
    """The steps of every path.

    Paths with more steps come first (``order``), so that those still under way are the first ``active[k]`` of them.

    Attributes
    ----------
    steps : callable
        Gives some steps: start, length and noise of each.
    active : list of int
        Number of paths that make step k.
    order : int64 Tensor of shape (batch,) or None
        None keeps the paths as they are; then all make every step.
    landings : MeshJumps or None
        The jumps between steps.
    """

    steps: MeshSteps
    active: list[int]
    order: Tensor | None
    landings: MeshJumps | None = None

    @classmethod
    def shared(cls, t: Tensor, h: Tensor, batch: int, noise: MeshNoise | None) -> Mesh:
        """The same steps for all paths, from ``t`` and ``h`` of shape (n_steps,)."""

        def times(first: int, last: int) -> Iterator[tuple[Tensor, float]]:
            starts = t[first:last, None, None].expand(-1, batch, 1)
            return zip(starts, h[first:last].tolist(), strict=True)

        return cls(_with_noise(times, noise), [batch] * len(t), None)

    @classmethod
    def ragged(cls, t: Tensor, h: Tensor, order: Tensor, active: list[int], noise: MeshNoise | None) -> Mesh:
        """Steps of every path from (batch, n_steps) padded on the right, of which ``active`` tells the real ones."""
        t, h = t[order, : len(active)], h[order, : len(active)]

        def times(first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
            for begin in range(first, last, _CHUNK):
                part = slice(begin, min(begin + _CHUNK, last))
                starts, lengths = (x[:, part, None].unbind(1) for x in (t, h))
                for n, start, length in zip(active[part], starts, lengths, strict=True):
                    yield start[:n], length[:n]

        return cls(_with_noise(times, noise), active, order)

    def __len__(self) -> int:
        return len(self.active)

    def sorted(self, rows: Tensor) -> Tensor:
        """Rows of the batch in the mesh's order of paths."""
        return rows if self.order is None else rows[self.order]

    def part(self, rhs: RightHandSide, active: int) -> RightHandSide:
        """The equation of the first ``active`` paths."""
        return rhs if self.order is None else rhs.select(self.order[:active])


def _with_noise(
    times: Callable[[int, int], Iterator[tuple[Tensor, Tensor | float]]], noise: MeshNoise | None
) -> MeshSteps:
    def steps(first: int, last: int) -> Iterator[tuple[Tensor, Tensor | float, Increments | None]]:
        increments = repeat(None) if noise is None else noise(first, last)
        for (t, h), increment in zip(times(first, last), increments, strict=False):
            yield t, h, increment

    return steps


class Stepper(Stepper):
    """A method that can follow a mesh."""

    gradients: tuple[str, ...] = ("direct", "checkpoint", "forward")

    def first_carry(self, rhs: RightHandSide, t: Tensor, u: Tensor, f: Tensor) -> Tensor | None:
        """What a first step can reuse, as `step` would find it by itself: nothing, or the drift f at the start."""
        return None

    def march(
        self, rhs: RightHandSide, u: Tensor, mesh: Mesh, first: int, last: int, carry: Tensor | None
    ) -> Iterator[tuple[int, Tensor, Step]]:
        """Make the steps ``first`` to ``last - 1`` of a mesh; yields the number, the state before, and the step.

        A step ends after the jumps at its end.

        ``u`` and ``carry`` belong to the paths that make step ``first``, or more, in the mesh's order.
        """
        rows = -1
        for k, (t, h, noise) in enumerate(mesh.steps(first, last), first):
            active = mesh.active[k]
            if active != rows:
                rows, u, part = active, u[:active], mesh.part(rhs, active)
                carry = None if carry is None else carry[:active]
            step = self.step(part, t, h, u, noise, carry)
            if mesh.landings is not None:
                step = mesh.landings.after(k, self, part, t + h, step)
            yield k, u, step
            u, carry = step.u1, step.state


class DenseOutput(Stepper):
    """A method that also gives the solution inside its steps."""

    def can_interpolate(self, rhs: RightHandSide) -> bool:
        """Whether it may be trusted there for this equation."""
        return True

    @abstractmethod
    def interpolate(self, theta: Tensor, u0: Tensor, stages: tuple[Tensor, ...]) -> Tensor:
        """The solution at fractions ``theta (n, 1)`` of steps that start at ``u0 (n, dim)``, from their stages."""
