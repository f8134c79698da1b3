"""Equations, put together from their coefficients."""

from skneuralde.problems.calculus import ito_form
from skneuralde.problems.problem import Problem

__all__ = ["Problem", "ito_form"]
