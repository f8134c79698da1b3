"""A right-hand side around a state, and the linear equations of an implicit step there."""

from __future__ import annotations

from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide, TimePoint
from skneuralde.solvers.methods.rosenbrock.sparse_systems import SparseSystem
from skneuralde.solvers.methods.rosenbrock.stage_systems import DenseSystem, FieldSystem, StageSystem

#: Up to this size matrices are dense: small ones are solved in a batch.
MOST_STATES = 64


def linearized(
    rhs: RightHandSide, now: TimePoint, u: Tensor, shift: Tensor, tolerance: float
) -> tuple[Tensor, StageSystem]:
    """f(t, u) at states ``(batch, n)``, and the equations with ``shift * I - J``, ``shift = 1 / (h gamma)`` (batch, 1).

    Where somebody told of the Jacobian's pattern it is found by colours and eliminated. Else that of a field is taken
    by its parts, and ``tolerance`` is what iterations may leave of a right-hand side; any other one is dense.
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
