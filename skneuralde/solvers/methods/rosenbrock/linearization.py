"""Linearization of a right-hand side at a state, and the linear equations of a linearly implicit step."""

from __future__ import annotations

from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide, TimePoint
from skneuralde.solvers.core.stiffness import MOST_STATES
from skneuralde.solvers.methods.rosenbrock.sparse_systems import SparseSystem
from skneuralde.solvers.methods.rosenbrock.stage_systems import DenseSystem, FieldSystem, StageSystem


def linearized(
    rhs: RightHandSide, now: TimePoint, u: Tensor, shift: Tensor, tolerance: float
) -> tuple[Tensor, StageSystem]:
    """f(t, u) at states ``(batch, n)``, and the equations with the matrix ``shift * I - J``.

    ``shift (batch, 1)`` is ``1 / (h gamma)``. If a sparsity pattern is given, the Jacobian is found by coloured
    derivatives and factorised. Otherwise the Jacobian of a field is split into Laplacian and reaction, and iterations
    solve the equations to a residual of ``tolerance``, relative to the right-hand side. All other Jacobians are dense.
    """
    pattern = rhs.pattern(u.shape[1])
    if pattern is not None:
        f, entries = rhs.sparse_drift(now, u, pattern)
        small = u.shape[1] <= MOST_STATES
        return f, DenseSystem(pattern.dense(entries), shift) if small else SparseSystem(pattern, entries, shift)
    f, slope = rhs.linearized_drift(now, u)
    field = rhs.field
    return f, DenseSystem(slope, shift) if field is None else FieldSystem(
        field, u, slope, shift, tolerance, rhs.counter
    )
