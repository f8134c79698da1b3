"""Collocation: the equation of a field at single points, without solving it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skneuralde.inference import InputPath, Model
from skneuralde.inference.fields.bridges import Bridge, build_bridge, middles, pieces_between
from skneuralde.losses.base import SumOfSquares
from skneuralde.problems import FieldDrift, Laplacian
from skneuralde.terms import Term

#: Iterations of a bridge with the reaction along it as forcing, from the second epoch on.
_SWEEPS = 2
#: Largest weight of an interval, relative to the median.
_MOST_WEIGHT = 10.0
#: Number of field values, at the middles of all pieces, that are processed at once.
_CHUNK = 3_000_000


@dataclass(frozen=True)
class Intervals:
    """Pairs of neighbouring snapshots."""

    states: Tensor  #: (rows, n); snapshots without gaps
    observed: Tensor  #: bool (rows, points); whether a point was observed in all fields
    start: Tensor  #: int64 (intervals,); the first row of each pair
    stop: Tensor  #: int64 (intervals,); the second row
    time: Tensor  #: float64 (intervals,); the time of the first row
    length: Tensor  #: float64 (intervals,)
    weight: Tensor  #: (intervals,)
    inputs: InputPath  #: context and controls of the run that each interval belongs to

    def __len__(self) -> int:
        return len(self.start)

    def pieces(self) -> Tensor:
        """Ends (intervals, pieces + 1) of the pieces of each interval, on which controls are smooth, as shares."""
        return pieces_between((self.inputs.knots - self.time[:, None]) / self.length[:, None])


def drift_of(model: Model) -> FieldDrift:
    """The right-hand side of a model of fields."""
    drift = model.problem.drift
    assert isinstance(drift, FieldDrift)
    return drift


class LocalBalance(nn.Module):
    """Residuals of the equation at one point: reaction and diffusion less the observed rate of change."""

    def __init__(self, reaction: Term, diffusion: Laplacian | None):
        super().__init__()
        self.reaction, self.diffusion = reaction, diffusion

    def forward(
        self, unit: Tensor, share: Tensor, t: Tensor, u: Tensor, bend: Tensor, known: Tensor, c: Tensor | None = None
    ) -> Tensor:
        """Residuals (..., fields) in units of ``unit``, from ``share``, ``t``, ``u`` and ``c``, (..., pieces, k).

        ``share`` is the length of each piece as a share of the interval. ``bend`` is the mean of the Laplacian for
        D = 1, and ``known`` the sum of the known terms of the equation less the observed rate of change; both are
        (..., fields).
        """
        inputs = None if c is None else c.reshape(-1, c.shape[-1])
        values = self.reaction(t.reshape(-1, 1), u.reshape(-1, u.shape[-1]), inputs)
        total = (share * values.reshape(u.shape)).sum(-2) + known
        if self.diffusion is not None:
            total = total + self.diffusion.diffusivity(u) * bend
        return total / unit


class Collocation(SumOfSquares):
    """The balance of diffusion, reaction and observed change at random points of all intervals.

    Between two snapshots the field is a `Bridge`, which is exact in the diffusion [1]_. In the first epoch the bridge
    has a constant forcing. From the second epoch on its forcing is the present reaction plus the constant that the
    reaction still lacks. The time means of reaction and diffusion along the bridge must equal the observed change at
    every point [2]_, so that every point of every interval is a sample. Each epoch draws new points.

    Residuals of a field in an interval are divided by their root mean square, which is measured at the beginning of an
    epoch. Noisy snapshots that are close in time, and snapshots so far apart that a bridge is inaccurate, have little
    weight. The loss is the logarithm of the root mean square, up to a constant. Residuals are resolved down to
    ``resolution`` times ``scale (fields,)``, the typical rates of change.

    References
    ----------
    .. [1] M. Hochbruck and A. Ostermann, "Exponential integrators", Acta Numerica 19 (2010), for the exact diffusion.
    .. [2] D. A. Messenger and D. M. Bortz, "Weak SINDy for partial differential equations", J. Comput. Phys. 443
       (2021), for learning from time means instead of derivatives.
    """

    def __init__(
        self, intervals: Intervals, drift: FieldDrift, scale: Tensor, *, resolution: float, n_samples: int, seed: int
    ):
        self.intervals, self.scale, self.seed = intervals, scale, seed
        self.floor = (resolution * scale).square()
        self.fields = drift.state[-1]
        self.points = intervals.observed.shape[1]
        self.per_interval = min(self.points, max(1, n_samples // len(intervals)))
        self.weight = torch.ones(len(intervals) * self.per_interval, dtype=scale.dtype, device=scale.device)
        self.ends = intervals.pieces()
        self.of = torch.arange(len(intervals), device=scale.device).repeat_interleave(self.per_interval)
        self.variance = scale.square().expand(len(intervals), -1)
        self.data: tuple[Tensor, ...] = ()

    def start_epoch(self, model: Model, epoch: int) -> None:
        self.version = epoch
        generator = torch.Generator().manual_seed((self.seed + 7919 * epoch) % 2**62)
        drift = drift_of(model)
        with torch.no_grad():
            self._draw(drift, 0 if epoch == 1 else _SWEEPS, generator)
            if epoch > 1:
                self._weigh(LocalBalance(drift.reaction.term, drift.diffusion))

    def _draw(self, drift: FieldDrift, sweeps: int, generator: torch.Generator) -> None:
        order, parts = [], []
        for items in self._alike():
            bridge = self._bridge(drift, items, sweeps)
            points, valid = self._points(items, generator)
            parts.append((*self._samples(drift, items, bridge, points), valid))
            order.append(items)
        back = torch.cat(order).argsort()
        *data, valid = (torch.cat(part)[back].flatten(0, 1) for part in zip(*parts, strict=True))
        self.data = tuple(data)
        self.weight = self.intervals.weight[self.of] * valid

    def _alike(self) -> Iterator[Tensor]:
        """Batches of intervals of the same length with the same pieces."""
        shapes = torch.cat([self.intervals.length[:, None], self.ends], 1)
        alike, which = torch.unique(shapes, dim=0, return_inverse=True)
        size = max(1, _CHUNK // (self.points * self.fields * (self.ends.shape[1] - 1)))
        for k in range(len(alike)):
            yield from (which == k).nonzero()[:, 0].split(size)

    def _bridge(self, drift: FieldDrift, items: Tensor, sweeps: int) -> Bridge:
        h, ends = float(self.intervals.length[items[0]]), self.ends[items[0]]
        start, stop = (self.intervals.states[rows[items]] for rows in (self.intervals.start, self.intervals.stop))
        bridge = build_bridge(drift, h, start, stop, ends=ends)
        times, inputs = self._when(items)
        for _ in range(sweeps):
            forcing = [
                drift.without_diffusion(times[:, piece, None], u, None if inputs is None else inputs[:, piece])
                for piece, u in enumerate(bridge.nodes)
            ]
            bridge = build_bridge(drift, h, start, stop, torch.stack(forcing), ends)
        return bridge

    def _when(self, items: Tensor) -> tuple[Tensor, Tensor | None]:
        """Times (items, pieces) of the nodes, and context and controls (items, pieces, k) at these times."""
        times = self.intervals.time[items, None] + self.intervals.length[items, None] * middles(self.ends[items])
        inputs = self.intervals.inputs.select(items).on_grid(times)
        return times.to(self.scale.dtype), inputs if inputs.shape[-1] else None

    def _points(self, items: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random points (items, per_interval), and whether they were observed at both ends of the interval."""
        intervals = self.intervals
        there = intervals.observed[intervals.start[items]] & intervals.observed[intervals.stop[items]]
        draws = torch.rand(len(items), self.points, generator=generator).to(there.device)
        chosen = torch.where(there, draws, -1.0).topk(self.per_interval).indices
        return chosen, there.gather(1, chosen).to(self.scale.dtype)

    def _samples(self, drift: FieldDrift, items: Tensor, bridge: Bridge, points: Tensor) -> list[Tensor]:
        """The arguments of `LocalBalance` at some points, but for the unit; each (items, per_interval, ...)."""
        copies, h, shares = points.shape[1], self.intervals.length[items[0]], self.ends[items].diff().to(bridge.mean)
        change = self.intervals.states[self.intervals.stop[items]] - self.intervals.states[self.intervals.start[items]]
        known = drift.field(change / -float(h))
        for source in drift.reaction.sources:
            known = known + source.to(known)
        for share, nodes in zip(shares[0].tolist(), bridge.nodes, strict=True):
            for other in drift.operators.others:
                known = known + share * other(drift.field(nodes))
        mean = drift.field(bridge.mean)
        curvature = torch.zeros_like(mean) if drift.diffusion is None else drift.diffusion.second_differences(mean)
        index = points[..., None].expand(-1, -1, self.fields)
        curvature, known = (x.reshape(len(items), self.points, -1).gather(1, index) for x in (curvature, known))
        pieces = len(bridge.nodes)
        u = bridge.nodes.view(pieces, len(items), self.points, -1).gather(2, index.expand(pieces, -1, -1, -1))
        times, inputs = self._when(items)
        share, t = (x[:, None, :, None].expand(-1, copies, -1, -1) for x in (shares, times))
        samples = [share, t, u.movedim(0, 2), curvature, known]
        return samples if inputs is None else [*samples, inputs[:, None].expand(-1, copies, -1, -1)]

    def _weigh(self, balance: nn.Module) -> None:
        """Measure the variance of the residuals of every field in every interval with the present reaction."""
        squares = balance(self.scale.new_ones(()), *self.data).square() * self.weight[:, None]
        zeros = squares.new_zeros(len(self.intervals), self.fields)
        counts = zeros[:, 0].index_add(0, self.of, self.weight)
        variance = zeros.index_add(0, self.of, squares) / counts[:, None].clamp_min(torch.finfo(counts.dtype).tiny)
        usual = variance[counts > 0].median(0).values
        self.variance = variance.maximum(usual / _MOST_WEIGHT).maximum(self.floor)

    def residuals(self, model: Model) -> tuple[nn.Module, tuple[Tensor, ...]]:
        drift = drift_of(model)
        return LocalBalance(drift.reaction.term, drift.diffusion), (self.variance.sqrt()[self.of], *self.data)

    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        balance, data = self.residuals(model)
        squares = balance(*(x[items] for x in data)).square()
        size = (self.variance[self.of[items]] / self.scale.square()).log()
        return 0.5 * (squares + size).mean(-1)
