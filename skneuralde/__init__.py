"""Differential equations learned from time series, with the interface of scikit-learn."""

from skneuralde.data import to_rows
from skneuralde.estimators import NeuralJumpDiffusion, NeuralPDEField, NeuralSDERegressor
from skneuralde.problems import Advection, Dirichlet, Jump, Laplacian, Problem, Stencil
from skneuralde.solvers import expect, solve
from skneuralde.terms import MLP, Parameter

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "Advection",
    "Dirichlet",
    "Jump",
    "Laplacian",
    "NeuralJumpDiffusion",
    "NeuralPDEField",
    "NeuralSDERegressor",
    "Parameter",
    "Problem",
    "Stencil",
    "expect",
    "solve",
    "to_rows",
]
