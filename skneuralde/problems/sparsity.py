"""Sparsity patterns of Jacobians, given as a `Stencil` or as a matrix."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_matrix, csc_matrix, identity, issparse, kron
from torch import Tensor

from skneuralde._caches import cached_tensors
from skneuralde.problems.pattern import Pattern


class Sparsity(ABC):
    """Sparsity pattern of the Jacobian of a right-hand side, for states of any shape it allows.

    To describe patterns in another way than `Stencil` and a matrix do, derive from this class and implement `matrix`.
    Instances must be hashable.
    """

    @property
    def ndim(self) -> int | None:
        """Number of axes of the grid; None if the pattern holds for grids of any number of axes."""
        return None

    @abstractmethod
    def matrix(self, state: tuple[int, ...]) -> csc_matrix:
        """The square matrix that is nonzero where a component (row) may depend on another one (column).

        Parameters
        ----------
        state : tuple of int
            ``(*grid, fields)``, or ``(dim,)`` without an operator.

        Raises
        ------
        ValueError
            If the pattern is not for states of this shape.
        """


@dataclass(frozen=True)
class Stencil(Sparsity):
    """Sparsity pattern of operators that couple every point of a grid to a few neighbours.

    It describes all operators of a `Problem` together; the reaction term needs no description. Without an operator the
    components of the state count as the points of a chain.

    Parameters
    ----------
    reach : int or tuple of int, default=1
        Distance in points to the furthest neighbour along each axis; one for all axes, or one for each, which also
        says the number of axes.
    corners : bool, default=False
        Whether all points in the box of this reach are neighbours, not only those along the axes, as mixed derivatives
        need it.
    periodic : bool or tuple of bool, default=False
        Whether the first and the last point of an axis are neighbours; for all axes, or for each.
    coupled : bool, default=True
        Whether a field may depend on the others at neighbouring points. False means that operators act on each field
        separately, as diffusion does, which divides the number of evaluations by the number of fields.

    Examples
    --------
    A diffusion whose coefficient grows with the field:

    >>> import torch
    >>> from skneuralde import Problem, Stencil, solve
    >>> def diffusion(u):
    ...     flux = 0.5 * (1 + (u[:, 1:] + u[:, :-1]) / 2) * u.diff(dim=1)
    ...     return torch.nn.functional.pad(flux, (0, 0, 1, 1)).diff(dim=1)
    >>> problem = Problem(None, operator=diffusion, sparsity=Stencil())
    >>> u = solve(problem, torch.eye(100)[:, :1], [0.0, 50.0])
    >>> u.solver, round(u.ys[0, -1].sum().item(), 4)
    ('rosenbrock', 1.0)
    """

    reach: int | tuple[int, ...] = 1
    corners: bool = False
    periodic: bool | tuple[bool, ...] = False
    coupled: bool = True

    def __post_init__(self) -> None:
        reaches = self.reach if isinstance(self.reach, tuple) else (self.reach,)
        if not reaches or any(isinstance(r, bool) or not isinstance(r, Integral) or r < 0 for r in reaches):
            raise ValueError(f"reach must be a number of points of at least 0, or a tuple of these, got {self.reach!r}")
        flags = self.periodic if isinstance(self.periodic, tuple) else (self.periodic,)
        if not flags or any(not isinstance(flag, bool) for flag in flags):
            raise ValueError(f"periodic must be True or False, or a tuple of these, got {self.periodic!r}")
        lengths = {len(value) for value in (self.reach, self.periodic) if isinstance(value, tuple)}
        if len(lengths) > 1:
            raise ValueError(f"reach={self.reach} and periodic={self.periodic} disagree on the number of axes")

    @property
    def ndim(self) -> int | None:
        lengths = [len(value) for value in (self.reach, self.periodic) if isinstance(value, tuple)]
        return lengths[0] if lengths else None

    def matrix(self, state: tuple[int, ...]) -> csc_matrix:
        grid, fields = (state[:-1], state[-1]) if len(state) > 1 else (state, 1)
        reaches, wraps = self._per_axis("reach", grid), self._per_axis("periodic", grid)
        n = math.prod(grid)
        points = np.indices(grid).reshape(len(grid), n)
        rows, columns = [], []
        for offset in itertools.product(*(range(-reach, reach + 1) for reach in reaches)):
            if np.count_nonzero(offset) > 1 and not self.corners:
                continue
            neighbours, inside = points + np.array(offset)[:, None], np.ones(n, dtype=bool)
            for position, size, wrapped in zip(neighbours, grid, wraps, strict=True):
                inside &= wrapped | ((position >= 0) & (position < size))
                position %= size
            rows.append(np.flatnonzero(inside))
            columns.append(np.ravel_multi_index(tuple(neighbours), grid)[inside])
        row, column = np.concatenate(rows), np.concatenate(columns)
        coupling = coo_matrix((np.ones(len(row), dtype=np.int32), (row, column)), (n, n))
        between = np.ones((fields, fields), dtype=np.int32) if self.coupled else identity(fields, dtype=np.int32)
        return kron(coupling, between).tocsc()

    def _per_axis(self, name: str, grid: tuple[int, ...]) -> tuple[Any, ...]:
        value = getattr(self, name)
        if not isinstance(value, tuple):
            return (value,) * len(grid)
        if len(value) != len(grid):
            raise ValueError(f"sparsity has {name}={value}, but the grid is {grid}: give one for each axis")
        return value


class Matrix(Sparsity):
    """Sparsity pattern given as a matrix."""

    def __init__(self, entries: csc_matrix):
        self.entries = entries

    def matrix(self, state: tuple[int, ...]) -> csc_matrix:
        n = math.prod(state)
        if self.entries.shape[0] != n:
            form = f"{n} components" if len(state) == 1 else f"the shape {state}, {n} numbers"
            raise ValueError(f"sparsity is for {self.entries.shape[0]} components, but the state has {form}")
        return self.entries


def resolve_sparsity(spec: Any) -> Sparsity | None:
    """Turn the argument ``sparsity`` of a `Problem` into a `Sparsity`; None stays None."""
    if spec is None or isinstance(spec, Sparsity):
        return spec
    shape = tuple(getattr(spec, "shape", ())) if not isinstance(spec, Sequence) else _shape(spec)
    if isinstance(spec, type) or len(shape) != 2 or shape[0] != shape[1]:
        got = f"the shape {shape}" if shape else repr(spec)
        raise ValueError(
            "sparsity must be a Stencil, or a square matrix, dense or sparse, that is nonzero where a component of the "
            f"right-hand side (row) depends on one of the state (column); got {got}"
        )
    return Matrix(_as_csc(spec))


@cached_tensors(maxsize=16)
def pattern_of(sparsity: Sparsity, state: tuple[int, ...]) -> Pattern:
    """Return the coloured pattern for states of a shape; the latest ones are cached."""
    return Pattern(sparsity.matrix(state), state)


def _shape(rows: Sequence[Any]) -> tuple[int, ...]:
    try:
        return np.shape(rows)
    except ValueError:  # rows of different lengths
        return ()


def _as_csc(spec: Any) -> csc_matrix:
    if isinstance(spec, Tensor):
        if spec.layout != torch.strided:
            sparse = spec.detach().cpu().to_sparse_coo().coalesce()
            (row, column), values = sparse.indices().numpy(), sparse.values().numpy()
            entries = coo_matrix((values != 0, (row, column)), tuple(sparse.shape))
        else:
            entries = coo_matrix(spec.detach().cpu().numpy() != 0)
    else:
        entries = coo_matrix(spec != 0) if issparse(spec) else coo_matrix(np.asarray(spec) != 0)
    entries = entries.astype(np.int32).tocsc()
    entries.eliminate_zeros()
    return entries
