"""Restarts: at a stop the solver state of a path starts afresh, since the coefficients may change there."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.solvers.core.batch_order import rank
from skneuralde.solvers.core.loop_state import StepAttempt
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step, Stepper


class MeshRestarts:
    """Restarts at the ends of the steps of a mesh: of each ``path (n,)`` after its ``step (n,)``.

    ``permutation (batch,)`` is the mesh's order of paths.
    """

    def __init__(self, path: Tensor, step: Tensor, permutation: Tensor):
        step, order = step.sort(stable=True)
        steps, sizes = (x.tolist() for x in step.unique_consecutive(return_counts=True))
        rows = rank(permutation)[path[order]].split(sizes)
        self.places = dict(zip(steps, rows, strict=True))

    def after(self, k: int, stepper: Stepper, rhs: RightHandSide, t: Tensor, step: Step) -> Step:
        """Step ``k``, which ends at times ``t``, with the solver states of the next one."""
        return stepper.restarted(rhs, t, step, self.places[k]) if k in self.places else step


class RestartHandler:
    """Restarts at the ends of the steps of the loop.

    Steps end on the stops ``points (batch, n)`` or ``(1, n)``, in the unit of the loop, padded with infinity.
    """

    def __init__(self, stepper: Stepper, points: Tensor):
        self.stepper, self.points = stepper, points
        self.path = [torch.zeros(0, dtype=torch.int64, device=points.device)]
        self.step = [self.path[0]]

    def handle(self, rhs: RightHandSide, attempt: StepAttempt) -> StepAttempt:
        """The attempt with solver states that start afresh at stops."""
        paths, target = attempt.paths, attempt.target
        points = self.points.expand(len(paths.rows), -1) if len(self.points) == 1 else self.points[paths.rows]
        place = torch.searchsorted(points.contiguous(), target).clamp_max_(points.shape[1] - 1)
        rows = (attempt.accepted & (points.gather(1, place) == target))[:, 0].nonzero()[:, 0]
        if len(rows) == 0:
            return attempt
        self.path.append(paths.rows[rows])
        self.step.append(paths.steps[rows, 0])
        step = self.stepper.restarted(rhs, paths.time(target), attempt.step, rows)
        return attempt.interrupted(rows, step)

    def on_mesh(self, permutation: Tensor) -> MeshRestarts:
        """The same restarts along the mesh of the accepted steps, whose order of paths is ``permutation (batch,)``."""
        return MeshRestarts(torch.cat(self.path), torch.cat(self.step), permutation)
