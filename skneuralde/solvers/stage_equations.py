"""The linear equations of a Rosenbrock step, ``(I / (h gamma) - J) k = r``: dense for few states, else by parts.

Of a field J is ``D Lap + R'(u)``, where R' acts at every point by itself. Fields that do not diffuse are eliminated
point by point; what is left is solved by minimal residuals in the basis of the Laplacian, where the equation with the
mean of R' is solved exactly and so preconditions.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from skneuralde.problems import FieldDrift
from skneuralde.solvers.minimal_residual import minimal_residual

#: A residual beyond which a step is refused.
_UNSOLVED = 1e-3


class StageEquations(ABC):
    """Equations with the same matrix, for stage after stage.

    Attributes
    ----------
    failed : bool Tensor of shape (batch, 1), or None
        Where no solution was found.
    """

    failed: Tensor | None = None

    @abstractmethod
    def solve(self, r: Tensor) -> Tensor:
        """Solve for a right-hand side, ``(batch, n)`` both."""


def stage_equations(field: FieldDrift | None, u: Tensor, slope: Tensor, shift: Tensor) -> StageEquations:
    """The equations at states ``(batch, n)`` with ``shift = 1 / (h gamma)``, (batch, 1).

    ``slope`` is the Jacobian ``(batch, n, n)``, of a field that of its reaction, ``(batch, *grid, fields, fields)``.
    """
    return Dense(slope, shift) if field is None else Parts(field, u, slope, shift)


class Dense(StageEquations):
    """Elimination of all states."""

    def __init__(self, jacobian: Tensor, shift: Tensor):
        unit = torch.eye(jacobian.shape[-1], dtype=jacobian.dtype, device=jacobian.device)
        self.factors, self.pivots, _ = torch.linalg.lu_factor_ex(shift[..., None] * unit - jacobian)

    def solve(self, r: Tensor) -> Tensor:
        return torch.linalg.lu_solve(self.factors, self.pivots, r[..., None])[..., 0]


class Parts(StageEquations):
    """Elimination at every point of the fields that do not diffuse, minimal residuals for the others.

    With operators besides the Laplacian no field is eliminated, and these act by derivatives in one direction.
    """

    def __init__(self, drift: FieldDrift, u: Tensor, slope: Tensor, shift: Tensor):
        self.drift, self.state = drift, drift.state
        fields = self.state[-1]
        diffusion = drift.diffusion
        kept = [] if diffusion is None else diffusion.diffusing(fields)
        others = bool(drift.operators.others)
        kept = list(range(fields)) if others else kept
        gone = [i for i in range(fields) if i not in kept]
        unit = torch.eye(fields, dtype=u.dtype, device=u.device)
        blocks = (shift[..., None, None] * unit - slope.reshape(len(u), -1, fields, fields)).contiguous()
        self.kept, self.gone = (torch.tensor(rows, device=u.device, dtype=torch.int64) for rows in (kept, gone))
        core = blocks[..., self.kept[:, None], self.kept]
        if gone:
            self.inverse = small_inverse(blocks[..., self.gone[:, None], self.gone])
            if kept:
                self.back = _product(self.inverse, blocks[..., self.gone[:, None], self.kept])
                self.forth = _product(blocks[..., self.kept[:, None], self.gone], self.inverse)
                core = core - _product(blocks[..., self.kept[:, None], self.gone], self.back)
        if kept:
            self.core = Core(drift, drift.field(u), core, kept, others)
        self.failed = torch.zeros_like(shift, dtype=torch.bool)

    def solve(self, r: Tensor) -> Tensor:
        points = r.reshape(len(r), -1, self.state[-1])
        kept, gone = points[..., self.kept], points[..., self.gone]
        if len(self.kept) == 0:
            return _apply(self.inverse, gone).reshape(r.shape)
        if len(self.gone):
            kept = kept - _apply(self.forth, gone)
        solved, residual = self.core.solve(kept)
        assert self.failed is not None
        self.failed = self.failed | ~(residual <= _UNSOLVED)
        result = torch.zeros_like(points).index_copy(-1, self.kept, solved)
        if len(self.gone):
            result = result.index_copy(-1, self.gone, _apply(self.inverse, gone) - _apply(self.back, solved))
        return result.reshape(r.shape)


class Core:
    """``S k - D Lap k = r`` for the fields that are left, with blocks S at every point.

    Parameters
    ----------
    drift : FieldDrift
    field : Tensor of shape (batch, *grid, fields)
    blocks : Tensor of shape (batch, points, kept, kept)
    kept : list of int
    others : bool
        Whether there are operators besides the Laplacian.
    """

    def __init__(self, drift: FieldDrift, field: Tensor, blocks: Tensor, kept: list[int], others: bool):
        self.field, self.blocks = field, blocks
        self.operators = drift.operators.others if others else []
        self.grid = field.shape[1:-1]
        self.basis = None if drift.diffusion is None else drift.diffusion.basis(field)
        self.rates = field.new_zeros(len(kept), *self.grid)
        if drift.diffusion is not None:
            moving = drift.diffusion.diffusing(field.shape[-1])
            values = drift.diffusion.eigenvalues(field)
            place = torch.tensor([kept.index(i) for i in moving], device=field.device)
            self.rates = self.rates.index_copy(0, place, values)
        self.tolerance = 1e-8 if field.dtype == torch.float64 else 1e-5
        with torch.no_grad():
            mean = blocks.mean(1)
            diagonal = torch.diag_embed(self.rates.movedim(0, -1))
            self.nearby = small_inverse(mean.view(len(mean), *[1] * len(self.grid), *mean.shape[1:]) - diagonal)

    def solve(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Give k ``(batch, points, kept)`` and the residual ``(batch, 1)``.

        Reverse mode solves the transposed equation; forward mode goes through the iterations.
        """
        modes = self._enter(r)
        with torch.no_grad():
            k, residual = minimal_residual(self.apply, self._near, modes, tolerance=self.tolerance)
        if torch.is_grad_enabled() and (modes.requires_grad or self.apply(k).requires_grad):
            # The value is k already; the derivative is that of the equation that it solves.
            k = k + _Inverse.apply(self, modes - self.apply(k))
        return self._leave(k), residual

    def apply(self, x: Tensor) -> Tensor:
        """The left-hand side in the basis, ``(batch, kept, *grid)``."""
        points = self._leave(x)
        value = _apply(self.blocks, points)
        if self.operators:
            direction = points.reshape(self.field.shape)
            for operator in self.operators:
                value = value - torch.func.jvp(operator, (self.field,), (direction,))[1].reshape(value.shape)
        return self._enter(value) - self.rates * x

    def transposed(self, y: Tensor) -> Tensor:
        """The transposed of `apply`."""
        if not self.operators:
            # The roots of the volumes, which make the basis orthonormal, commute with what acts point by point.
            return self._enter(_apply(self.blocks.mT, self._leave(y))) - self.rates * y
        with torch.enable_grad():
            x = torch.zeros_like(y).requires_grad_()
            return torch.autograd.grad(self.apply(x), x, y)[0]

    def _near(self, x: Tensor) -> Tensor:
        return _apply(self.nearby, x.movedim(1, -1)).movedim(-1, 1)

    def _near_transposed(self, x: Tensor) -> Tensor:
        return _apply(self.nearby.mT, x.movedim(1, -1)).movedim(-1, 1)

    def inverse_transposed(self, y: Tensor) -> Tensor:
        """Solve the transposed equation in the basis."""
        return minimal_residual(self.transposed, self._near_transposed, y, tolerance=self.tolerance)[0]

    def _enter(self, points: Tensor) -> Tensor:
        x = points.view(len(points), *self.grid, points.shape[-1]).movedim(-1, 1)
        return x if self.basis is None else self.basis.to_modes(x)

    def _leave(self, x: Tensor) -> Tensor:
        x = x if self.basis is None else self.basis.from_modes(x)
        return x.movedim(1, -1).reshape(len(x), -1, x.shape[1])


