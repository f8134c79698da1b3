"""A right-hand side around a state, and the linear equations of an implicit step there."""

from __future__ import annotations

from torch import Tensor

from skneuralde.solvers.equation import Equation, Moment
from skneuralde.solvers.sparse_equations import Sparse
from skneuralde.solvers.stage_equations import Dense, Parts, StageEquations

#: Up to this size matrices are dense: small ones are solved in a batch.
MOST_STATES = 64


def linearized(
    equation: Equation, now: Moment, u: Tensor, shift: Tensor, tolerance: float
) -> tuple[Tensor, StageEquations]:
    """f(t, u) at states ``(batch, n)``, and the equations with ``shift * I - J``, ``shift = 1 / (h gamma)`` (batch, 1).

    Where somebody told of the Jacobian's pattern it is found by colours and eliminated. Else that of a field is taken
    by its parts, and ``tolerance`` is what iterations may leave of a right-hand side; any other one is dense.
    """
    pattern = equation.pattern(u.shape[1])
    if pattern is not None:
        f, entries = equation.sparse_drift(now, u, pattern)
        small = u.shape[1] <= MOST_STATES
        return f, Dense(pattern.dense(entries), shift) if small else Sparse(pattern, entries, shift)
    f, slope = equation.linearized_drift(now, u)
    field = equation.field
    return f, Dense(slope, shift) if field is None else Parts(field, u, slope, shift, tolerance, equation.counter)
