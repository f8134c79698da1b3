"""Mixtures of normal laws: densities, quantiles, draws and what is said of jumps."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm

from skneuralde.inference import Mixture, gaussian_log_density
from tests.learnable_equations import column

WEIGHT, MEANS, STDS = np.array([0.9, 0.07, 0.03]), np.array([0.1, -2.0, 4.0]), np.array([0.5, 1.0, 1e-3])


def one_dimensional(n=1):
    return Mixture(
        torch.tensor(WEIGHT).log()[:, None].expand(-1, n),
        torch.tensor(MEANS)[:, None, None].expand(-1, n, 1),
        torch.tensor(STDS**2)[:, None, None, None].expand(-1, n, 1, 1),
        (0, 1, 2),
    )


def correlated():
    factor = torch.tensor([[[1.0, 0.0], [0.5, 0.8]], [[2.0, 0.0], [-1.0, 0.3]]], dtype=torch.float64)
    means = torch.tensor([[[0.0, 1.0]], [[3.0, -2.0]]], dtype=torch.float64)
    return Mixture(column(0.8, 0.2).log()[:, None], means, (factor @ factor.mT)[:, None], (0, 1))


def test_density_and_moments():
    x = np.array([-3.0, 0.0, 4.0])
    density = one_dimensional(3).log_density(torch.tensor(x)[:, None]).exp()
    np.testing.assert_allclose(density, (WEIGHT * norm.pdf(x[:, None], MEANS, STDS)).sum(-1))
    mean = WEIGHT @ MEANS
    assert float(one_dimensional().mean) == pytest.approx(mean)
    assert float(one_dimensional().std) == pytest.approx(math.sqrt(WEIGHT @ (STDS**2 + MEANS**2) - mean**2))


def test_missing_components_are_integrated_out():
    mixture = correlated()
    target = torch.tensor([[math.nan, 0.3]], dtype=torch.float64)
    parts = gaussian_log_density(target.expand(2, -1), mixture.means[:, 0], mixture.covs[:, 0])
    assert float(mixture.log_density(target)) == pytest.approx(math.log(float(mixture.weight[:, 0] @ parts.exp())))
    assert mixture.log_density(torch.full((1, 2), math.nan, dtype=torch.float64)).tolist() == [0.0]


def test_far_out_the_density_is_finite_and_differentiable():
    weight = column(0.9, 0.1).log()[:, None].requires_grad_()
    mixture = Mixture(weight, torch.zeros(2, 1, 1).double(), torch.ones(2, 1, 1, 1).double(), (0, 1))
    value = mixture.log_density(column(1e4)[:, None])
    value.sum().backward()
    assert value.isfinite().all()
    assert weight.grad.isfinite().all()


def test_quantiles_against_a_root_finder():
    levels = np.array([1e-6, 0.01, 0.05, 0.5, 0.9, 0.985, 1 - 1e-9])
    result = one_dimensional().quantiles(torch.tensor(levels))[0, 0].numpy()
    for level, quantile in zip(levels, result, strict=True):
        exact = brentq(lambda x, p=level: WEIGHT @ norm.cdf(x, MEANS, STDS) - p, -12, 12, xtol=1e-14)
        assert quantile == pytest.approx(exact, abs=1e-9)


def test_quantiles_of_several_vectors():
    mixture = correlated()
    levels = column(0.1, 0.5, 0.99)
    result = mixture.quantiles(levels)
    assert result.shape == (1, 2, 3)
    below = torch.special.ndtr((result - mixture.means[..., None]) / mixture.stds[..., None])
    cdf = (mixture.weight[..., None, None] * below).sum(0)
    torch.testing.assert_close(cdf, levels.expand(1, 2, 3), rtol=0, atol=1e-12)


def test_draws_have_the_moments():
    generator = torch.Generator().manual_seed(0)
    normals = torch.randn(100_000, 1, 2, generator=generator, dtype=torch.float64)
    draws = correlated().draw(normals, torch.randn(100_000, 1, generator=generator, dtype=torch.float64))[:, 0]
    mixture = correlated()
    error = 4 * mixture.std[0] / math.sqrt(100_000)
    assert ((draws.mean(0) - mixture.mean[0]).abs() < error).all()
    np.testing.assert_allclose(np.cov(draws.T), mixture.cov[0], rtol=0.03, atol=0.03)


def test_posterior_probability_of_a_jump():
    target = column(4.0, 0.1)[:, None]
    probability = one_dimensional(2).jump_probability(target)
    assert probability[0] > 1 - 1e-9
    none = 0.9 * norm.pdf(0.1, 0.1, 0.5)
    assert float(probability[1]) == pytest.approx(1 - none / (none + 0.07 * norm.pdf(0.1, -2, 1.0)))


def test_posterior_size_of_a_jump():
    """Noise of variance 1 and a jump of mean 2 and variance 3: three quarters of the surprise are the jump's."""
    means, covs = column(0.5, 2.5)[:, None, None], column(1.0, 4.0)[:, None, None, None]
    mixture = Mixture(column(0.9, 0.1).log()[:, None], means, covs, (0, 1))
    assert float(mixture.jump_size(column(4.5)[:, None])) == pytest.approx(2 + 0.75 * 2)
