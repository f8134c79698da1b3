"""Equations, put together from their coefficients."""

from skneuralde.problems.advection import Advection
from skneuralde.problems.axes import Axes, neighbours, value_of
from skneuralde.problems.base import Operator
from skneuralde.problems.boundaries import Boundary, Dirichlet
from skneuralde.problems.calculus import in_calculus, ito_form, noise_times_slope, stratonovich_form
from skneuralde.problems.field import FieldDrift, FieldProblem
from skneuralde.problems.field_modes import FieldModes
from skneuralde.problems.jumps import Jump
from skneuralde.problems.laplacian import Laplacian
from skneuralde.problems.pattern import Pattern
from skneuralde.problems.phi_functions import phi_functions
from skneuralde.problems.problem import Problem
from skneuralde.problems.reaction import Reaction, is_source
from skneuralde.problems.sparsity import Sparsity, Stencil, pattern_of

__all__ = [
    "Advection",
    "Axes",
    "Boundary",
    "Dirichlet",
    "FieldDrift",
    "FieldModes",
    "FieldProblem",
    "Jump",
    "Laplacian",
    "Operator",
    "Pattern",
    "Problem",
    "Reaction",
    "Sparsity",
    "Stencil",
    "in_calculus",
    "is_source",
    "ito_form",
    "neighbours",
    "noise_times_slope",
    "pattern_of",
    "phi_functions",
    "stratonovich_form",
    "value_of",
]
