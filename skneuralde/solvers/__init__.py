"""Solvers: numerical methods, step-size controllers, and the solution of initial value problems."""

from skneuralde.noise import Increments
from skneuralde.solvers.core.controllers import (
    AveragedErrorController,
    Controller,
    PIController,
    PredictiveController,
)
from skneuralde.solvers.core.dense_output import DenseOutput
from skneuralde.solvers.core.errors import SolverError
from skneuralde.solvers.core.results import Stats, Status, Trajectory
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Solver, Step, StepInput, Stepper
from skneuralde.solvers.expect import expect
from skneuralde.solvers.integrate import Context, SolveRequest, integrate
from skneuralde.solvers.methods.runge_kutta.base import RungeKutta, Tableau
from skneuralde.solvers.rate_gradient import Branch, solve_with_branches
from skneuralde.solvers.registry import auto_solver, choose_solver, get_controller, get_solver, solver_names
from skneuralde.solvers.solve import Solution, solve

__all__ = [
    "AveragedErrorController",
    "Branch",
    "Context",
    "Controller",
    "DenseOutput",
    "Increments",
    "PIController",
    "PredictiveController",
    "RightHandSide",
    "RungeKutta",
    "Solution",
    "SolveRequest",
    "Solver",
    "SolverError",
    "Stats",
    "Status",
    "Step",
    "StepInput",
    "Stepper",
    "Tableau",
    "Trajectory",
    "auto_solver",
    "choose_solver",
    "expect",
    "get_controller",
    "get_solver",
    "integrate",
    "solve",
    "solve_with_branches",
    "solver_names",
]
