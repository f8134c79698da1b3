"""The examples in the documentation of losses."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["curves", "transitions"])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"skneuralde.losses.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
