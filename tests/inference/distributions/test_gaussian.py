"""Densities of partly observed vectors."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from skneuralde.inference import gaussian_log_density

NAN = math.nan


def normal(dim, batch, seed=0):
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(batch, dim, dim))
    cov = root @ root.swapaxes(1, 2) + 0.1 * np.eye(dim)
    return [torch.as_tensor(x) for x in (generator.normal(size=(batch, dim)), generator.normal(size=(batch, dim)), cov)]


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_matches_scipy_with_missing_entries(dim):
    target, mean, cov = normal(dim, 12)
    missing = np.random.default_rng(1).random((12, dim)) < 0.4
    missing[0], missing[1] = False, True
    target[torch.as_tensor(missing)] = NAN
    density = gaussian_log_density(target, mean, cov)
    for i, gone in enumerate(missing):
        seen = np.flatnonzero(~gone)
        wanted = 0.0
        if len(seen):
            law = multivariate_normal(mean[i, seen].numpy(), cov[i][np.ix_(seen, seen)].numpy())
            wanted = law.logpdf(target[i, seen].numpy())
        assert density[i] == pytest.approx(wanted, rel=1e-10, abs=1e-12)
    assert density[1] == 0.0


@pytest.mark.parametrize("dim", [1, 3])
def test_gradients(dim):
    target, mean, cov = normal(dim, 3)

    def density(mean, root):
        return gaussian_log_density(target, mean, root @ root.mT)

    inputs = mean.requires_grad_(), torch.linalg.cholesky(cov).requires_grad_()
    assert torch.autograd.gradcheck(density, inputs)


@pytest.mark.parametrize("dim", [1, 3])
def test_what_was_not_observed_has_no_gradient_at_all(dim):
    target, mean, cov = normal(dim, 3)
    target[1] = NAN
    target[2, 0] = NAN
    mean.requires_grad_(), cov.requires_grad_()
    gaussian_log_density(target, mean, cov).sum().backward()
    assert not mean.grad[1].any()
    assert not cov.grad[1].any()
    assert mean.grad[2, 0] == 0
    assert not cov.grad[2, 0].any()
    assert mean.grad[0].all()


@pytest.mark.parametrize("dim", [1, 2])
def test_no_covariance_no_density(dim):
    target, mean, cov = normal(dim, 3)
    cov[1] = -cov[1]
    cov[2] = 0.0
    density = gaussian_log_density(target, mean, cov)
    assert density[0].isfinite()
    assert density[1:].isnan().all()


def test_single_precision_is_kept():
    target, mean, cov = (x.float() for x in normal(2, 3))
    assert gaussian_log_density(target, mean, cov).dtype == torch.float32
