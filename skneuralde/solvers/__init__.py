"""Numerical methods."""

from skneuralde.solvers.base import Solver, Status, Stepper, Trajectory
from skneuralde.solvers.errors import SolverError
from skneuralde.solvers.integrate import integrate

__all__ = ["Solver", "SolverError", "Status", "Stepper", "Trajectory", "integrate"]
