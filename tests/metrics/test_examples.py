"""The examples in the docstrings run and give what they say."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["calibration", "scorers", "scores", "split"])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"skneuralde.metrics.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
