"""The examples in the docstrings run and give what they say."""

import doctest

from skneuralde.estimators import neural_jump_diffusion


def test_the_example_of_the_estimator_with_jumps():
    result = doctest.testmod(neural_jump_diffusion)
    assert result.attempted > 0
    assert result.failed == 0
