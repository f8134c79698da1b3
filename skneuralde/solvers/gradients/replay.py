"""Gradient modes: the steps of a mesh are made again, and differentiated in one of four ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from skneuralde.solvers.gradients.checkpoint import Checkpoint, checkpointed
from skneuralde.solvers.gradients.dependencies import dependencies_of
from skneuralde.solvers.gradients.forward import forward
from skneuralde.solvers.gradients.reversible import reversible
from skneuralde.solvers.mesh.outputs import Replay


def replay(
    steps: Replay,
    u0: Tensor,
    *,
    gradient: str = "direct",
    stored: tuple[list[Checkpoint], list[Tensor]] | None = None,
) -> Tensor:
    """Make the steps of a mesh and return the requested states, differentiable in everything they depend on.

    The gradient "direct" stores the whole graph. "checkpoint" stores one state in ``sqrt(n_steps)`` and repeats the
    steps in between; ``stored`` are the checkpoints and requested states, if the step loop has kept them. "reversible"
    stores the last states and steps back from them. "forward" propagates the derivatives in all directions along with
    the states.
    """
    u, kept = steps.mesh.sorted(u0), list[Tensor]()
    if gradient == "direct":
        kept = steps.run(u)[0]
    elif stored is not None:
        kept = checkpointed(steps, u, dependencies_of(steps.stepper, steps.rhs, u), stored=stored)
    elif len(steps.mesh):
        kept = _BY_HAND[gradient](steps, u, dependencies_of(steps.stepper, steps.rhs, u))
    return steps.outputs.pick(u0, kept)


_BY_HAND: dict[str, Callable[[Replay, Tensor, Sequence[Tensor]], list[Tensor]]] = {
    "checkpoint": checkpointed,
    "reversible": reversible,
    "forward": forward,
}
#: Gradient modes.
GRADIENTS = ("direct", *_BY_HAND)
