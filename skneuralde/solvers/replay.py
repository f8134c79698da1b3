"""The steps of a mesh once more, with gradients, and the states that are wanted of them."""

from __future__ import annotations

from torch import Tensor

from skneuralde.solvers.checkpoints import checkpointed
from skneuralde.solvers.equation import Equation
from skneuralde.solvers.march import Marcher, Mesh
from skneuralde.solvers.reversal import reversible
from skneuralde.solvers.sensitivity import forward
from skneuralde.solvers.wanted import Wanted, run


def replay(
    marcher: Marcher, equation: Equation, u0: Tensor, mesh: Mesh, wanted: Wanted, *, gradient: str = "direct"
) -> Tensor:
    """Make the steps of a mesh and return the wanted states, differentiable with respect to all that they depend on.

    Parameters
    ----------
    marcher : Marcher
        The method.
    equation : Equation
    u0 : Tensor of shape (batch, dim)
    mesh : Mesh
    wanted : Wanted
    gradient : one of `GRADIENTS`, default="direct"
        "direct" keeps all that reverse mode needs. "checkpoint" keeps one state in ``sqrt(n_steps)`` and repeats the
        steps in between. "reversible" keeps the last states and steps back from them. "forward" carries the derivatives
        with respect to all parameters along.
    """
    return wanted.pick(u0, GRADIENTS[gradient](marcher, equation, mesh.sorted(u0), mesh, wanted))


def direct(marcher: Marcher, equation: Equation, u: Tensor, mesh: Mesh, wanted: Wanted) -> list[Tensor]:
    """Reverse mode through everything."""
    return run(marcher, equation, u, mesh, wanted)[0]


#: Ways to differentiate a solution.
GRADIENTS = {"direct": direct, "checkpoint": checkpointed, "reversible": reversible, "forward": forward}
