"""Linear equations of a Rosenbrock step, ``(I / (h gamma) - J) k = r``: dense, or of fields.

The Jacobian of a field is ``D Lap + R'(u)``; R' couples only the fields at the same point. Fields that do not diffuse
are eliminated point by point. Minimal residuals solve the remaining equations in the eigenbasis of the Laplacian. The
preconditioner solves the equations with the mean of R' over the points, which are diagonal in that basis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from skneuralde._transforms import (
    has_tangent,
    in_transform,
    is_forward_mode_open,
    is_twice_differentiated,
    twice_differentiated,
)
from skneuralde.problems import Advection, FieldDrift, Laplacian
from skneuralde.solvers.core.right_hand_side import Counter
from skneuralde.solvers.core.stiffness import spectral_radius
from skneuralde.solvers.methods.rosenbrock.krylov import Directions, minimal_residual
from skneuralde.terms.derivatives import along

#: Smallest relative residual that iterations can reach in each precision.
_FINEST = {torch.float64: 1e-12, torch.float32: 1e-5}
#: Fields smaller than this share of the largest one need not be solved to their own size.
_LEAST = 1e-6
#: Relative residual above which a step is rejected.
_UNSOLVED = 1e-3


class StageSystem(ABC):
    """Linear equations with one matrix, solved for the right-hand side of each stage.

    Attributes
    ----------
    failed : bool Tensor of shape (batch, 1), or None
        Paths whose equations were not solved.
    """

    failed: Tensor | None = None

    @abstractmethod
    def solve(self, r: Tensor) -> Tensor:
        """Solve for a right-hand side, ``(batch, n)`` both."""

    def stiffness(self, length: Tensor) -> Callable[[Tensor], Tensor] | None:
        """`Step.stiffness` of steps of ``length (batch, 1)``, where the matrix is at hand."""
        return None


class DenseSystem(StageSystem):
    """Dense LU factorisation."""

    def __init__(self, jacobian: Tensor, shift: Tensor):
        unit = torch.eye(jacobian.shape[-1], dtype=jacobian.dtype, device=jacobian.device)
        self.jacobian = jacobian
        self.factors, self.pivots, _ = torch.linalg.lu_factor_ex(shift[..., None] * unit - jacobian)

    def solve(self, r: Tensor) -> Tensor:
        return torch.linalg.lu_solve(self.factors, self.pivots, r[..., None])[..., 0]

    def stiffness(self, length: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda scale: length.abs() * spectral_radius(self.jacobian)


class FieldSystem(StageSystem):
    """Elimination of the fields that do not diffuse, point by point, and minimal residuals for the others.

    With operators besides the Laplacian no field is eliminated, and these operators enter by directional derivatives.
    Internally the axis of the fields comes first, ``(fields, batch, points)``, and so do the rows and columns of the
    matrices at the points.
    """

    def __init__(self, drift: FieldDrift, u: Tensor, slope: Tensor, shift: Tensor, tolerance: float, counter: Counter):
        fields = drift.state[-1]
        diffusion = drift.diffusion
        self.kept = [] if diffusion is None else diffusion.diffusing(fields)
        others = bool(drift.operators.others)
        self.kept = list(range(fields)) if others else self.kept
        self.gone = [i for i in range(fields) if i not in self.kept]
        self.fields = fields
        unit = torch.eye(fields, dtype=u.dtype, device=u.device).view(fields, fields, 1, 1)
        slopes = slope.reshape(len(u), -1, fields, fields).permute(2, 3, 0, 1)
        blocks = torch.sub(shift * unit, slopes).contiguous()
        core = _block(blocks, self.kept, self.kept)
        if self.gone:
            self.inverse = small_inverse(_block(blocks, self.gone, self.gone))
            if self.kept:
                self.back = _product(self.inverse, _block(blocks, self.gone, self.kept))
                self.forth = _product(_block(blocks, self.kept, self.gone), self.inverse)
                core = core - _product(_block(blocks, self.kept, self.gone), self.back)
        if self.kept:
            self.core = Core(drift, drift.field(u), core, self.kept, others, tolerance, counter)
        self.failed = torch.zeros_like(shift, dtype=torch.bool)

    def solve(self, r: Tensor) -> Tensor:
        planes = r.view(len(r), -1, self.fields).permute(2, 0, 1).contiguous()
        gone = _rows(planes, self.gone)
        if not self.kept:
            return _as_states(_apply(self.inverse, gone), self.gone)
        kept = _rows(planes, self.kept)
        if self.gone:
            kept = kept - _apply(self.forth, gone)
        solved, residual = self.core.solve(kept)
        assert self.failed is not None
        self.failed = self.failed | ~(residual <= _UNSOLVED)
        if not self.gone:
            return _as_states(solved, self.kept)
        rest = _apply(self.inverse, gone) - _apply(self.back, solved)
        return _as_states(torch.cat([solved, rest]), self.kept + self.gone)


class Core:
    """The equations ``S k - D Lap k = r`` of the fields that remain, with a matrix S at every point.

    Parameters
    ----------
    drift : FieldDrift
    field : Tensor of shape (batch, *grid, fields)
    blocks : Tensor of shape (kept, kept, batch, points)
    kept : list of int
    others : bool
        Whether there are operators besides the Laplacian.
    tolerance : float
    counter : Counter
        A directional derivative of the user's own operators counts as an evaluation.
    """

    def __init__(
        self,
        drift: FieldDrift,
        field: Tensor,
        blocks: Tensor,
        kept: list[int],
        others: bool,
        tolerance: float,
        counter: Counter,
    ):
        self.field, self.blocks, self.counter = field, blocks, counter
        self.operators = drift.operators.others if others else []
        nothing = torch.zeros_like(field)
        self.at_zero = [part(nothing) if isinstance(part, (Advection, Laplacian)) else None for part in self.operators]
        self.grid = field.shape[1:-1]
        self.basis = None if drift.diffusion is None else drift.diffusion.basis(field)
        self.rates = field.new_zeros(len(kept), *self.grid)
        if drift.diffusion is not None:
            moving = drift.diffusion.diffusing(field.shape[-1])
            values = drift.diffusion.eigenvalues(field)
            place = torch.tensor([kept.index(i) for i in moving], device=field.device)
            self.rates = values if moving == kept else self.rates.index_copy(0, place, values)
        self.tolerance = max(tolerance, _FINEST[field.dtype])
        self.sizes: Tensor | None = None  # of the equations of each field, from the first right-hand side
        self.directions: Directions = []
        self.across: Directions = []
        with torch.no_grad():
            mean = blocks.mean(-1)
            near = mean[(..., *[None] * len(self.grid))].expand(*mean.shape, *self.grid).contiguous()
            near.diagonal().movedim(-1, 0).sub_(self.rates[:, None])
            self.nearby = small_inverse(near)

    def solve(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """The solution k ``(kept, batch, points)`` and the relative residual ``(batch, 1)``."""
        k, residual = self.inverse(self._enter(r), transposed=False)
        return self._leave(k), residual

    def inverse(self, y: Tensor, *, transposed: bool) -> tuple[Tensor, Tensor]:
        """Solve the equations in the eigenbasis, or the transposed ones, and return the relative residual, too.

        Derivatives are those of the equations, not of the iterations.
        """
        operate, near = (self.transposed, self._near_transposed) if transposed else (self.apply, self._near)
        # The equations of a single field are symmetric.
        symmetric = len(self.rates) == 1 and not self.operators
        known = self.across if transposed and not symmetric else self.directions
        with torch.no_grad():
            solve = partial(minimal_residual, tolerance=self.tolerance, directions=known)
            if transposed or len(self.rates) == 1:
                x, residual = solve(operate, near, y)
            else:
                sizes = self.sizes = _sizes(y) if self.sizes is None else self.sizes
                x, residual = solve(lambda x: operate(x) / sizes, lambda y: near(sizes * y), y / sizes)
        if not (torch.is_grad_enabled() or in_transform() or is_forward_mode_open()):
            return x, residual
        image = operate(x)
        requires_grad = torch.is_grad_enabled() and (y.requires_grad or image.requires_grad)
        if has_tangent(y) or has_tangent(image) or (requires_grad and in_transform()):
            raise RuntimeError(
                "fields by solver='rosenbrock' have no derivatives inside transforms of torch.func and torch's forward "
                "mode: use torch.autograd with gradient='checkpoint' or 'forward', or solver='rock2'"
            )
        if requires_grad:
            # x has the right value; each turn adds zero, with the derivative of the equations that x solves. The second
            # one has the derivative of the x in these, too.
            for _ in range(2 if is_twice_differentiated() else 1):
                x = x + _Inverse.apply(self, y - operate(x), transposed, is_twice_differentiated())
        return x, residual

    def apply(self, x: Tensor) -> Tensor:
        """The left-hand side in the eigenbasis, ``(batch, kept, *grid)``."""
        planes = self._leave(x)
        value = _apply(self.blocks, planes)
        if self.operators:
            self.counter.drift += len(self.field) if None in self.at_zero else 0
            direction = planes.permute(1, 2, 0).reshape(self.field.shape)
            for operator, at_zero in zip(self.operators, self.at_zero, strict=True):
                if at_zero is None:
                    change = along(operator, (self.field,), (direction,))[1]
                else:
                    change = operator(direction) - at_zero
                value = value - change.view(len(change), -1, change.shape[-1]).permute(2, 0, 1)
        return torch.addcmul(self._enter(value), self.rates, x, value=-1)

    def transposed(self, y: Tensor) -> Tensor:
        """The transpose of `apply`."""
        if not self.operators:
            # The square roots of the volumes, which make the basis orthonormal, commute with matrices at the points.
            across = _apply(self.blocks.transpose(0, 1), self._leave(y))
            return torch.addcmul(self._enter(across), self.rates, y, value=-1)
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            x = torch.zeros_like(y).requires_grad_()
            return torch.autograd.grad(self.apply(x), x, y, create_graph=create_graph)[0]

    def _near(self, x: Tensor) -> Tensor:
        return _apply(self.nearby, x.transpose(0, 1)).transpose(0, 1)

    def _near_transposed(self, x: Tensor) -> Tensor:
        return _apply(self.nearby.transpose(0, 1), x.transpose(0, 1)).transpose(0, 1)

    def _enter(self, planes: Tensor) -> Tensor:
        x = planes.transpose(0, 1).reshape(planes.shape[1], len(planes), *self.grid)
        return x if self.basis is None else self.basis.to_modes(x)

    def _leave(self, x: Tensor) -> Tensor:
        x = x if self.basis is None else self.basis.from_modes(x)
        return x.flatten(2).transpose(0, 1)


class _Inverse(torch.autograd.Function):
    """Zero forward; backward applies the transposed inverse of a `Core` (implicit differentiation)."""

    @staticmethod
    def forward(ctx, core, rest, transposed, twice):
        ctx.core, ctx.transposed, ctx.twice = core, transposed, twice
        return torch.zeros_like(rest)

    @staticmethod
    def backward(ctx, slope):
        if torch.is_grad_enabled() and not ctx.twice:
            raise RuntimeError(
                "second derivatives through solver='rosenbrock' for fields need gradient='checkpoint' or 'forward'; "
                "gradient='direct' has first derivatives only"
            )
        with twice_differentiated(ctx.twice):
            return None, ctx.core.inverse(slope, transposed=not ctx.transposed)[0], None, None


def _as_states(planes: Tensor, order: list[int]) -> Tensor:
    """States ``(batch, n)`` from planes ``(fields, batch, points)``; plane i is field ``order[i]``."""
    places = sorted(range(len(order)), key=order.__getitem__)
    return torch.stack([planes[i] for i in places], -1).flatten(1)


def _rows(x: Tensor, chosen: list[int]) -> Tensor:
    """Some of the planes."""
    if chosen == list(range(chosen[0], chosen[0] + len(chosen))) if chosen else True:
        return x.narrow(0, chosen[0] if chosen else 0, len(chosen))
    return torch.stack([x[i] for i in chosen])


def _block(matrix: Tensor, rows: list[int], columns: list[int]) -> Tensor:
    """Some rows and columns."""
    return _rows(_rows(matrix, rows).transpose(0, 1), columns).transpose(0, 1)


def _sizes(r: Tensor) -> Tensor:
    """Size of each field in a right-hand side ``(batch, fields, *grid)``; fields may have very different units."""
    size = r.flatten(2).norm(dim=2)
    size = torch.maximum(size, _LEAST * size.amax(1, keepdim=True))
    return torch.where(size > 0.0, size, 1.0)[(..., *[None] * (r.ndim - 2))]


def small_inverse(matrix: Tensor) -> Tensor:
    """Inverses of many small matrices ``(m, m, ...)``, in closed form up to two rows, which is much faster."""
    m = len(matrix)
    if m == 1:
        return 1.0 / matrix
    if m == 2:
        a, b, c, d = matrix.flatten(0, 1)
        return torch.stack([d, -b, -c, a]).div_(a * d - b * c).unflatten(0, (2, 2))
    return torch.linalg.inv_ex(matrix.movedim((0, 1), (-2, -1)))[0].movedim((-2, -1), (0, 1))


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Products of many small matrices, rows and columns first."""
    value = a[:, 0, None] * b[None, 0]
    for j in range(1, a.shape[1]):
        value = torch.addcmul(value, a[:, j, None], b[None, j])
    return value


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """Products of many small matrices ``(m, k, ...)`` with vectors ``(k, ...)``."""
    value = matrix[:, 0] * vector[0]
    for j in range(1, len(vector)):
        value = torch.addcmul(value, matrix[:, j], vector[j])
    return value