class _Inverse(torch.autograd.Function):
    """Nothing, with the derivative of the inverse of a `Core`: for what is left of an equation that is solved."""

    @staticmethod
    def forward(ctx, core, rest):
        ctx.core = core
        return torch.zeros_like(rest)

    @staticmethod
    def backward(ctx, slope):
        with torch.no_grad():
            return None, ctx.core.inverse_transposed(slope)


def small_inverse(matrix: Tensor) -> Tensor:
    """Inverses of many small matrices ``(..., m, m)``; in closed form up to two rows, which is much faster."""
    m = matrix.shape[-1]
    if m == 1:
        return 1.0 / matrix
    if m == 2:
        a, b, c, d = matrix.flatten(-2).unbind(-1)
        return torch.stack([d, -b, -c, a], -1).unflatten(-1, (2, 2)) / (a * d - b * c)[..., None, None]
    return torch.linalg.inv_ex(matrix)[0]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Products of many small matrices; column by column, which is faster than sums over so few entries."""
    parts = [a[..., :, j, None] * b[..., None, j, :] for j in range(a.shape[-1])]
    return functools.reduce(torch.add, parts)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """Products of many small matrices with vectors."""
    parts = [matrix[..., j] * vector[..., j, None] for j in range(vector.shape[-1])]
    return functools.reduce(torch.add, parts)
