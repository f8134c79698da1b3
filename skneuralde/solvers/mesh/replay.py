"""Steps of a mesh, made again."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Stepper
from skneuralde.solvers.mesh.mesh import Mesh, walk
from skneuralde.solvers.mesh.outputs import RequestedStates


class Replay(NamedTuple):
    """The steps of a mesh, which can be made any number of times, and the states that are requested along it."""

    stepper: Stepper
    rhs: RightHandSide
    mesh: Mesh
    outputs: RequestedStates

    def run(
        self, u: Tensor, solver_state: Tensor | None = None, *, first: int = 0, last: int | None = None
    ) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """Make steps: the requested states of each, and the state and solver state after the last one."""
        stepper, rhs, mesh, outputs = self
        kept = []
        last = len(mesh) if last is None else last
        for k, before, step in walk(stepper, rhs, u, mesh, first, last, solver_state):
            if k in outputs.places:
                kept.append(outputs.keep(stepper, k, before, step))
            u, solver_state = step.u1, step.solver_state
        return kept, u, solver_state
