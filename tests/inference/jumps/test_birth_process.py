"""Numbers of jumps whose rates change with every jump, against the matrix exponential and Poisson's law."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.stats import poisson

from skneuralde.inference import birth_probabilities


def by_exponential(rates, length):
    n = len(rates)
    generator = np.zeros((n + 1, n + 1))
    generator[np.arange(n), np.arange(n)] = -rates
    generator[np.arange(n), np.arange(1, n + 1)] = rates
    return expm(generator * length)[0]


@pytest.mark.parametrize("length", [1e-6, 0.03, 1.0, 8.0, 60.0])
@pytest.mark.parametrize("n", [2, 5])
def test_against_the_matrix_exponential(length, n):
    rates = torch.rand(n, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    rates[:, 0] = 2.0
    rates[1, 1] = 0.0
    lengths = torch.full((20,), length, dtype=torch.float64)
    result = birth_probabilities(rates, lengths)
    exact = np.stack([by_exponential(r, length) for r in rates.T.numpy()], -1)
    np.testing.assert_allclose(result.numpy(), exact, rtol=1e-7, atol=1e-14)
    np.testing.assert_allclose(result.sum(0), 1.0, rtol=1e-14)


def test_constant_rates_are_poisson():
    rates = torch.full((4, 3), 1.3, dtype=torch.float64)
    lengths = torch.tensor([0.0, 0.01, 4.0], dtype=torch.float64)
    result = birth_probabilities(rates, lengths).numpy()
    for column, length in zip(result.T, lengths, strict=True):
        np.testing.assert_allclose(column[:4], poisson.pmf(range(4), 1.3 * float(length)), rtol=1e-9)
        assert column[4] == pytest.approx(poisson.sf(3, 1.3 * float(length)), rel=1e-7, abs=1e-300)


def test_gradient():
    rates = torch.rand(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    lengths = torch.tensor([0.0, 0.1, 1.0, 5.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(birth_probabilities, (rates, lengths), atol=1e-6)


def test_nothing_happens_at_rate_zero():
    result = birth_probabilities(torch.zeros(2, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    assert result[:, 0].tolist() == [1.0, 0.0, 0.0]


def test_states_do_not_depend_on_larger_rates():
    rates, lengths = torch.rand(4, 9, generator=torch.Generator().manual_seed(2)).double(), torch.ones(9).double()
    larger = torch.cat([rates[:, :8], 40.0 * rates[:, 8:]], 1)
    assert torch.equal(birth_probabilities(rates, lengths)[:, :8], birth_probabilities(larger, lengths)[:, :8])
