"""Sparse Jacobians: pattern, entries from few directional derivatives, and products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csc_matrix, identity, kron
from torch import Tensor

from skneuralde._caches import cached_tensors
from skneuralde.problems.colouring import colour_columns
from skneuralde.terms.derivatives import along

#: Most numbers in the copies of the states that are differentiated at once.
_BLOCK = 2**20
#: Distance of the perturbed state at which a pattern is checked, relative to the state.
_PERTURBATION = 1e-2
#: Most states at which a pattern is checked.
_CHECKED = 4


@dataclass(frozen=True)
class EntryIndices:
    """Index tensors (int64) of a pattern, on one device; entries are given by their numbers in its order."""

    rows: Tensor  # (entries,)
    columns: Tensor  # (entries,)
    given: Tensor  # (given,), entries of the given pattern, without those of the reaction term
    compressed: Tensor  # (given,), positions of these in the derivatives along the colours, (colours, n) flattened
    seeds: Tensor  # (colours, n), bool, the columns of each colour
    reaction: Tensor  # (points * fields * fields,), entries of the reaction term, row after row of every point
    diagonal: Tensor  # (n,), entries on the diagonal


class Pattern:
    """Sparsity pattern of the Jacobian of states of one shape, ``(*grid, fields)``, or ``(dim,)`` without space.

    It has the entries of the given matrix ``(n, n)``, and those of the reaction term, which couples the fields of each
    point. ``indptr`` and ``indices`` describe them in compressed sparse column format, whose order all values follow.
    """

    def __init__(self, given: csc_matrix, state: Sequence[int]):
        self.state, self.size = tuple(state), math.prod(state)
        given = (given != 0).astype(np.int32).tocsc()  # a stored value may be 0
        n, fields = self.size, self.state[-1] if len(self.state) > 1 else 1
        points = kron(identity(n // fields, dtype=np.int32), np.ones((fields, fields), dtype=np.int32))
        whole = (given + points).tocsc()
        whole.sort_indices()
        self.indptr, self.indices = whole.indptr.astype(np.int32), whole.indices.astype(np.int32)
        rows, columns = whole.indices.astype(np.int64), np.repeat(np.arange(n), np.diff(whole.indptr))
        entries = given.tocoo()
        given_rows, given_columns = entries.row.astype(np.int64), entries.col.astype(np.int64)
        colours = colour_columns(given)
        base = fields * np.arange(n // fields)[:, None, None]
        of_points = np.broadcast_arrays(base + np.arange(fields)[:, None], base + np.arange(fields))

        def numbers(row: np.ndarray, column: np.ndarray) -> Tensor:
            return torch.from_numpy(np.searchsorted(n * columns + rows, (n * column + row).ravel()))

        self._indices = EntryIndices(
            torch.from_numpy(rows),
            torch.from_numpy(columns),
            numbers(given_rows, given_columns),
            torch.from_numpy(n * colours[given_columns] + given_rows),
            torch.from_numpy(colours == np.arange(colours.max() + 1)[:, None]),
            numbers(*of_points),
            numbers(np.arange(n), np.arange(n)),
        )

    @property
    def colours(self) -> int:
        """Number of directional derivatives that make up a Jacobian."""
        return len(self._indices.seeds)

    def on(self, device: torch.device) -> EntryIndices:
        """Index tensors of the entries, on a device."""
        return self._indices if device.type == "cpu" else _moved(self, device)

    def linearize(self, function: Callable[..., Tensor], u: Tensor, *others: Tensor | None) -> tuple[Tensor, Tensor]:
        """Value ``(batch, n)`` of ``function(u, *others)``, and the given entries of its Jacobian, ``(batch, given)``.

        It takes one directional derivative per colour, evaluated on copies of the batch; both results can be
        differentiated again.
        """
        indices, batch = self.on(u.device), len(u)
        value, parts = None, []
        for seeds in indices.seeds.to(u.dtype).split(max(1, _BLOCK // max(1, u.numel()))):
            copies = [x if x is None else x.repeat(len(seeds), 1) for x in others]
            directions = seeds.repeat_interleave(batch, 0)
            values, slopes = along(lambda v, c=copies: function(v, *c), [u.repeat(len(seeds), 1)], [directions])
            value = values[:batch] if value is None else value
            parts.append(slopes.view(len(seeds), *u.shape))
        assert value is not None
        return value, torch.cat(parts).transpose(0, 1).flatten(1).index_select(1, indices.compressed)

    def entries(self, given: Tensor, reaction: Tensor | None = None) -> Tensor:
        """All entries ``(batch, entries)``: the given ones plus the reaction's ``(batch, ..., fields, fields)``."""
        indices = self.on(given.device)
        values = given.new_zeros(len(given), len(indices.rows)).index_add(1, indices.given, given)
        return values if reaction is None else values.index_add(1, indices.reaction, reaction.flatten(1))

    def shifted(self, entries: Tensor, shift: Tensor) -> Tensor:
        """Entries of ``shift * I - J``, for ``shift (batch, 1)``."""
        return (-entries).index_add(1, self.on(entries.device).diagonal, shift.expand(-1, self.size))

    def product(self, entries: Tensor, x: Tensor, *, transposed: bool = False) -> Tensor:
        """Products of the matrices with vectors ``(batch, n)``."""
        rows, columns = self.across(entries.device, transposed)
        return torch.zeros_like(x).index_add(1, rows, entries * x.index_select(1, columns))

    def across(self, device: torch.device, transposed: bool) -> tuple[Tensor, Tensor]:
        """Rows and columns of the entries, of the matrix or of its transpose."""
        indices = self.on(device)
        return (indices.columns, indices.rows) if transposed else (indices.rows, indices.columns)

    def dense(self, entries: Tensor) -> Tensor:
        """The matrices ``(batch, n, n)``."""
        at = self.on(entries.device)
        flat = entries.new_zeros(len(entries), self.size**2)
        return flat.index_add(1, self.size * at.rows + at.columns, entries).unflatten(1, (self.size, self.size))

    def check(self, function: Callable[..., Tensor], u: Tensor, *others: Tensor | None) -> None:
        """Check that the function's Jacobian has this pattern, by a derivative in a random direction.

        A ValueError names a nonzero entry outside the pattern, or says that there is no derivative.
        """
        some = torch.linspace(0, len(u) - 1, min(len(u), _CHECKED), device=u.device).long()
        u, others = u.detach()[some], tuple(x if x is None else x[some] for x in others)
        self._check_differentiable(function, u, others)
        generator = torch.Generator().manual_seed(0)
        v, perturbation = torch.randn(2, *u.shape, dtype=u.dtype, generator=generator).to(u.device)
        size = u.abs().mean(1, keepdim=True)
        perturbed = u + _PERTURBATION * torch.where(size > 0, size, 1.0) * perturbation
        with torch.no_grad():
            # A perturbed state shows dependencies that vanish at u, but the function may be undefined there.
            for state in (perturbed, u):
                _, given = self.linearize(function, state, *others)
                change = along(lambda x: function(x, *others), (state,), (v,))[1]
                if bool(change.isfinite().all() & given.isfinite().all()):
                    break
            entries = self.entries(given)
            excess = (change - self.product(entries, v)).abs()
            scale = self.product(entries.abs(), v.abs()) + change.abs()
            eps = torch.finfo(u.dtype).eps
            wrong = excess > math.sqrt(eps) * scale + 10.0 * eps * scale.amax(1, keepdim=True)
        if bool(wrong.any()):
            path, row = divmod(int((wrong * excess / scale).nan_to_num().argmax()), self.size)
            raise ValueError(self._message(function, state, others, path, row))

    def _check_differentiable(
        self, function: Callable[..., Tensor], u: Tensor, others: tuple[Tensor | None, ...]
    ) -> None:
        with torch.no_grad():
            function(u, *others)  # errors of the function itself are raised unchanged
            try:
                along(lambda x: function(x, *others), (u,), (u,))
            except RuntimeError as error:
                raise ValueError(
                    "sparsity takes derivatives by torch's automatic differentiation, which failed; write the "
                    "function in torch, or leave "
                    f"sparsity out and give solver='rock2': {error}"
                ) from error

    def _message(
        self, function: Callable[..., Tensor], u: Tensor, others: tuple[Tensor | None, ...], path: int, row: int
    ) -> str:
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            (slope,) = torch.autograd.grad(function(u, *others)[path, row], u)
        at = self.on(u.device)
        known = at.columns[at.given][at.rows[at.given] == row]
        column = int(slope[path].abs().index_fill(0, known, 0.0).argmax())
        return (
            f"sparsity says that the rate of {self._name(row)} does not depend on {self._name(column)}, but it does: "
            f"the derivative is {slope[path, column].item():.3g}"
        )

    def _name(self, index: int) -> str:
        if len(self.state) == 1:
            return f"component {index}"
        *point, field = (int(i) for i in np.unravel_index(index, self.state))
        return f"field {field} at point {tuple(point)}"


@cached_tensors(maxsize=16)
def _moved(pattern: Pattern, device: torch.device) -> EntryIndices:
    return EntryIndices(**{name: x.to(device) for name, x in vars(pattern.on(torch.device("cpu"))).items()})
