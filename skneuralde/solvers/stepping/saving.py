"""Which step of a search passes over each time that is wanted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.solvers.stepping.loop import PathState, StepAttempt, StepObserver

#: Steps that are looked through at once, unless so many numbers are at hand before.
_INTERVAL, _MANY = 32, 2**20


class Saver(StepObserver):
    """Collects something from the step that passes over each wanted time.

    Parameters
    ----------
    wanted : float64 Tensor of shape (batch, n_times) or (1, n_times)
        Elapsed times, non-decreasing, infinite where nothing is wanted.
    batch : int
    """

    def __init__(self, wanted: Tensor, batch: int):
        self.wanted = wanted.contiguous()
        self.next = (wanted <= 0).sum(1).expand(batch).clone()
        self.pending: list[tuple[Tensor, tuple[Tensor, ...]]] = []
        self.rows = torch.empty(0, dtype=torch.int64)
        self.paths: list[Tensor] = []
        self.saves: list[Tensor] = []
        self.kept: list[tuple[Tensor, ...]] = []

    def add(self, rows: Tensor, reached: Tensor, payload: tuple[Tensor, ...]) -> None:
        """A step of paths ``rows`` passes over all times up to ``reached (n, 1)``."""
        if self.pending and rows is not self.rows:
            self.flush()
        self.rows = rows
        self.pending.append((reached, payload))
        if len(self.pending) >= min(_INTERVAL, 1 + _MANY // (1 + sum(x.numel() for x in payload))):
            self.flush()

    @abstractmethod
    def use(self, time: Tensor, *payload: Tensor) -> tuple[Tensor, ...]:
        """What to keep of wanted times, (n, 1), and the rows of their steps."""

    def flush(self) -> None:
        """Look for wanted times in the steps since the last look."""
        if not self.pending:
            return
        reached = torch.cat([entry for entry, _ in self.pending], 1).cummax(1).values
        furthest = torch.zeros_like(self.next, dtype=torch.float64).index_copy(0, self.rows, reached[:, -1])
        if len(self.wanted) == 1:
            passed = torch.searchsorted(self.wanted[0], furthest, right=True)
        else:
            passed = torch.searchsorted(self.wanted, furthest[:, None], right=True)[:, 0]
        count = (passed - self.next).clamp_min(0)
        path = torch.repeat_interleave(count)
        if len(path) or not self.kept:
            first = count.cumsum(0) - count - self.next
            save = torch.arange(len(path), device=path.device) - first[path]
            slot = torch.empty_like(self.next).index_copy(
                0, self.rows, torch.arange(len(self.rows), device=path.device)
            )
            time = self.wanted[path if len(self.wanted) > 1 else torch.zeros_like(path), save][:, None]
            slot = slot[path]
            row = torch.searchsorted(reached[slot], time)[:, 0] * len(self.rows) + slot
            columns = zip(*(payload for _, payload in self.pending), strict=True)
            self.paths.append(path)
            self.saves.append(save)
            self.kept.append(self.use(time, *(torch.cat(column)[row] for column in columns)))
            self.next += count
        self.pending.clear()

    def result(self) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Paths and positions of the wanted times that were passed, and what was kept."""
        self.flush()
        return torch.cat(self.paths), torch.cat(self.saves), tuple(map(torch.cat, zip(*self.kept, strict=True)))


class DenseOutputSaver(Saver):
    """The solution at the wanted times, from the method's dense output."""

    def __init__(self, wanted: Tensor, batch: int, interpolate: Callable[[Tensor, Tensor, tuple[Tensor, ...]], Tensor]):
        super().__init__(wanted, batch)
        self.interpolate = interpolate

    def use(self, time: Tensor, *payload: Tensor) -> tuple[Tensor, ...]:
        elapsed, length, u, after, *stages = payload
        theta = (time - elapsed) / length
        # The end of a step is behind the jumps there.
        return (torch.where(theta < 1.0, self.interpolate(theta.clamp_max(1.0), u, tuple(stages)), after),)

    def attempted(self, attempt: StepAttempt) -> None:
        front = attempt.front
        self.add(
            front.rows, attempt.reached, (front.elapsed, attempt.length, front.u, attempt.step.u1, *attempt.step.stages)
        )


class StepEndSaver(Saver):
    """The solution at wanted times that steps end on."""

    def use(self, time: Tensor, *payload: Tensor) -> tuple[Tensor, ...]:
        return payload

    def attempted(self, attempt: StepAttempt) -> None:
        self.add(attempt.front.rows, attempt.reached, (attempt.step.u1,))


class StepIndexSaver(Saver):
    """The number of the step over each wanted time, and how far inside it the time lies."""

    def use(self, time: Tensor, *payload: Tensor) -> tuple[Tensor, ...]:
        elapsed, length, steps = payload
        return steps[:, 0], ((time - elapsed) / length).clamp_max(1.0)

    def attempted(self, attempt: StepAttempt) -> None:
        front = attempt.front
        self.add(front.rows, attempt.reached, (front.elapsed, attempt.length, front.steps))


class SideStepOrigins(Saver):
    """For each wanted time the first mesh point whose first step, good enough or not, passes it.

    Keeps the point's number, elapsed time and state.
    """

    def use(self, time: Tensor, *payload: Tensor) -> tuple[Tensor, ...]:
        elapsed, steps, u = payload
        return steps[:, 0], elapsed, u

    def proposed(self, front: PathState, target: Tensor) -> None:
        reached = torch.where(front.fresh, target, front.elapsed)
        self.add(front.rows, reached, (front.elapsed, front.steps, front.u))


class AcceptedSteps(StepObserver):
    """The mesh that a search finds."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def attempted(self, attempt: StepAttempt) -> None:
        front = attempt.front
        self.seen.append((front.rows, front.steps[:, 0], attempt.target[:, 0], attempt.accepted[:, 0]))

    def points(self, begin: Tensor, count: Tensor) -> Tensor:
        """Elapsed times (batch, n_points) of the mesh points of every path, padded with infinity.

        From ``begin (batch, 1)`` on, by ``count (batch,)`` accepted steps.
        """
        n_steps = int(count.max()) if len(count) else 0
        points = torch.full((len(count), n_steps + 1), torch.inf, dtype=torch.float64, device=count.device)
        points[:, :1] = begin
        if self.seen:
            path, step, target, accepted = (torch.cat(column) for column in zip(*self.seen, strict=True))
            points[path[accepted], step[accepted] + 1] = target[accepted]
        return points
