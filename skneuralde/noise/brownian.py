"""Brownian motion over any intervals, in any order, always of the same path."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import lru_cache, reduce
from itertools import zip_longest

import torch
from torch import Tensor

from skneuralde._caches import cached_tensors
from skneuralde.noise.dyadic import DEPTH, level_and_index, level_of_node, power_of_two, reads_are_free
from skneuralde.noise.increments import Increments
from skneuralde.noise.intervals import Deviation, join, part_of_node, weighted_sum
from skneuralde.noise.keys import absorb, row_keys, to_normal_pair, to_uniform
from skneuralde.noise.tree import AREA_STD, MIDDLE_STD, descend, from_start, inside_leaf, split

#: Most normal numbers drawn at once.
_BLOCK = 2**22
#: Most numbers that stay in a processor's caches, which halves the time.
_CACHED = 2**17

#: Function that returns increment and area of one dyadic part of a cell per row, as `Brownian.part` does.
Part = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
#: Function of rows, and of cells, levels, and beginnings and ends of intervals in the cells: the deviations at both.
Deviations = Callable[[Tensor | slice, Tensor, Tensor, Tensor, Tensor], tuple[Deviation, Deviation]]


class Brownian:
    """One Brownian path per row, a pure function of (seed, path, series, dimension, time).

    Time is tiled from the start in cells of equal length, with one binary tree per cell: the increment and area of the
    cell are drawn first, and every node of the tree splits its interval in half. Nothing depends on a row's position in
    the batch, on earlier requests, or on the device. Times are given in cells from the start, so that dyadic parts of
    cells have exact ends.

    Parameters
    ----------
    seed : int
    path, series : int64 Tensor of shape (batch,)
        Keys of the rows: rows with equal keys have the same path.
    dim : int
        Number of independent components.
    start : float64 Tensor of shape (batch,) or float
        Time at which the path is zero.
    cell : float or float64 Tensor of shape (batch,)
        Length of a cell, in units of time, the same or one per row.
    sign : Tensor of shape (batch,), optional
        1 or -1; a path of sign -1 is the negative of the path with the same keys.

    Notes
    -----
    See `skneuralde.noise.tree` for the mathematics. A leaf is ``2**-32`` of a cell; a time inside it is conditioned on
    that leaf alone.
    """

    def __init__(
        self,
        seed: int,
        path: Tensor,
        series: Tensor,
        dim: int,
        *,
        start: Tensor | float = 0.0,
        cell: float | Tensor,
        sign: Tensor | None = None,
    ):
        if isinstance(cell, Tensor):
            cell = cell.to(path.device, torch.float64)
        smallest, largest = (
            (float(x) for x in cell.aminmax()) if isinstance(cell, Tensor) else (float(cell), float(cell))
        )
        if not 0.0 < smallest <= largest < math.inf:
            raise ValueError(f"cell must be a positive number, got {cell!r}")
        self._key = absorb(row_keys(seed, path, series)[:, None], torch.arange(dim, device=path.device))
        self.seed, self.path, self.series, self.dim = seed, path, series, dim
        self.cell = cell
        self.sign = sign
        self.start = torch.as_tensor(start, dtype=torch.float64, device=path.device).expand(path.shape)

    def select(self, rows: Tensor | slice) -> Brownian:
        """Return the paths of these rows, which may repeat."""
        chosen = copy(self)
        chosen.path, chosen.series, chosen.start = self.path[rows], self.series[rows], self.start[rows]
        chosen._key = self._key[rows]
        chosen.cell = self.cell[rows] if isinstance(self.cell, Tensor) else self.cell
        chosen.sign = None if self.sign is None else self.sign[rows]
        return chosen

    def cells(self, first: int, last: int, level: int = 0, *, area: bool = False) -> Increments:
        """Noise of the consecutive cells ``first`` to ``last - 1``, counted from the start, float64 (batch, n, dim).

        At a ``level`` above zero, the noise of dyadic parts of length ``cell / 2**level``, counted in the same way.
        """
        *_, last_level = self.levels(first, last, level, area=area)
        return last_level

    def levels(self, first: int, last: int, level: int, *, area: bool = False) -> Iterator[Increments]:
        """Noise of the dyadic parts at all levels up to this one that contain those parts; areas but at the last level.

        The parts of each level are consecutive, from the one that contains the first to the one that contains the last.
        """
        # Only the parts that cover the request are refined.
        spans = tuple((first >> shift, -(-last >> shift)) for shift in range(level, -1, -1))
        (w, areas), *halvings = self._numbers(spans, area)
        yield Increments(w, areas)
        for (begin, _), (first_part, last_part), (z, n) in zip(spans, spans[1:], halvings, strict=False):
            assert areas is not None  # only the last numbers are without
            w, areas = split(w, areas, z, n)
            part = slice(first_part - 2 * begin, last_part - 2 * begin)
            w, areas = w[:, part], None if areas is None else areas[:, part]
            yield Increments(w, areas)

    def _numbers(self, spans: tuple[tuple[int, int], ...], area: bool) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Random numbers (batch, n, dim) of cells (W, H), then those of halvings (Z, N), depth by depth.

        ``spans[k]`` are the first part at depth k and the one after the last; parts at the last depth are not halved.
        All depths are hashed together, since small tensors cost as much as larger ones. Half of the nodes have the last
        depth, whose second number only areas need.
        """
        cells, parent, node, length, of_first = _nodes(spans, self._key.device)
        keys = self._cell_key(cells)
        if len(parent):
            keys = torch.cat([keys, absorb(keys.index_select(1, parent), node)], 1)
        sizes = [end - begin for begin, end in (spans[0], *spans[:-1])]
        pairs = sizes if area else sizes[:-1]
        n_pairs = sum(pairs)
        pairs_of, singles_of = keys.split([n_pairs, keys.shape[1] - n_pairs], 1)
        first, second = self._normals(pairs_of) if n_pairs else (pairs_of.double(), pairs_of.double())
        if not area:
            (singles,) = self._normals(singles_of, 1)
            first = torch.cat([first, singles], 1) if n_pairs else singles
        std = (length * (self.cell[:, None, None] if isinstance(self.cell, Tensor) else self.cell)).sqrt_()
        second = second.mul_(AREA_STD * std[..., :n_pairs, :])
        return zip_longest(first.mul_(std.mul_(of_first)).split(sizes, 1), second.split(pairs, 1))

    def over(
        self, begin: Tensor, end: Tensor, part: Part | None = None, deviations: Deviations | None = None
    ) -> tuple[Tensor, Tensor]:
        """Increment and area over one interval per row, each within one cell, (batch,) to (batch, dim) each.

        A dyadic part of a cell takes one pair of normal numbers per halving, any other interval one per level of the
        tree. ``part`` may replace the method `part` by a faster one, which must return tensors that may be overwritten,
        and ``deviations`` what is drawn at the ends of other intervals.
        """
        cell = begin.floor()
        begin, end, cell = begin - cell, end - cell, cell.long()
        level = level_of_node(begin, end)
        parts = power_of_two(level)
        w, area = (part or self.part)(cell + (begin * parts).floor() / parts, 1.0 / parts)
        # Sorting the intervals would wait for the device, so all are treated alike there.
        if not reads_are_free(begin.device):
            return part_of_node(w, area, level, begin, end, self._deviations(cell, level, begin, end))
        divided = ((end - begin) * parts < 1.0).nonzero()[:, 0]
        size = max(1, _BLOCK // (2 * DEPTH * self.dim))
        blocks: Sequence[Tensor | slice] = divided.split(size) if len(divided) else ()
        if len(begin) < min(2 * len(divided), size):
            blocks = [slice(None)]  # whole parts come out as they are
        for rows in blocks:
            place = cell[rows], level[rows], begin[rows], end[rows]
            at_ends = self.select(rows)._deviations(*place) if deviations is None else deviations(rows, *place)
            w[rows], area[rows] = part_of_node(w[rows], area[rows], *place[1:], at_ends)
        return w, area

    def part(self, begin: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Increment and area of one dyadic part of a cell per row, (batch,) to (batch, dim) each.

        Lengths are powers of two up to 1, and each part begins at a multiple of its length.
        """
        level, index = level_and_index(begin, length)
        w, area = self._normals(self._cell_key((index >> level)[:, None]))
        w, area = w.mul_(self._std())[:, 0], area.mul_(self._std(AREA_STD))[:, 0]
        if not reads_are_free(index.device):
            return self._descend(w, area, 0, DEPTH, level, index)
        rows = level.nonzero()[:, 0]
        if len(rows):
            some = w[rows], area[rows], 0, begin[rows], length[rows]
            w[rows], area[rows] = self.select(rows).descend(*some)
        return w, area

    def descend(self, w: Tensor, area: Tensor, known: int, begin: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same as `part`, from increment and area of the part of length ``2**-known`` that contains it."""
        level, index = level_and_index(begin, length)
        return self._descend(w, area, known, int(level.max()), level, index)

    def inside(self, w: Tensor, area: Tensor, level: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Increment and area over one interval per row, inside a part of length ``2**-level`` of known (w, area).

        If consecutive rows are adjacent intervals of one part, their common end is evaluated once.
        """
        cell = begin.floor()
        begin, end = begin - cell, end - cell
        return part_of_node(w, area, level, begin, end, self._deviations(cell.long(), level, begin, end))

    def between(self, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Increment and area over one interval of any length per row, (batch,) to (batch, dim) each."""
        first, last = begin.floor(), end.floor()
        inside = torch.minimum(end, first + 1.0)
        w, area = self.over(begin, inside)
        rows = (end > first + 1.0).nonzero()[:, 0]
        if len(rows) == 0:
            return w, area
        some = self.select(rows)
        first, last, end = first[rows] + 1.0, last[rows], end[rows]
        pieces = [
            (w[rows], area[rows], inside[rows] - begin[rows]),
            (*some._sum_of_cells(first.long(), last.long()), last - first),
            (*some.over(last, end), end - last),
        ]
        joined_w, joined_area, _ = reduce(join, pieces)
        return w.index_copy(0, rows, joined_w), area.index_copy(0, rows, joined_area)

    def three_point(self, begin: Tensor, length: Tensor) -> Tensor:
        """Independent numbers (batch, n, dim) with the first five moments of increments over intervals (rows, n).

        They are 0 with probability 2/3, else plus or minus ``sqrt(3 length)``, and are keyed by the beginning of the
        interval. Both arguments are in cells; a single row serves all paths.
        """
        bits = (begin + 0.0).contiguous().view(torch.int64)
        uniform = to_uniform(absorb(self._key[:, None, :], bits[:, :, None]))
        point = (uniform > 5.0 / 6.0).double() - (uniform < 1.0 / 6.0).double()
        cell = self.cell[:, None] if isinstance(self.cell, Tensor) else self.cell
        return self._mirrored(point * (3.0 * cell * length).sqrt()[:, :, None])

    def _descend(
        self, w: Tensor, area: Tensor, known: int, deepest: int, level: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Halve parts of level ``known`` down to the level of each row, which is at most ``deepest``."""
        depths = torch.arange(known, deepest, device=index.device)
        below = level[:, None] > depths
        # Halvings below a row's level are drawn and not used.
        halvings = (level[:, None] - depths).clamp_min(1)
        node = (index[:, None] >> halvings) & ((1 << depths) - 1)
        right = (index[:, None] >> (halvings - 1)) & 1 == 1
        z, n = self._normals(self._node_keys(self._cell_key((index >> level)[:, None]), node, depths))
        cell = self.cell[:, None] if isinstance(self.cell, Tensor) else self.cell
        scale = (cell * power_of_two(-depths)).sqrt()[..., None]
        z, n = z * (MIDDLE_STD * scale), n * (AREA_STD * scale)
        for k in range(deepest - known):
            new_w, new_area = descend(w, area, z[:, k], n[:, k], right[:, k, None])
            w, area = torch.where(below[:, k, None], new_w, w), torch.where(below[:, k, None], new_area, area)
        return w, area

    def _deviations(self, cell: Tensor, level: Tensor, begin: Tensor, end: Tensor) -> tuple[Deviation, Deviation]:
        """Deviations at both ends of intervals; that of the previous row where its interval ends at the beginning."""
        last = self._deviation(cell, level, end)
        if not reads_are_free(begin.device):
            return self._deviation(cell, level, begin), last
        columns = [
            begin[1:] == end[:-1],
            *(x[1:] == x[:-1] for x in (cell, level, self._key[:, 0], self.sign) if x is not None),
        ]
        follows = torch.zeros_like(begin, dtype=torch.bool)
        follows[1:] = torch.stack(columns).all(0)
        rows = (~follows).nonzero()[:, 0]
        first = last[0].roll(1, 0), last[1].roll(1, 0)
        first[0][rows], first[1][rows] = self.select(rows)._deviation(cell[rows], level[rows], begin[rows])
        return first, last

    def deviation(self, level: Tensor, time: Tensor) -> Deviation:
        """Deviation of the path at a time, in cells from the start, from the mean path of its node at this level."""
        cell = time.floor()
        return self._deviation(cell.long(), level, time - cell)

    def _deviation(self, cell: Tensor, level: Tensor, x: Tensor) -> Deviation:
        if not reads_are_free(x.device):
            return self._sum_of_levels(cell, level, x)
        scaled = x * power_of_two(level)
        rows = (scaled != scaled.floor()).nonzero()[:, 0]  # at the beginning of a node it is zero
        value, integral = torch.zeros((2, len(x), self.dim), dtype=torch.float64, device=x.device).unbind(0)
        value[rows], integral[rows] = self.select(rows)._sum_of_levels(cell[rows], level[rows], x[rows])
        return value, integral

    def _sum_of_levels(self, cell: Tensor, level: Tensor, x: Tensor) -> Deviation:
        highest = int(level.min()) if len(x) and reads_are_free(x.device) else 0  # the levels above add nothing
        place = (DEPTH - level).view(1, 1, -1).expand(1, self.dim, -1)
        blocks = self._in_blocks(len(x))
        if len(blocks) == 1:
            value, integral = self._sums_from_leaf(cell, x, highest)
            return value.gather(0, place)[0].T, integral.gather(0, place)[0].T
        sums = [self.select(rows)._sum_of_levels(cell[rows], level[rows], x[rows]) for rows in blocks]
        values, integrals = zip(*sums, strict=True)
        return torch.cat(values), torch.cat(integrals)

    def _in_blocks(self, n: int) -> list[slice]:
        size = max(1, (_CACHED if reads_are_free(self.path.device) else _BLOCK) // ((DEPTH + 1) * self.dim))
        return [slice(begin, begin + size) for begin in range(0, max(1, n), size)]

    def deviations_of_levels(self, time: Tensor, deepest: int) -> Tensor:
        """Values and integrals of `deviation` at all levels from 0 to ``deepest``, (n, deepest + 1, 2, dim).

        At the ends of a node they are rounding errors instead of zero.
        """
        sums, cell = [], time.floor()
        for rows in self._in_blocks(len(time)):
            both = torch.stack(self.select(rows)._sums_from_leaf(cell[rows].long(), (time - cell)[rows], 0))
            sums.append(both[:, DEPTH - deepest :].flip(1).permute(3, 1, 0, 2))
        return torch.cat(sums)

    def _sums_from_leaf(self, cell: Tensor, x: Tensor, highest: int) -> tuple[Tensor, Tensor]:
        """What the nodes from the leaf up to each level add to path and integral, (levels, dim, n), the leaf first."""
        # Axes: levels, from the leaf up, components, rows. Weights are the same for all components.
        levels = torch.arange(DEPTH, highest - 1, -1, device=x.device)[:, None]
        parts = power_of_two(levels)
        scaled = x * parts
        node = scaled.floor()
        position = scaled - node
        normals = to_normal_pair(absorb(absorb(self._key, cell[:, None]).T, (node.long() + (1 << levels))[:, None]))
        std = (self.cell / parts).sqrt()
        pairs = zip(inside_leaf(position[:1]), from_start(position[1:]), strict=True)
        weights = [torch.cat(pair).mul_(std)[:, None] for pair in pairs]
        value, integral = weights[:2], (weights[2].div_(parts[:, None]), weights[3].div_(parts[:, None]))
        # Running sums, since what a level adds must not depend on the levels that others need.
        sums = [torch.addcmul(of_z * normals[0], of_n, normals[1]).cumsum(0) for of_z, of_n in (value, integral)]
        if self.sign is not None:
            sums = [x * self.sign for x in sums]
        return sums[0], sums[1]

    def _sum_of_cells(self, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Increment and area over the cells ``first`` to ``last - 1`` of each row, possibly none."""
        count = last - first
        index = torch.arange(max(1, int(count.max())), device=first.device)
        used = (index < count[:, None]).double()
        w, area = self._normals(self._cell_key(first[:, None] + index)).mul_(self._std())
        after = (count[:, None] - index - 1).clamp_min(0).double()
        total = weighted_sum(used[None], w)
        integral = weighted_sum(torch.stack([used * (0.5 + after), AREA_STD * used]), w, area)
        return total, integral / count[:, None].clamp_min(1) - 0.5 * total

    def _std(self, of_unit: float = 1.0) -> float | Tensor:
        """Standard deviation over a cell, ``of_unit`` being that over a cell of length 1."""
        if isinstance(self.cell, Tensor):
            return of_unit * self.cell.sqrt()[:, None, None]
        return of_unit * _square_root(self.cell)

    def _normals(self, keys: Tensor, count: int = 2) -> Tensor:
        """Pairs of standard normal numbers (count, batch, n, dim) of keys (batch, n, dim), or the first ones."""
        return self._mirrored(to_normal_pair(keys, count))

    def _mirrored(self, numbers: Tensor) -> Tensor:
        """Numbers (..., batch, n, dim) with the sign of each path."""
        return numbers if self.sign is None else numbers.mul_(self.sign[:, None, None])

    def _cell_key(self, cell: Tensor) -> Tensor:
        """Keys (batch, n, dim) of cells, ``(n,)`` or ``(batch, n)``."""
        return absorb(self._key[:, None, :], cell[..., None])

    def _node_keys(self, cell_key: Tensor, node: Tensor, levels: Tensor) -> Tensor:
        """Keys (batch, n_levels, dim) of nodes (batch, n_levels) of a cell, numbered from the left at each level."""
        return absorb(cell_key, (node + (1 << levels))[:, :, None])


@lru_cache(maxsize=1024)
def _square_root(x: float) -> float:
    """The square root as torch rounds it, which is not always the nearest number, so that one cell is as many."""
    return torch.tensor(x, dtype=torch.float64).sqrt().item()


@cached_tensors(maxsize=16)
def _nodes(spans: tuple[tuple[int, int], ...], device: torch.device) -> tuple[Tensor, ...]:
    """Cells and nodes of `Brownian._numbers`.

    Numbers (m,) of the cells; for each node the place (n,) of its cell among them and its number (n, 1) in the cell;
    and for cells and nodes, (m + n, 1), the length in cells and the standard deviation of the first number in a cell of
    length 1.
    """
    cells = torch.arange(*spans[0])
    halved = [torch.arange(*span) for span in spans[:-1]]
    index = torch.cat([cells[:0], *halved])
    depth = torch.cat([cells[:0], *(torch.full_like(parts, k) for k, parts in enumerate(halved))])
    parts = 1 << depth
    length = torch.cat([torch.ones(len(cells), dtype=torch.float64), power_of_two(-depth)])
    of_first = torch.full_like(length, MIDDLE_STD)
    of_first[: len(cells)] = 1.0
    columns = cells, (index >> depth) - spans[0][0], (parts + (index & (parts - 1)))[:, None], length, of_first
    return tuple(x.to(device) for x in (*columns[:3], *(x[:, None] for x in columns[3:])))
