"""Numerical methods."""

from skneuralde.solvers.core.errors import SolverError
from skneuralde.solvers.core.stepper import Solver, Status, Stepper, Trajectory
from skneuralde.solvers.expect import expect
from skneuralde.solvers.integrate import integrate
from skneuralde.solvers.rate_gradient import Branch, SolveRequest, solve_with_branches
from skneuralde.solvers.registry import choose_solver, get_solver, solver_names
from skneuralde.solvers.solve import Solution, solve

__all__ = [
    "Branch",
    "Solution",
    "SolveRequest",
    "Solver",
    "SolverError",
    "Status",
    "Stepper",
    "Trajectory",
    "choose_solver",
    "expect",
    "get_solver",
    "integrate",
    "solve",
    "solve_with_branches",
    "solver_names",
]
