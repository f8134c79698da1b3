"""Classic problems, simulated."""

from skneuralde.datasets.abc_field import abc_law, abc_problem, abc_source, make_abc_field

__all__ = ["abc_law", "abc_problem", "abc_source", "make_abc_field"]
