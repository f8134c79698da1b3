"""The steps of a mesh once more, with gradients, and the states that are wanted of them."""

from __future__ import annotations

from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.gradients.checkpoint import checkpointed
from skneuralde.solvers.gradients.forward import forward
from skneuralde.solvers.gradients.reversible import reversible
from skneuralde.solvers.mesh.mesh import Mesh, Stepper
from skneuralde.solvers.mesh.outputs import RequestedStates, run


def replay(
    marcher: Stepper, rhs: RightHandSide, u0: Tensor, mesh: Mesh, wanted: RequestedStates, *, gradient: str = "direct"
) -> Tensor:
    """Make the steps of a mesh and return the wanted states, differentiable with respect to all that they depend on.

    Parameters
    ----------
    marcher : Stepper
        The method.
    equation : RightHandSide
    u0 : Tensor of shape (batch, dim)
    mesh : Mesh
    wanted : RequestedStates
    gradient : one of `GRADIENTS`, default="direct"
        "direct" keeps all that reverse mode needs. "checkpoint" keeps one state in ``sqrt(n_steps)`` and repeats the
        steps in between. "reversible" keeps the last states and steps back from them. "forward" carries the derivatives
        with respect to all parameters along.
    """
    return wanted.pick(u0, GRADIENTS[gradient](marcher, rhs, mesh.sorted(u0), mesh, wanted))


def direct(marcher: Stepper, rhs: RightHandSide, u: Tensor, mesh: Mesh, wanted: RequestedStates) -> list[Tensor]:
    """Reverse mode through everything."""
    return run(marcher, rhs, u, mesh, wanted)[0]


#: Ways to differentiate a solution.
GRADIENTS = {"direct": direct, "checkpoint": checkpointed, "reversible": reversible, "forward": forward}
