"""Linear equations with constant coefficients, against matrix exponentials and Lyapunov's equation."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm, solve_continuous_lyapunov

from skneuralde.inference.moments.linear_flow import linear_gaussian_flow

H = torch.tensor([0.0, 1e-6, 0.3, 2.0, 9.0], dtype=torch.float64)


def system(dim, seed=0):
    """A random matrix, offset and covariance, alike for all lengths of H."""
    generator = torch.Generator().manual_seed(seed)
    matrix, root = torch.randn(2, dim, dim, generator=generator, dtype=torch.float64)
    offset = torch.randn(dim, generator=generator, dtype=torch.float64)
    return [x.expand(len(H), *x.shape) for x in (matrix, offset, root @ root.mT)]


def exact(matrix, offset, density, h):
    """Transition, mean and covariance from the matrix exponential and Lyapunov's equation."""
    dim = len(offset)
    affine = expm(np.block([[matrix, offset[:, None]], [np.zeros((1, dim + 1))]]) * h)
    transition, mean = affine[:dim, :dim], affine[:dim, dim]
    stationary = solve_continuous_lyapunov(matrix, -density)
    return transition, mean, stationary - transition @ stationary @ transition.T


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_matches_matrix_exponentials(dim):
    arguments = system(dim)
    flow = linear_gaussian_flow(*arguments, H)
    for i, h in enumerate(H.tolist()):
        wanted = exact(*(x[i].numpy() for x in arguments), h)
        for got, value in zip(flow, wanted, strict=True):
            np.testing.assert_allclose(got[i].numpy(), value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_nothing_happens_in_no_time(dim):
    matrix, offset, density = system(dim)
    transition, mean, covariance = linear_gaussian_flow(matrix, offset, density, torch.zeros_like(H))
    assert torch.equal(transition, torch.eye(dim, dtype=torch.float64).expand_as(matrix))
    assert not mean.any()
    assert not covariance.any()


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_zero_matrix_is_brownian_motion_with_drift(dim):
    matrix, offset, density = system(dim)
    _, mean, covariance = linear_gaussian_flow(torch.zeros_like(matrix), offset, density, H)
    torch.testing.assert_close(mean, H[:, None] * offset, rtol=1e-13, atol=0)
    torch.testing.assert_close(covariance, H[:, None, None] * density, rtol=1e-13, atol=0)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_against_time_only_the_noise_goes_on(dim):
    matrix, offset, density = system(dim)
    reversed_in_time = linear_gaussian_flow(-matrix, -offset, density, H)
    for got, wanted in zip(linear_gaussian_flow(matrix, offset, density, -H), reversed_in_time, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_stiff_system_reaches_its_stationary_law(dim):
    rates = torch.tensor([1.0, 1e3, 1e6], dtype=torch.float64)[-dim:]
    mix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrix = -mix @ torch.diag(rates) @ torch.linalg.inv(mix)
    _, offset, density = (x[0] for x in system(dim))
    h = torch.tensor([60.0], dtype=torch.float64)
    _, mean, covariance = linear_gaussian_flow(matrix[None], offset[None], density[None], h)
    stationary = solve_continuous_lyapunov(matrix.numpy(), -density.numpy())
    np.testing.assert_allclose(mean[0], np.linalg.solve(matrix.numpy(), -offset.numpy()), rtol=1e-6)
    np.testing.assert_allclose(covariance[0], stationary, rtol=1e-6, atol=1e-9 * np.abs(stationary).max())
    assert np.linalg.eigvalsh(covariance[0]).min() > 0


@pytest.mark.parametrize("dim", [1, 2])
def test_gradients(dim):
    matrix, offset, density = system(dim)
    h = torch.tensor([-0.5, 0.3, 2.0, 1e-3], dtype=torch.float64)

    def flow(matrix, offset, density, h):
        return linear_gaussian_flow(matrix, offset, density, h)

    inputs = [x[:4].clone().requires_grad_() for x in (matrix, offset, density, h)]
    # A Brownian motion has a gradient, too: the limit of vanishing rates.
    with torch.no_grad():
        inputs[0][1] = 0.0
    assert torch.autograd.gradcheck(flow, inputs, rtol=1e-4, atol=1e-7)


def test_without_noise_there_is_no_covariance():
    matrix, offset, density = system(2)
    transition, mean, nothing = linear_gaussian_flow(matrix, offset, None, H)
    with_noise = linear_gaussian_flow(matrix, offset, density, H)
    assert nothing is None
    assert torch.equal(transition, with_noise[0])
    assert torch.equal(mean, with_noise[1])


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_rows_do_not_depend_on_stiffer_ones(dim):
    matrix, offset, density = system(dim)
    alone = linear_gaussian_flow(matrix[:3], offset[:3], density[:3], H[:3])
    matrix = torch.cat([matrix[:3], -1e7 * torch.eye(dim, dtype=torch.float64)[None]])
    together = linear_gaussian_flow(matrix, offset[:4], density[:4], H[:4])
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(other[:3], one)


def test_single_precision():
    arguments = system(2)
    double = linear_gaussian_flow(*arguments, H)
    rounded = linear_gaussian_flow(*(x.float() for x in arguments), H.float())
    for one, other in zip(rounded, double, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 2])
def test_a_row_that_is_not_finite_stays_its_own_affair(dim):
    matrix, offset, density = (x.clone() for x in system(dim))
    clean = linear_gaussian_flow(matrix, offset, density, H)
    matrix[2] = torch.inf
    spoiled = linear_gaussian_flow(matrix, offset, density, H)
    rows = [0, 1, 3, 4]
    for one, other in zip(spoiled, clean, strict=True):
        torch.testing.assert_close(one[rows], other[rows])
    assert not spoiled[2][2].isfinite().any()
