"""Checks of numerical methods from inside or outside the package: the contract that every solver keeps."""

from skneuralde.testing.check import check_solver

__all__ = ["check_solver"]
