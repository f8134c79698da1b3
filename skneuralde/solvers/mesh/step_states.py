"""The states that a search went through."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.solvers.core.batch_order import rank
from skneuralde.solvers.mesh.mesh import Mesh
from skneuralde.solvers.stepping.loop import StepAttempt, StepObserver


class StepStates(StepObserver):
    """Keeps the state, and what is carried along, where each accepted step began."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []

    def attempted(self, attempt: StepAttempt) -> None:
        front, accepted = attempt.front, attempt.accepted[:, 0]
        if not bool(accepted.any()):
            return
        rows, steps, u, carry = front.rows, front.steps[:, 0], front.u, front.carry
        if not bool(accepted.all()):
            rows, steps, u = rows[accepted], steps[accepted], u[accepted]
            carry = None if carry is None else carry[accepted]
        self.seen.append((rows, steps, u, carry))

    def along(self, mesh: Mesh) -> tuple[Tensor, Tensor | None]:
        """States and what is carried, ``(sum of mesh.active, ...)``: step by step, in the mesh's order of paths."""
        assert mesh.order is not None
        rows, steps = (torch.cat(column) for column in zip(*(entry[:2] for entry in self.seen), strict=True))
        place = (steps * len(mesh.order) + rank(mesh.order)[rows]).argsort()
        in_order = bool((place.diff() == 1).all())
        states, carries = (
            None if column[0] is None else torch.cat(column) if in_order else torch.cat(column)[place]
            for column in zip(*(entry[2:] for entry in self.seen), strict=True)
        )
        assert states is not None
        return states, carries
