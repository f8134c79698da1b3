"""Linear equations of a Rosenbrock step with a sparse Jacobian, solved by factorisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu
from torch import Tensor

from skneuralde.problems import Pattern
from skneuralde.solvers.methods.rosenbrock.stage_systems import StageSystem


class SparseSystem(StageSystem):
    """Sparse LU factorisation by SuperLU, with an ordering that keeps the factors sparse.

    It runs on the CPU in double precision for states of any device and dtype, one matrix of the batch after the other.

    Parameters
    ----------
    pattern : Pattern
    jacobian : Tensor of shape (batch, entries)
    shift : Tensor of shape (batch, 1)

    References
    ----------
    .. [1] X. S. Li, "An overview of SuperLU: algorithms, implementation, and user interface", ACM Trans. Math. Softw.
       31 (2005) 302-325.
    """

    def __init__(self, pattern: Pattern, jacobian: Tensor, shift: Tensor):
        self.matrices = pattern.shifted(jacobian, shift)
        self.factors = Factors(pattern)

    def solve(self, r: Tensor) -> Tensor:
        x = _Solved.apply(self.matrices, r, self.factors, False)
        self.failed = self.factors.failed
        return x


class Factors:
    """The factors of the matrices of a batch, computed at the first solve.

    Attributes
    ----------
    failed : bool Tensor of shape (batch, 1), or None
        Matrices without factors; None before the first solve.
    """

    failed: Tensor | None = None

    def __init__(self, pattern: Pattern):
        self.pattern = pattern
        self.factors: list[Any] = []

    def solve(self, matrices: Tensor, r: Tensor, transposed: bool) -> Tensor:
        """Solutions for right-hand sides ``(batch, n)``; NaN where a matrix has no factors."""
        if self.failed is None:
            self.factors = [self._factor(values) for values in matrices.detach().double().cpu().numpy()]
            self.failed = torch.tensor([[lu is None] for lu in self.factors], device=r.device)
        sides = r.detach().double().cpu().numpy()
        solved = np.full_like(sides, np.nan)
        for x, lu, side in zip(solved, self.factors, sides, strict=True):
            if lu is not None:
                x[:] = lu.solve(side, "T" if transposed else "N")
        return torch.from_numpy(solved).to(r)

    def _factor(self, values: np.ndarray) -> Any:
        if not np.isfinite(values).all():
            return None
        n = self.pattern.size
        matrix = csc_matrix((values, self.pattern.indices, self.pattern.indptr), (n, n))
        try:
            # The diagonal is strong, and the pattern is nearly symmetric.
            return splu(matrix, "MMD_AT_PLUS_A", diag_pivot_thresh=0.1, options={"SymmetricMode": True})
        except RuntimeError:  # it is singular
            return None


class _Solved(torch.autograd.Function):
    """Solutions of sparse equations, with implicit derivatives: these solve equations with the same matrices."""

    @staticmethod
    def forward(matrices, r, factors, transposed):
        return factors.solve(matrices, r, transposed)

    @staticmethod
    def setup_context(ctx, inputs, output):
        matrices, _, ctx.factors, ctx.transposed = inputs
        ctx.save_for_backward(matrices, output)
        ctx.save_for_forward(matrices, output)

    @staticmethod
    def backward(ctx, slope):
        matrices, x = ctx.saved_tensors
        across = _Solved.apply(matrices, slope, ctx.factors, not ctx.transposed)
        rows, columns = ctx.factors.pattern.across(x.device, ctx.transposed)
        by_entry = -across.index_select(1, rows) * x.index_select(1, columns) if ctx.needs_input_grad[0] else None
        return by_entry, across, None, None

    @staticmethod
    def jvp(ctx, matrices_change, r_change, *_):
        matrices, x = ctx.saved_tensors
        change = torch.zeros_like(x) if r_change is None else r_change
        if matrices_change is not None:
            change = change - ctx.factors.pattern.product(matrices_change, x, transposed=ctx.transposed)
        return _Solved.apply(matrices, change, ctx.factors, ctx.transposed)
