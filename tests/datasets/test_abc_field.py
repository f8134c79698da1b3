"""The classic problem of three fields."""

import numpy as np
import pytest
import torch

from skneuralde import solve
from skneuralde.datasets import abc_problem, abc_source, make_abc_field

TIMES = [0.0, 0.02, 0.5, 3.0]


def test_the_source_is_on_the_last_columns():
    source = abc_source()
    assert source.shape == (100, 100, 3)
    assert (source[:, 79:, 0] == 1).all()
    assert source.sum() == 2100


def test_shapes_and_seeds():
    X, y = make_abc_field(2, grid=(6, 9), times=TIMES, random_state=3)
    assert X.tolist() == [[k, t] for k in (0.0, 1.0) for t in TIMES]
    assert y.shape == (8, 6, 9, 3)
    single, first = make_abc_field(grid=(6, 9), times=TIMES, random_state=3)
    assert single.tolist() == [[t] for t in TIMES]
    np.testing.assert_allclose(first, y[:4], rtol=1e-9)
    assert make_abc_field(grid=(3, 3), random_state=0)[0][-1] == 100.0


def test_against_an_explicit_method():
    _, y = make_abc_field(grid=(6, 9), diffusivity=3.0, times=TIMES, random_state=1)
    expected = solve(abc_problem((6, 9), diffusivity=3.0), y[0], TIMES, solver="dopri5", rtol=1e-9, atol=1e-9).ys[0]
    torch.testing.assert_close(torch.from_numpy(y), expected, rtol=0, atol=2e-4)


def test_refused():
    with pytest.raises(ValueError, match="times must be one-dimensional and begin at 0"):
        make_abc_field(times=[1.0, 2.0])
    with pytest.raises(ValueError, match="n_fields must be at least 1"):
        make_abc_field(0)
