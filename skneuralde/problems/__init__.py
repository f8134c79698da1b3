"""Equations, put together from their coefficients."""

from skneuralde.problems.problem import Problem

__all__ = ["Problem"]
