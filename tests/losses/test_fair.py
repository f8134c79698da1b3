"""Fair estimators: unbiased against closed forms, with and without mirrored paths, and finite where paths coincide."""

import math

import pytest
import torch

from skneuralde.losses.fair import fair_crps, fair_energy_score, independent_pairs, mean_difference, mean_distance

MANY = 40_000


def paths(n, *shape, mirrored, seed=0):
    """Standard normal paths; mirrored ones are each other's negative, an odd one is left alone."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    if mirrored:
        x[1::2] = -x[: n // 2 * 2 : 2]
    return x


def deviation(values, expected):
    """Mean of independent values less what is expected, in standard errors."""
    return abs(float(values.mean() - expected) / float(values.std() / math.sqrt(len(values))))


def gaussian_crps(y):
    law = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    y = torch.as_tensor(y, dtype=torch.float64)
    return float(y * (2 * law.cdf(y) - 1) + 2 * law.log_prob(y).exp() - 1 / math.sqrt(math.pi))


@pytest.mark.parametrize("n", [4, 5, 12])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("y", [0.0, 1.3])
def test_crps_of_a_gaussian(n, mirrored, y):
    x = paths(n, MANY, mirrored=mirrored)
    values = fair_crps(x - y, mirrored=mirrored)
    assert deviation(values, gaussian_crps(y)) < 4
    # The plain estimator counts a path's distance to itself, and would be seen.
    plain = (x - y).abs().mean(0) - 0.5 * mean_difference(x, mirrored=mirrored) * (n - 1) / n
    assert deviation(plain, gaussian_crps(y)) > 8


def test_mirrored_paths_are_not_independent():
    values = fair_crps(paths(6, MANY, mirrored=True), mirrored=False)
    assert deviation(values, gaussian_crps(0.0)) > 8


@pytest.mark.parametrize(("n", "many"), [(4, MANY), (7, MANY), (130, 500)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_energy_score_of_a_gaussian(n, many, mirrored):
    values = fair_energy_score(paths(n, many, 3, mirrored=mirrored), mirrored=mirrored)
    norm = math.sqrt(2) * math.gamma(2) / math.gamma(1.5)
    assert deviation(values, norm * (1 - math.sqrt(0.5))) < 4


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("n", [4, 9])
def test_all_independent_pairs_count_once(n, mirrored):
    x = paths(n, 5, 2, mirrored=False)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j and not (mirrored and i // 2 == j // 2)]
    assert len(pairs) == independent_pairs(n, mirrored=mirrored)
    expected = sum((x[i] - x[j]).square().sum(-1).sqrt() for i, j in pairs) / len(pairs)
    torch.testing.assert_close(mean_distance(x, mirrored=mirrored), expected)
    expected = sum((x[i] - x[j]).abs() for i, j in pairs) / len(pairs)
    torch.testing.assert_close(mean_difference(x, mirrored=mirrored), expected)


@pytest.mark.parametrize("score", [fair_crps, fair_energy_score])
@pytest.mark.parametrize("mirrored", [False, True])
def test_gradients(score, mirrored):
    x = paths(6, 3, 2, mirrored=False).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: score(r, mirrored=mirrored), x)
    # Where all paths coincide with each other and the data, at the start, there is a gradient, too.
    together = torch.zeros(6, 3, 2, dtype=torch.float64, requires_grad=True)
    score(together, mirrored=mirrored).sum().backward()
    assert together.grad.isfinite().all()
    apart = torch.ones(6, 3, 2, dtype=torch.float64, requires_grad=True)
    score(apart, mirrored=mirrored).sum().backward()
    per_series = apart.grad.sum(0) if score is fair_crps else apart.grad.sum(0) * math.sqrt(2)
    torch.testing.assert_close(per_series, torch.ones(3, 2, dtype=torch.float64))
