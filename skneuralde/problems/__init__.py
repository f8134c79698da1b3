"""Equations, put together from their coefficients."""

from skneuralde.problems.calculus import in_calculus, ito_form, stratonovich_form
from skneuralde.problems.jumps import Jump
from skneuralde.problems.problem import Problem

__all__ = ["Jump", "Problem", "in_calculus", "ito_form", "stratonovich_form"]
