"""`check_solver`: the contract of a numerical method, measured against the facts that the method states."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from skneuralde.solvers import DenseOutput, Solver, Stepper, get_solver
from skneuralde.testing import convergence, facts, local_errors, noise, robustness, steps


class Check(NamedTuple):
    """One promise of the contract.

    Attributes
    ----------
    name : str
        The name in messages.
    run : callable
        Raises AssertionError if the solver breaks the promise.
    applies : callable
        Whether the promise is one of this solver's.
    """

    name: str
    run: Callable[..., None]
    applies: Callable[[Solver], bool] = lambda solver: True


def _has_fixed_steps(solver: Solver) -> bool:
    return isinstance(solver, Stepper) or not solver.adaptive


def _without_noise(solver: Solver) -> bool:
    return solver.handles(None)


def _with_noise(solver: Solver) -> bool:
    return any(map(solver.handles, ("diagonal", "additive", "general")))


#: The contract; the orders of single steps come first, since they are cheap.
CHECKS: tuple[Check, ...] = (
    Check("facts", facts.check_facts),
    Check("refusal of jumps", facts.check_refusal_of_jumps, lambda solver: not solver.handles_jumps),
    Check(
        "order without noise",
        convergence.check_order,
        lambda solver: _without_noise(solver) and _has_fixed_steps(solver),
    ),
    Check("order of the error estimate", steps.check_error_order, lambda solver: _steps_adapt(solver, noise=False)),
    Check(
        "order of the dense output",
        steps.check_dense_output,
        lambda solver: isinstance(solver, Stepper) and isinstance(solver, DenseOutput) and _without_noise(solver),
    ),
    Check(
        "solver state",
        steps.check_solver_state,
        lambda solver: isinstance(solver, Stepper) and _without_noise(solver),
    ),
    Check(
        "strong order of one step", local_errors.check_strong_order, lambda solver: _has_local_error(solver, "strong")
    ),
    Check("weak order of one step", local_errors.check_weak_order, lambda solver: _has_local_error(solver, "weak")),
    Check(
        "order of the error estimate with noise",
        local_errors.check_error_order,
        lambda solver: _steps_adapt(solver, noise=True),
    ),
    Check("dtype and far times", robustness.check_dtype),
    Check("random state", robustness.check_random_state),
    Check("batch independence", robustness.check_batch_independence, lambda solver: not _shares_steps(solver)),
    Check("interval of integration", robustness.check_interval),
    Check("max_steps", robustness.check_max_steps),
    Check("failure status", robustness.check_failure),
    Check("tolerance", convergence.check_tolerance, lambda solver: _without_noise(solver) and solver.adaptive),
    Check("changes in time", convergence.check_changes_in_time, lambda solver: _steps_adapt(solver, noise=False)),
    Check("backwards in time", convergence.check_backwards, _without_noise),
    Check("strong order", noise.check_strong_order, lambda solver: solver.strong_order is not None),
    Check("tolerance with noise", noise.check_tolerance, lambda solver: _steps_adapt(solver, noise=True)),
    Check("variance of additive noise", noise.check_variance, lambda solver: solver.handles("additive")),
    Check(
        "general noise",
        noise.check_general_noise,
        lambda solver: solver.handles("general") and solver.handles("diagonal"),
    ),
    Check("gradient", steps.check_gradient),
    Check("gradient modes", steps.check_gradient_modes, lambda solver: len(solver.gradients) > 1),
    Check("jumps", steps.check_jumps, lambda solver: solver.handles_jumps),
)


def check_solver(solver: str | Solver) -> None:
    """Check that a numerical method keeps the contract of all solvers, as far as it concerns the facts that it states.

    Orders are measured with small steps in float64, so that a coefficient that is wrong by 1e-3 shows. The check takes
    a few seconds.

    Parameters
    ----------
    solver : str or Solver
        A name of `skneuralde.solvers.solver_names`, or an instance.

    Raises
    ------
    AssertionError
        If a check fails. The message names the check, and says what was expected and what was measured.

    Examples
    --------
    >>> from skneuralde.testing import check_solver
    >>> check_solver("bs3")
    """
    solver = get_solver(solver) if isinstance(solver, str) else solver
    name = getattr(solver, "name", "") or type(solver).__name__
    for check in CHECKS:
        if not check.applies(solver):
            continue
        try:
            check.run(solver)
        except AssertionError as error:
            raise AssertionError(f"solver {name!r} fails the check {check.name!r}: {error}") from error
        except Exception as error:
            raise AssertionError(
                f"solver {name!r} fails the check {check.name!r}: it raised {type(error).__name__}: {error}"
            ) from error


def _shares_steps(solver: Solver) -> bool:
    """Whether the paths of a batch share the step size."""
    return solver.adaptive and not isinstance(solver, Stepper)


def _steps_adapt(solver: Solver, *, noise: bool) -> bool:
    able = _with_noise(solver) if noise else _without_noise(solver)
    return solver.adaptive and isinstance(solver, Stepper) and able


def _has_local_error(solver: Solver, kind: str) -> bool:
    order = solver.strong_order if kind == "strong" else solver.weak_order
    return isinstance(solver, Stepper) and order is not None
