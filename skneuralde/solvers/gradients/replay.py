"""Gradient modes: the steps of a mesh are made again, and differentiated in one of four ways."""

from __future__ import annotations

from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Stepper
from skneuralde.solvers.gradients.checkpoint import Checkpoint, checkpointed
from skneuralde.solvers.gradients.forward import forward
from skneuralde.solvers.gradients.reversible import reversible
from skneuralde.solvers.mesh.mesh import Mesh
from skneuralde.solvers.mesh.outputs import RequestedStates, run


def replay(
    stepper: Stepper,
    rhs: RightHandSide,
    u0: Tensor,
    mesh: Mesh,
    outputs: RequestedStates,
    *,
    gradient: str = "direct",
    stored: tuple[list[Checkpoint], list[Tensor]] | None = None,
) -> Tensor:
    """Make the steps of a mesh and return the requested states, differentiable in everything they depend on.

    The gradient "direct" stores the whole graph. "checkpoint" stores one state in ``sqrt(n_steps)`` and repeats the
    steps in between; ``stored`` are the checkpoints and requested states, if the step loop has kept them. "reversible"
    stores the last states and steps back from them. "forward" propagates the derivatives with respect to all parameters
    along with the states.
    """
    u = mesh.sorted(u0)
    if stored is not None:
        return outputs.pick(u0, checkpointed(stepper, rhs, u, mesh, outputs, stored=stored))
    return outputs.pick(u0, GRADIENTS[gradient](stepper, rhs, u, mesh, outputs))


def direct(stepper: Stepper, rhs: RightHandSide, u: Tensor, mesh: Mesh, outputs: RequestedStates) -> list[Tensor]:
    """Reverse mode through all steps."""
    return run(stepper, rhs, u, mesh, outputs)[0]


#: Gradient modes by name.
GRADIENTS = {"direct": direct, "checkpoint": checkpointed, "reversible": reversible, "forward": forward}
