"""docs/extending.md runs as it stands, and its methods are as sharp as it says."""

import re
import runpy
from pathlib import Path

import pytest

from skneuralde.testing import check_solver

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
PUBLIC = {"skneuralde", "skneuralde.losses", "skneuralde.problems", "skneuralde.solvers", "skneuralde.testing"}


@pytest.fixture(scope="module")
def namespace(tmp_path_factory):
    """The names that the page defines, by running it from a file in another folder."""
    path = tmp_path_factory.mktemp("extending") / "extensions.py"
    path.write_text("\n\n".join(BLOCKS))
    return runpy.run_path(str(path))


def test_the_page_runs_and_defines_its_extensions(namespace):
    assert {"OwrenZennaro", "DerivativeFreeMilstein", "IntegralController", "Huber", "Hyperdiffusion"} <= set(namespace)
    assert BLOCKS[2].count("check_solver(") == BLOCKS[4].count("check_solver(") == 1


def test_blocks_are_short_and_use_public_names():
    assert all(block.count("\n") <= 30 for block in BLOCKS)
    imported = re.findall(r"^from (skneuralde\S*) import|^import (skneuralde\S*)", "\n".join(BLOCKS), re.MULTILINE)
    assert {name for names in imported for name in names if name} <= PUBLIC


@pytest.mark.parametrize(
    ("field", "place"),
    [("nodes", (0,)), ("matrix", (1, 0)), ("matrix", (2, 2)), ("error", (1,)), ("dense", (0, 1))],
)
def test_a_coefficient_of_the_pair_that_is_slightly_wrong_fails(namespace, field, place):
    tableau = namespace["OwrenZennaro"].tableau
    broken = object.__new__(type(tableau))  # the tableau would refuse most of these by itself
    for name in tableau.__dataclass_fields__:
        object.__setattr__(broken, name, getattr(tableau, name))
    object.__setattr__(broken, field, change(getattr(tableau, field), place))
    with pytest.raises(AssertionError, match="'owren_zennaro3' fails the check 'order"):
        check_solver(type("Broken", (namespace["OwrenZennaro"],), {"tableau": broken})())


@pytest.mark.parametrize("name", ["offset", "weight"])
def test_a_coefficient_of_the_stochastic_method_that_is_slightly_wrong_fails(namespace, name):
    method = namespace["DerivativeFreeMilstein"]
    broken = type("Broken", (method,), {name: getattr(method, name) + 1e-3})
    with pytest.raises(AssertionError, match="'derivative_free_milstein' fails the check 'strong order of one step'"):
        check_solver(broken())


def change(values, place):
    """Nested tuples with the entry at a place changed by 1e-3."""
    i, *rest = place
    value = change(values[i], rest) if rest else values[i] + 1e-3
    return (*values[:i], value, *values[i + 1 :])
