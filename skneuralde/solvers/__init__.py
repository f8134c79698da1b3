"""Numerical methods."""

from skneuralde.solvers.base import Solver, Status, Stepper, Trajectory
from skneuralde.solvers.branches import Branch, Simulation, branched
from skneuralde.solvers.errors import SolverError
from skneuralde.solvers.expect import expect
from skneuralde.solvers.integrate import integrate
from skneuralde.solvers.registry import choose_solver, get_solver, solver_names
from skneuralde.solvers.solve import Solution, solve

__all__ = [
    "Branch",
    "Simulation",
    "Solution",
    "Solver",
    "SolverError",
    "Status",
    "Stepper",
    "Trajectory",
    "branched",
    "choose_solver",
    "expect",
    "get_solver",
    "integrate",
    "solve",
    "solver_names",
]
