"""The error that a failed solution raises."""

from __future__ import annotations

from skneuralde.solvers.core.results import Status, Trajectory

_ADVICE = {
    Status.MAX_STEPS: "raise max_steps, loosen rtol and atol or raise dt",
    Status.STEP_TOO_SMALL: "the equation may be stiff, its coefficients discontinuous, or its time scale far too short "
    "for times so far apart: loosen rtol and atol, or ask for closer times",
    Status.NON_FINITE: "the solution or a coefficient became infinite or NaN: check the coefficients there, "
    "or take smaller steps",
    Status.INVALID_RATE: "a rate of jumps is negative, above its bound or not finite",
}

#: The advice where stiffness is the cause, without and with noise.
_STIFF = {
    False: "the equation is stiff here, and stability limits the steps: use solver='rosenbrock', for more than 64 "
    "states with Problem(..., sparsity=)",
    True: "the drift is stiff here, and stability limits the steps of all methods for noise: take a smaller dt or "
    "raise max_steps, or replace components that decay fast by the values to which they decay",
}


def _advice(status: Status, of_method: str) -> str:
    """What to do about a failure; a method may know more about paths that take too many steps."""
    return of_method if of_method and status in (Status.MAX_STEPS, Status.STEP_TOO_SMALL) else _ADVICE[status]


class SolverError(RuntimeError):
    """A solution did not reach its last time.

    Attributes
    ----------
    status : Status
    time : float
        Time at which the first failed path stopped.
    n_steps : int
        Accepted steps of that path.
    smallest_step : float
        The smallest step that was tried.
    """

    def __init__(self, message: str, *, status: Status, time: float, n_steps: int, smallest_step: float):
        super().__init__(message)
        self.status, self.time, self.n_steps, self.smallest_step = status, time, n_steps, smallest_step

    @classmethod
    def from_trajectory(cls, solver: str, trajectory: Trajectory, *, has_noise: bool) -> SolverError:
        """Describe the first failed path."""
        failed = (trajectory.status != Status.SUCCESS).nonzero()[:, 0]
        path = int(failed[0])
        status = Status(int(trajectory.status[path]))
        time = float(trajectory.reached[path])
        n_steps = int(trajectory.stats.steps[path])
        smallest = float(trajectory.stats.smallest_step[path])
        reason = _advice(status, trajectory.advice)
        if status == Status.INVALID_RATE and trajectory.rates is not None:
            reason = trajectory.rates.describe(path)
        elif trajectory.is_stiff is not None and bool(trajectory.is_stiff[path]):
            reason = _STIFF[has_noise]
        message = (
            f"solver {solver!r} failed on {len(failed)} of {len(trajectory.status)} paths; path {path} stopped at time "
            f"{time:.6g} with status {status.name.lower()} after {n_steps} steps, the smallest {smallest:.3g}: "
            f"{reason}"
        )
        return cls(message, status=status, time=time, n_steps=n_steps, smallest_step=smallest)

    def explained(self, reason: str) -> SolverError:
        """The same error with the reason of the failure."""
        message = f"{self}. {reason}"
        return SolverError(
            message, status=self.status, time=self.time, n_steps=self.n_steps, smallest_step=self.smallest_step
        )

    def __reduce__(self):
        return _rebuild, (str(self), self.status, self.time, self.n_steps, self.smallest_step)


def _rebuild(message: str, status: Status, time: float, n_steps: int, smallest_step: float) -> SolverError:
    return SolverError(message, status=status, time=time, n_steps=n_steps, smallest_step=smallest_step)
