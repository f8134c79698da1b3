"""Jumps inside the steps of a mesh that many paths share: the few that jump in a step make it once more, in parts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.base import Step, Stepper
from skneuralde.solvers.cells import snapped
from skneuralde.solvers.clockwork import Clockwork, Events
from skneuralde.solvers.drawing import Source
from skneuralde.solvers.equation import Equation
from skneuralde.solvers.jump_log import JumpLog
from skneuralde.solvers.landings import landed

#: An additional step of a few paths costs about as much as so many numbers when all paths have steps of their own.
_OVERHEAD = 3000


class _Part(NamedTuple):
    """A part of one step, of some of the paths that make it in parts.

    ``slot`` are their positions among these, ``jumping`` those of them that may jump at its end; None is all.
    """

    path: Tensor
    slot: Tensor | None
    t: Tensor
    h: Tensor
    noise: Increments | None
    jumping: Tensor | None
    events: Events
    entry: Tensor


class Detours:
    """What paths do that jump inside a step: they make it from jump to jump.

    Candidates are decided when a path first comes by, as in `Landings`.

    Parameters
    ----------
    clockwork : Clockwork
    points : float64 Tensor of shape (n_points,)
        The mesh of all paths, in cells.
    dt : float
        Length of a cell.

    Attributes
    ----------
    n_parts : int64 Tensor of shape (batch,)
        Steps that each path makes beyond those of the mesh.
    shortest : float64 Tensor of shape (batch,)
        Its shortest part, in cells; infinity without any.
    calls : int
        How often some path makes a part of a step.
    """

    def __init__(self, clockwork: Clockwork, points: Tensor, dt: float):
        candidates, self.clockwork = clockwork.candidates, clockwork
        position = snapped(candidates.elapsed / dt)
        path, place = (position <= points[-1]).nonzero(as_tuple=True)
        when = position[path, place]
        columns = candidates.elapsed, candidates.channel, candidates.number
        self.log = JumpLog(path, *(column[path, place] for column in columns))
        self.parts: dict[int, list[_Part]] = {}
        self.accepted, self.is_decided = torch.zeros_like(path, dtype=torch.bool), False
        step = torch.searchsorted(points, when) - 1
        # Candidates of a path follow each other in time: those at one time end one part.
        first = _changes(path) | _changes(step)
        new = first | _changes(when)
        part = new.cumsum(0) - 1
        group = (first.cumsum(0) - 1)[new]
        path, step, end, first = path[new], step[new], when[new], first[new]
        begin = torch.where(first, points[step], end.roll(1))
        # After the last jump, on to the end of the step.
        last = torch.ones_like(first)
        last[:-1] = first[1:]
        rest = (last & (end < points[step + 1])).nonzero()[:, 0]
        turn = torch.cat([torch.arange(len(path), device=path.device), rest]).argsort(stable=True)
        begin = torch.cat([begin, end[rest]])[turn]
        end = torch.cat([end, points[step + 1][rest]])[turn]
        path, step, group = (torch.cat([x, x[rest]])[turn] for x in (path, step, group))
        self.n_parts = torch.bincount(path, minlength=len(position))
        self.n_parts = self.n_parts - torch.bincount(path[_changes(group)], minlength=len(position))
        self.shortest = torch.full((len(position),), torch.inf, dtype=torch.float64, device=path.device)
        self.shortest = self.shortest.scatter_reduce(0, path, end - begin, "amin")
        place = torch.arange(len(path), device=path.device)
        rank = place - torch.searchsorted(group, group)
        self.most = int(rank.max()) + 1 if len(rank) else 1
        self.key = step * self.most + rank
        self.calls = len(self.key.unique())
        # Which part each candidate ends, among all of them.
        self.ended = torch.empty_like(turn).index_copy(0, turn, place)[part]
        self.path, self.begin, self.end = path, begin, end

    def prepare(self, start: Tensor, dt: float, source: Source | None, dtype: torch.dtype) -> None:
        """Draw the noise of all parts of steps, for paths that start at ``start (1, 1)`` in states of a dtype."""
        noise = None if source is None or len(self.path) == 0 else source.part(self.path, self.begin, self.end)
        t, h = start + dt * self.begin[:, None], (dt * (self.end - self.begin))[:, None].to(dtype)
        order = self.key.argsort(stable=True)
        ends = torch.empty_like(order).index_copy(0, order, torch.arange(len(order), device=order.device))[self.ended]
        entries = ends.argsort(stable=True)
        ends = ends[entries]
        keys, counts = self.key.unique(return_counts=True)
        until = torch.searchsorted(ends, counts.cumsum(0)).tolist()
        path, channel, number = self.path[order], self.log.channel[entries], self.log.number[entries]
        n = m = 0
        for key, size, next_m in zip(keys.tolist(), counts.tolist(), until, strict=True):
            rows, mine, k = order[n : n + size], slice(m, next_m), key // self.most
            jumping, slot = (ends[mine] - n).unique(return_inverse=True)
            jumping = None if len(jumping) == size else jumping
            own = path[n : n + size]
            where = torch.searchsorted(self.parts[k][0].path, own) if k in self.parts else None
            increments = None
            if noise is not None:
                increments = Increments(noise.w[rows], None if noise.area is None else noise.area[rows])
            events = Events(slot, channel[mine], number[mine])
            part = _Part(own, where, t[rows], h[rows], increments, jumping, events, entries[mine])
            self.parts.setdefault(k, []).append(part)
            n, m = n + size, next_m

    def pays(self, n_steps: int, numbers: int) -> bool:
        """Whether this costs less than steps of every path's own, of states of so many numbers together."""
        return self.calls * _OVERHEAD < n_steps * numbers

    def after(
        self, k: int, marcher: Stepper, equation: Equation, t: Tensor, step: Step, u: Tensor, carry: Tensor | None
    ) -> Step:
        """Step ``k`` of the paths of an equation from states ``u``, with the detours of those that jump inside it."""
        if k not in self.parts:
            return step
        first, *_ = self.parts[k]
        here = equation.select(first.path)
        now = Step(u.index_select(0, first.path), state=None if carry is None else carry.index_select(0, first.path))
        for part in self.parts[k]:
            now = self._make(part, marcher, here, now)
        u1 = step.u1.index_copy(0, first.path, now.u1)
        state = step.state
        if state is not None:
            assert now.state is not None  # who keeps something does so in every step
            state = state.index_copy(0, first.path, now.state)
        return step._replace(u1=u1, state=state)

    def _make(self, part: _Part, marcher: Stepper, equation: Equation, now: Step) -> Step:
        u, carry = now.u1, now.state
        if part.slot is not None:
            equation, u = equation.select(part.slot), u[part.slot]
            carry = None if carry is None else carry[part.slot]
        made = marcher.step(equation, part.t, part.h, u, part.noise, carry)
        if len(part.entry):
            made = self._land(part, marcher, equation, made)
        if part.slot is None:
            return made
        state = now.state
        if state is not None:
            assert made.state is not None
            state = state.index_copy(0, part.slot, made.state)
        return Step(now.u1.index_copy(0, part.slot, made.u1), state=state)

    def _land(self, part: _Part, marcher: Stepper, equation: Equation, made: Step) -> Step:
        """A part of a step with the jumps at its end."""
        end, path, u = part.t + part.h, part.path, made.u1
        if part.jumping is not None:
            equation, end, path, u = equation.select(part.jumping), *(x[part.jumping] for x in (end, path, u))
        now = equation.at(end, u.dtype)
        if not self.is_decided:
            self.accepted[part.entry] = self.clockwork.decide(equation, now, u.detach(), path, part.events)
        u = self.clockwork.apply(equation, now, u, path, part.events.where(self.accepted[part.entry]))
        if part.jumping is not None:
            return landed(marcher, equation, made, part.jumping, end, u)
        return Step(u, state=None if made.state is None else marcher.resume(equation, end, u))

    def jumps(self) -> JumpLog:
        """The jumps that have happened."""
        return self.log.where(self.accepted)


def _changes(x: Tensor) -> Tensor:
    """Whether an entry differs from the one before; the first one does."""
    changes = torch.ones_like(x, dtype=torch.bool)
    changes[1:] = x[1:] != x[:-1]
    return changes
