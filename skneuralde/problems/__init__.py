"""Equations, put together from their coefficients."""

from skneuralde.problems.advection import Advection
from skneuralde.problems.axes import Axes
from skneuralde.problems.boundaries import Dirichlet
from skneuralde.problems.calculus import in_calculus, ito_form, stratonovich_form
from skneuralde.problems.field import FieldDrift, FieldProblem
from skneuralde.problems.jumps import Jump
from skneuralde.problems.laplacian import Laplacian, Positive
from skneuralde.problems.operators import Operators
from skneuralde.problems.pattern import Pattern
from skneuralde.problems.problem import Problem
from skneuralde.problems.reaction import Reaction
from skneuralde.problems.sparsity import Sparsity, Stencil, pattern_of

__all__ = [
    "Advection",
    "Axes",
    "Dirichlet",
    "FieldDrift",
    "FieldProblem",
    "Jump",
    "Laplacian",
    "Operators",
    "Pattern",
    "Positive",
    "Problem",
    "Reaction",
    "Sparsity",
    "Stencil",
    "in_calculus",
    "ito_form",
    "pattern_of",
    "stratonovich_form",
]
