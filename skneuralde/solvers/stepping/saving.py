"""Savers: for each save time, something from the step of the loop that passes it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.solvers.core.loop_state import PathState, StepAttempt, StepObserver

#: Steps that are processed at once, and the number of values at which they are processed earlier.
_INTERVAL, _MANY = 32, 2**20


class Saver(StepObserver):
    """Keeps something from the step that passes each save time.

    Save times, (batch, n_times) or (1, n_times), are elapsed times, non-decreasing and padded with infinity; those up
    to ``begun (batch, 1)`` have passed already.
    """

    def __init__(self, save_times: Tensor, begun: Tensor):
        self.save_times = save_times.contiguous()
        self.next = (save_times <= begun).sum(1)
        self.pending: list[tuple[Tensor, tuple[Tensor, ...]]] = []
        self.rows = torch.empty(0, dtype=torch.int64)
        self.paths: list[Tensor] = []
        self.saves: list[Tensor] = []
        self.kept: list[tuple[Tensor, ...]] = []

    def add(self, rows: Tensor, reached: Tensor, payload: tuple[Tensor, ...]) -> None:
        """Add a step of paths ``rows`` that passes all times up to ``reached (n, 1)``."""
        if self.pending and rows is not self.rows:
            self.flush()
        self.rows = rows
        self.pending.append((reached, payload))
        if len(self.pending) >= min(_INTERVAL, 1 + _MANY // (1 + sum(x.numel() for x in payload))):
            self.flush()

    @abstractmethod
    def use(self, time: Tensor, *payload: Tensor) -> tuple[Tensor, ...]:
        """The values to keep of save times, (n, 1), from the rows of their steps."""

    def flush(self) -> None:
        """Find the save times in the pending steps."""
        if not self.pending:
            return
        reached = torch.cat([entry for entry, _ in self.pending], 1).cummax(1).values
        furthest = torch.zeros_like(self.next, dtype=torch.float64).index_copy(0, self.rows, reached[:, -1])
        if len(self.save_times) == 1:
            passed = torch.searchsorted(self.save_times[0], furthest, right=True)
        else:
            passed = torch.searchsorted(self.save_times, furthest[:, None], right=True)[:, 0]
        count = (passed - self.next).clamp_min(0)
        path = torch.repeat_interleave(count)
        if len(path) or not self.kept:
            first = count.cumsum(0) - count - self.next
            save = torch.arange(len(path), device=path.device) - first[path]
            slot = torch.empty_like(self.next).index_copy(
                0, self.rows, torch.arange(len(self.rows), device=path.device)
            )
            time = self.save_times[path if len(self.save_times) > 1 else torch.zeros_like(path), save][:, None]
            slot = slot[path]
            row = torch.searchsorted(reached[slot], time)[:, 0] * len(self.rows) + slot
            columns = zip(*(payload for _, payload in self.pending), strict=True)
            self.paths.append(path)
            self.saves.append(save)
            self.kept.append(self.use(time, *(torch.cat(column)[row] for column in columns)))
            self.next += count
        self.pending.clear()

    def result(self) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Paths and positions of the save times that were passed, and the values that were kept."""
        self.flush()
        return torch.cat(self.paths), torch.cat(self.saves), tuple(map(torch.cat, zip(*self.kept, strict=True)))


class DenseOutputSaver(Saver):
    """The solution at the save times, from the method's dense output."""

    def __init__(
        self, save_times: Tensor, begun: Tensor, interpolate: Callable[[Tensor, Tensor, tuple[Tensor, ...]], Tensor]
    ):
        super().__init__(save_times, begun)
        self.interpolate = interpolate

    def use(self, time: Tensor, *payload: Tensor) -> tuple[Tensor, ...]:
        elapsed, length, u, after, *stages = payload
        theta = (time - elapsed) / length
        # The end of a step comes after the jumps there.
        inside = self.interpolate(theta.clamp_max(1.0), u, tuple(stages)).to(u.dtype)
        return (torch.where(theta < 1.0, inside, after),)

    def attempted(self, attempt: StepAttempt) -> None:
        paths = attempt.paths
        self.add(
            paths.rows, attempt.reached, (paths.elapsed, attempt.length, paths.u, attempt.step.u1, *attempt.step.stages)
        )


class StepEndSaver(Saver):
    """The solution at save times on which steps end."""

    def use(self, time: Tensor, *payload: Tensor) -> tuple[Tensor, ...]:
        return payload

    def attempted(self, attempt: StepAttempt) -> None:
        self.add(attempt.paths.rows, attempt.reached, (attempt.step.u1,))


class StepIndexSaver(Saver):
    """The number of the step that passes each save time, and the fraction of it."""

    def use(self, time: Tensor, *payload: Tensor) -> tuple[Tensor, ...]:
        elapsed, length, steps = payload
        return steps[:, 0], ((time - elapsed) / length).clamp_max(1.0)

    def attempted(self, attempt: StepAttempt) -> None:
        paths = attempt.paths
        self.add(paths.rows, attempt.reached, (paths.elapsed, attempt.length, paths.steps))


class SideStepStarts(Saver):
    """For each save time the start of its side step: the first mesh point whose first try, accepted or not, passes it.

    Keeps the point's number, elapsed time and state, and, where there are such, the size of the states so far and the
    rows of ``largest (batch, k)`` as they are then.
    """

    def __init__(self, save_times: Tensor, begun: Tensor, largest: Tensor | None = None):
        super().__init__(save_times, begun)
        self.largest = largest

    def use(self, time: Tensor, *payload: Tensor) -> tuple[Tensor, ...]:
        elapsed, steps, *others = payload
        return steps[:, 0], elapsed, *others

    def proposed(self, paths: PathState, target: Tensor) -> None:
        reached = torch.where(paths.is_first_try, target, paths.elapsed)
        size = () if paths.size is None else (paths.size,)
        largest = () if self.largest is None else (self.largest[paths.rows],)
        self.add(paths.rows, reached, (paths.elapsed, paths.steps, paths.u, *size, *largest))


class AcceptedSteps(StepObserver):
    """The mesh of the accepted steps."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def attempted(self, attempt: StepAttempt) -> None:
        paths = attempt.paths
        self.seen.append((paths.rows, paths.steps[:, 0], attempt.target[:, 0], attempt.accepted[:, 0]))

    def points(self, begin: Tensor, count: Tensor) -> Tensor:
        """Elapsed times (batch, n_points) of the mesh points of every path, padded with infinity.

        Paths make ``count (batch,)`` accepted steps from ``begin (batch, 1)`` on.
        """
        n_steps = int(count.max()) if len(count) else 0
        points = torch.full((len(count), n_steps + 1), torch.inf, dtype=torch.float64, device=count.device)
        points[:, :1] = begin
        if self.seen:
            path, step, target, accepted = (torch.cat(column) for column in zip(*self.seen, strict=True))
            points[path[accepted], step[accepted] + 1] = target[accepted]
        return points
