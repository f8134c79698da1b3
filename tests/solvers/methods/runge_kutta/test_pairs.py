"""The published coefficients, proved by the conditions that they must meet."""

from dataclasses import replace

import pytest
import torch

from skneuralde.solvers import get_solver

NAMES = ["bs3", "dopri5", "tsit5"]


def conditions(order, A, c):
    """Trees up to this order: their order, elementary weight, and what b times the weight must be."""
    trees = [
        (1, torch.ones_like(c), 1),
        (2, c, 1 / 2),
        (3, c**2, 1 / 3),
        (3, A @ c, 1 / 6),
        (4, c**3, 1 / 4),
        (4, c * (A @ c), 1 / 8),
        (4, A @ c**2, 1 / 12),
        (4, A @ A @ c, 1 / 24),
        (5, c**4, 1 / 5),
        (5, c**2 * (A @ c), 1 / 10),
        (5, c * (A @ c**2), 1 / 15),
        (5, c * (A @ A @ c), 1 / 30),
        (5, (A @ c) ** 2, 1 / 20),
        (5, A @ c**3, 1 / 20),
        (5, A @ (c * (A @ c)), 1 / 40),
        (5, A @ A @ c**2, 1 / 60),
        (5, A @ A @ A @ c, 1 / 120),
    ]
    return [(p, weight, value) for p, weight, value in trees if p <= order]


def matrices(name):
    tableau = get_solver(name).tableau
    stages = len(tableau.nodes) + 1
    A = torch.zeros(stages, stages, dtype=torch.float64)
    for i, row in enumerate(tableau.matrix, 1):
        A[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    return tableau, A, A.sum(1)


@pytest.mark.parametrize("name", NAMES)
def test_order_conditions(name):
    tableau, A, c = matrices(name)
    order, b = get_solver(name).order, A[-1]
    for _, weight, value in conditions(order, A, c):
        assert abs(b @ weight - value) < 1e-12
    embedded = b - torch.tensor(tableau.error, dtype=torch.float64)
    for _, weight, value in conditions(order - 1, A, c):
        assert abs(embedded @ weight - value) < 1e-12
    # The embedded method is of lower order, or its difference would say nothing of the error.
    assert any(abs(embedded @ weight - value) > 1e-4 for _, weight, value in conditions(order, A, c))


@pytest.mark.parametrize("name", NAMES)
def test_dense_output_meets_the_conditions_everywhere_in_the_step(name):
    tableau, A, c = matrices(name)
    order = min(get_solver(name).order, 4)
    for theta in (0.1, 0.5, 0.83, 1.0):
        b = torch.tensor(
            [sum(a * theta**k for k, a in enumerate(polynomial, 1)) for polynomial in tableau.dense],
            dtype=torch.float64,
        )
        for p, weight, value in conditions(order, A, c):
            assert abs(b @ weight - value * theta**p) < 1e-11


def test_a_wrong_tableau_is_refused():
    tableau = get_solver("bs3").tableau
    with pytest.raises(ValueError, match="row 2 of the matrix must have 2 entries that sum to the node"):
        replace(tableau, nodes=(0.5, 0.7, 1.0))
    with pytest.raises(ValueError, match="error weights must sum to 0"):
        replace(tableau, error=(0.1, 0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="dense weights must end at b"):
        replace(tableau, dense=((1.0,), *tableau.dense[1:]))
    with pytest.raises(ValueError, match="number of stages"):
        replace(tableau, error=tableau.error[:-1])
