"""Brownian motion that can be asked for at any time, in any order, and always gives the same path."""

from __future__ import annotations

import math
from copy import copy

import torch
from torch import Tensor

from skneuralde.noise.keys import absorb, mix, to_normal

#: Halvings of a cell before a time is placed inside a leaf.
_DEPTH = 32


class Brownian:
    """A Brownian path per row, a pure function of (seed, path, series, dimension, time).

    Time is tiled from the origin in cells, with one binary tree per cell: the increment over a cell is drawn first,
    every node of the tree then splits its interval in half. Nothing depends on a row's position in the batch, on the
    times asked for before, or on the device.

    Parameters
    ----------
    seed : int
    path, series : int64 Tensor of shape (batch,)
        What tells one row's noise from another's.
    dim : int
        Number of independent components.
    origin : float64 Tensor of shape (batch,) or float
        Where the path is zero.
    cell : float
        Length of a cell, in units of time.
    sign : Tensor of shape (batch,), optional
        1 or -1; a path of sign -1 is the mirror image of the one with the same keys.

    Notes
    -----
    Inside a cell the path is the series of P. Levy and Z. Ciesielski: hat functions over the tree's nodes with
    independent normal coefficients. A time inside a leaf is conditioned on that leaf alone.
    """

    def __init__(
        self,
        seed: int,
        path: Tensor,
        series: Tensor,
        dim: int,
        *,
        origin: Tensor | float = 0.0,
        cell: float,
        sign: Tensor | None = None,
    ):
        if not (cell > 0 and math.isfinite(cell)):
            raise ValueError(f"cell must be a positive number, got {cell!r}")
        if path.shape != series.shape or path.ndim != 1:
            raise ValueError(
                f"path and series must both have shape (batch,), got {tuple(path.shape)} and {tuple(series.shape)}"
            )
        self.seed, self.path, self.series, self.dim = seed, path, series, dim
        self.cell = float(cell)
        self.sign = sign
        self.origin = torch.as_tensor(origin, dtype=torch.float64, device=path.device).expand(path.shape)
        seed = (int(seed) + 2**63) % 2**64 - 2**63
        key = absorb(absorb(mix(torch.full_like(path, seed)), path), series)
        self._key = absorb(key[:, None], torch.arange(dim, device=path.device))

    def select(self, rows: Tensor) -> Brownian:
        """Keep the paths of these rows; a row may be named several times."""
        chosen = copy(self)
        chosen.path, chosen.series, chosen.origin = self.path[rows], self.series[rows], self.origin[rows]
        chosen._key = self._key[rows]
        chosen.sign = None if self.sign is None else self.sign[rows]
        return chosen

    def cells(self, first: int, last: int, level: int = 0) -> Tensor:
        """Increments over the consecutive cells ``first`` to ``last - 1``, counted from the origin.

        At a ``level`` above zero, over the cells' dyadic parts of length ``cell / 2**level``, counted likewise.

        Returns
        -------
        float64 Tensor of shape (batch, last - first, dim)
        """
        start, stop = first >> level, -(-last >> level)
        index = torch.arange(start, stop, device=self.path.device)
        increments = self._normals(self._cell_key(index)).mul_(math.sqrt(self.cell))
        for depth in range(level):
            index = torch.arange(start, stop, device=self.path.device)
            node = (1 << depth) + (index & ((1 << depth) - 1))
            normals = self._normals(absorb(self._cell_key(index >> depth), node[:, None]))
            left = 0.5 * (increments + math.sqrt(self.cell / 2**depth) * normals)
            halves = torch.stack([left, increments - left], 2).flatten(1, 2)
            # Only the part that covers what was asked for is refined further.
            shift = level - depth - 1
            new_start, new_stop = first >> shift, -(-last >> shift)
            increments = halves[:, new_start - 2 * start : new_stop - 2 * start]
            start, stop = new_start, new_stop
        return increments

    def within(self, cell: Tensor, fraction: Tensor) -> Tensor:
        """Path at a fraction of a cell, less its value at the cell's start: ``(batch,)`` each to ``(batch, dim)``."""
        levels = torch.arange(_DEPTH + 1, device=fraction.device)
        parts = 2.0 ** levels.double()
        scaled = fraction[:, None] * parts
        node = scaled.floor().minimum(parts - 1.0)
        inside = scaled - node
        hat = 0.5 - (inside - 0.5).abs()
        hat[:, -1] = (inside[:, -1] * (1.0 - inside[:, -1])).sqrt()  # the bridge inside the leaf
        weights = torch.cat([fraction[:, None], hat / parts.sqrt()], 1)
        # The cell's own increment, all nodes on the way down, and the leaf: one call of the hash.
        cell_key = self._cell_key(cell[:, None])
        keys = torch.cat([cell_key, absorb(cell_key, (node.long() + (1 << levels))[:, :, None])], 1)
        return math.sqrt(self.cell) * (weights[:, :, None] * self._normals(keys)).sum(1)

    def increment(self, t0: Tensor, t1: Tensor) -> Tensor:
        """W(t1) - W(t0) for any float64 times ``(batch,)``; ``(batch, dim)``."""
        first, start = self._locate(t0)
        last, end = self._locate(t1)
        part = self.within(last, end) - self.within(first, start)
        low, high = torch.minimum(first, last), torch.maximum(first, last)
        count = int((high - low).max()) if len(low) else 0
        if count == 0:
            return part
        between = low[:, None] + torch.arange(count, device=low.device)
        normals = self._normals(self._cell_key(between)) * (between < high[:, None])[:, :, None]
        whole = math.sqrt(self.cell) * normals.sum(1)
        return part + whole * torch.sign(last - first)[:, None]

    def area(self, t0: Tensor, t1: Tensor) -> Tensor:
        """Space-time Levy areas over intervals ``(batch,)`` that do not overlap; ``(batch, dim)``.

        Normal with variance (t1 - t0) / 12, independent of the increments and keyed by the interval: the law of the
        areas of one mesh, but not the areas of one path on several meshes.
        """
        bits = ((t - self.origin + 0.0).view(torch.int64)[:, None] for t in (t0, t1))
        key = self._key
        for word in bits:
            key = absorb(key, word)
        return self._normals(key) * ((t1 - t0).abs() / 12.0).sqrt()[:, None]

    def _locate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Find the cell that holds a time, and where in the cell it is."""
        position = (t - self.origin) / self.cell
        cell = position.floor()
        return cell.long(), position - cell

    def _normals(self, keys: Tensor) -> Tensor:
        """Standard normal numbers of keys (batch, ..., dim)."""
        normals = to_normal(keys)
        return normals if self.sign is None else normals.mul_(self.sign.view(-1, *[1] * (keys.ndim - 1)))

    def _cell_key(self, cell: Tensor) -> Tensor:
        """Keys (batch, n, dim) of cells, ``(n,)`` or ``(batch, n)``."""
        return absorb(self._key[:, None, :], cell[..., None])
