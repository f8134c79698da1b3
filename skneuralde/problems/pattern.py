"""A sparse Jacobian: where its entries are, what they are, and products with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.sparse import csc_matrix, identity, kron
from torch import Tensor

from skneuralde.problems.colouring import colour_columns

#: Numbers in the states of the copies that are differentiated at once.
_AT_ONCE = 2**20
#: A state for looking whether a pattern holds lies so far beside the given one, as a share of its size.
_ASIDE = 1e-2
#: States that are looked at.
_LOOKS = 4


@dataclass(frozen=True)
class Places:
    """Where entries are, on one device.

    Attributes
    ----------
    rows, columns : int64 Tensor of shape (entries,)
    told : int64 Tensor of shape (told,)
        Which of the entries somebody told of: those of the operators, or of a right-hand side without space.
    picked : int64 Tensor of shape (told,)
        Where these are in the derivatives along the colours, ``(colours, n)`` flattened.
    seeds : bool Tensor of shape (colours, n)
        The columns of each colour.
    law : int64 Tensor of shape (points * fields * fields,)
        Which of the entries belong to what happens at every point by itself, row after row of every point.
    diagonal : int64 Tensor of shape (n,)
        Which of the entries are on the diagonal.
    """

    rows: Tensor
    columns: Tensor
    told: Tensor
    picked: Tensor
    seeds: Tensor
    law: Tensor
    diagonal: Tensor


class Pattern:
    """Where the Jacobian of states of a shape may differ from 0: where it was told to, and at every point by itself.

    Parameters
    ----------
    told : csc_matrix of shape (n, n)
    state : sequence of int
        ``(*grid, fields)``, or ``(dim,)`` without space.

    Attributes
    ----------
    size : int
        n.
    indptr, indices : int32 ndarray
        The entries in compressed sparse column format; values are in its order.
    """

    def __init__(self, told: csc_matrix, state: Sequence[int]):
        self.state, self.size = tuple(state), math.prod(state)
        told = (told != 0).astype(np.int32).tocsc()  # what is stored may be 0
        n, fields = self.size, self.state[-1] if len(self.state) > 1 else 1
        points = kron(identity(n // fields, dtype=np.int32), np.ones((fields, fields), dtype=np.int32))
        whole = (told + points).tocsc()
        whole.sort_indices()
        self.indptr, self.indices = whole.indptr.astype(np.int32), whole.indices.astype(np.int32)
        rows, columns = whole.indices.astype(np.int64), np.repeat(np.arange(n), np.diff(whole.indptr))
        by_told = told.tocoo()
        at, of = by_told.row.astype(np.int64), by_told.col.astype(np.int64)
        colours = colour_columns(told)
        base = fields * np.arange(n // fields)[:, None, None]
        inside = np.broadcast_arrays(base + np.arange(fields)[:, None], base + np.arange(fields))

        def places(row: np.ndarray, column: np.ndarray) -> Tensor:
            return torch.from_numpy(np.searchsorted(n * columns + rows, (n * column + row).ravel()))

        self._places = Places(
            torch.from_numpy(rows),
            torch.from_numpy(columns),
            places(at, of),
            torch.from_numpy(n * colours[of] + at),
            torch.from_numpy(colours == np.arange(colours.max() + 1)[:, None]),
            places(*inside),
            places(np.arange(n), np.arange(n)),
        )

    @property
    def colours(self) -> int:
        """Derivatives in one direction that make a Jacobian."""
        return len(self._places.seeds)

    def on(self, device: torch.device) -> Places:
        """The places on a device."""
        return self._places if device.type == "cpu" else _moved(self, device)

    def linearize(self, function: Callable[..., Tensor], u: Tensor, *others: Tensor | None) -> tuple[Tensor, Tensor]:
        """Value ``(batch, n)`` of ``function(u, *others)``, and its entries where they were told, ``(batch, told)``.

        One derivative for each colour, on batches of copies; differentiable again.
        """
        places, batch = self.on(u.device), len(u)
        value, along = None, []
        for seeds in places.seeds.to(u.dtype).split(max(1, _AT_ONCE // max(1, u.numel()))):
            copies = [x if x is None else x.repeat(len(seeds), 1) for x in (u, *others)]
            directions = seeds.repeat_interleave(batch, 0)
            values, slopes, *_ = torch.func.jvp(lambda v, c=copies: function(v, *c[1:]), (copies[0],), (directions,))
            value = values[:batch] if value is None else value
            along.append(slopes.view(len(seeds), *u.shape))
        assert value is not None
        return value, torch.cat(along).transpose(0, 1).flatten(1).index_select(1, places.picked)

    def entries(self, told: Tensor, law: Tensor | None = None) -> Tensor:
        """All entries, ``(batch, entries)``, from those told, and the law's ``(batch, ..., fields, fields)``."""
        places = self.on(told.device)
        values = told.new_zeros(len(told), len(places.rows)).index_add(1, places.told, told)
        return values if law is None else values.index_add(1, places.law, law.flatten(1))

    def shifted(self, entries: Tensor, shift: Tensor) -> Tensor:
        """Entries of ``shift * I - J``, with ``shift (batch, 1)``."""
        return (-entries).index_add(1, self.on(entries.device).diagonal, shift.expand(-1, self.size))

    def product(self, entries: Tensor, x: Tensor, *, transposed: bool = False) -> Tensor:
        """Products with vectors ``(batch, n)``."""
        rows, columns = self.across(entries.device, transposed)
        return torch.zeros_like(x).index_add(1, rows, entries * x.index_select(1, columns))

    def across(self, device: torch.device, transposed: bool) -> tuple[Tensor, Tensor]:
        """Rows and columns of the entries, or of those of the transposed matrix."""
        places = self.on(device)
        return (places.columns, places.rows) if transposed else (places.rows, places.columns)

    def dense(self, entries: Tensor) -> Tensor:
        """The matrices ``(batch, n, n)``."""
        places = self.on(entries.device)
        flat = entries.new_zeros(len(entries), self.size**2)
        return flat.index_add(1, self.size * places.rows + places.columns, entries).unflatten(1, (self.size, self.size))

    def check(self, function: Callable[..., Tensor], u: Tensor, *others: Tensor | None) -> None:
        """Refuse a pattern that the function does not keep, by a derivative in a random direction.

        Raises
        ------
        ValueError
            It names an entry that is not 0, or says that the function has no forward derivative.
        """
        some = torch.linspace(0, len(u) - 1, min(len(u), _LOOKS), device=u.device).long()
        u, others = u.detach()[some], tuple(x if x is None else x[some] for x in others)
        self._try(function, u, others)
        generator = torch.Generator().manual_seed(0)
        v, aside = torch.randn(2, *u.shape, dtype=u.dtype, generator=generator).to(u.device)
        size = u.abs().mean(1, keepdim=True)
        beside = u + _ASIDE * torch.where(size > 0, size, 1.0) * aside
        with torch.no_grad():
            # Where nothing moves, nothing shows; but beside a state the function may not be defined.
            for state in (beside, u):
                _, told = self.linearize(function, state, *others)
                change = torch.func.jvp(lambda x: function(x, *others), (state,), (v,))[1]
                if bool(change.isfinite().all() & told.isfinite().all()):
                    break
            entries = self.entries(told)
            excess = (change - self.product(entries, v)).abs()
            scale = self.product(entries.abs(), v.abs()) + change.abs()
            eps = torch.finfo(u.dtype).eps
            wrong = excess > math.sqrt(eps) * scale + 10.0 * eps * scale.amax(1, keepdim=True)
        if bool(wrong.any()):
            path, row = divmod(int((wrong * excess / scale).nan_to_num().argmax()), self.size)
            raise ValueError(self._complaint(function, state, others, path, row))

    def _try(self, function: Callable[..., Tensor], u: Tensor, others: tuple[Tensor | None, ...]) -> None:
        """Refuse what cannot be differentiated."""
        with torch.no_grad():
            function(u, *others)  # what it refuses by itself is no matter of derivatives
            try:
                torch.func.jvp(lambda x: function(x, *others), (u,), (u,))
            except RuntimeError as error:
                raise ValueError(
                    "sparsity takes derivatives by torch.func.jvp, which failed; write what acts on the state in "
                    f"torch, or leave sparsity out and give solver='rock2': {error}"
                ) from error

    def _complaint(
        self, function: Callable[..., Tensor], u: Tensor, others: tuple[Tensor | None, ...], path: int, row: int
    ) -> str:
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            (slope,) = torch.autograd.grad(function(u, *others)[path, row], u)
        places = self.on(u.device)
        known = places.columns[places.told][places.rows[places.told] == row]
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


@lru_cache(maxsize=16)
def _moved(pattern: Pattern, device: torch.device) -> Places:
    with torch.inference_mode(False):
        return Places(**{name: x.to(device) for name, x in vars(pattern.on(torch.device("cpu"))).items()})
