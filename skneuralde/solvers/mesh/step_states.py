"""States at which the accepted steps of a loop begin."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.solvers.core.batch_order import rank
from skneuralde.solvers.core.loop_state import StepAttempt, StepObserver
from skneuralde.solvers.mesh.mesh import Mesh


class StepStates(StepObserver):
    """Keeps the state and the solver state at the beginning of each accepted step."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []

    def attempted(self, attempt: StepAttempt) -> None:
        paths, accepted = attempt.paths, attempt.accepted[:, 0]
        if not bool(accepted.any()):
            return
        rows, steps, u, solver_state = paths.rows, paths.steps[:, 0], paths.u, paths.solver_state
        if not bool(accepted.all()):
            rows, steps, u = rows[accepted], steps[accepted], u[accepted]
            solver_state = None if solver_state is None else solver_state[accepted]
        self.seen.append((rows, steps, u, solver_state))

    def along(self, mesh: Mesh) -> tuple[Tensor, Tensor | None]:
        """States and solver states, ``(sum of mesh.active, ...)``: step by step, in the mesh's order of paths."""
        assert mesh.permutation is not None
        rows, steps = (torch.cat(column) for column in zip(*(entry[:2] for entry in self.seen), strict=True))
        place = (steps * len(mesh.permutation) + rank(mesh.permutation)[rows]).argsort()
        in_order = bool((place.diff() == 1).all())
        states, solver_states = (
            None if column[0] is None else torch.cat(column) if in_order else torch.cat(column)[place]
            for column in zip(*(entry[2:] for entry in self.seen), strict=True)
        )
        assert states is not None
        return states, solver_states
