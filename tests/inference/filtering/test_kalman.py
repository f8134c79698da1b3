"""The filters against the joint Gaussian law of all observations, and against each other."""

import math

import numpy as np
import pytest
import torch

from skneuralde.inference import Gaussian, LocalLinearisation, Model, ObservationChains, Selection, Transitions
from skneuralde.inference.filtering.kalman import filtered_starts, initial_distribution, run_filter
from skneuralde.inference.filtering.parallel import (
    find_linearisation_states,
    run_linearised_filter,
    run_parallel_filter,
)
from skneuralde.inference.observation import resolve_observation
from skneuralde.problems import Problem

TIMES = (np.array([0.0, 0.3, 0.35, 1.1, 2.0, 2.2]), np.array([0.5, 1.0, 4.0]))
MATRIX = np.array([[-0.5, 1.2], [-0.8, -0.3]])
NOISE = np.array([[0.4, 0.1], [0.2, 0.5]])


def chains_of(times, targets, dim, known=None):
    """Chains of the observations of several series."""
    step = np.concatenate([np.arange(len(t) - 1) for t in times])
    chain = np.concatenate([np.full(len(t) - 1, i) for i, t in enumerate(times)])
    start = np.concatenate([t[:-1] for t in times])
    lengths = np.concatenate([np.diff(t) for t in times])
    n = len(step)
    nothing = torch.zeros(n, 0, dtype=torch.float64)
    transitions = Transitions(
        torch.zeros(n, dim, dtype=torch.float64),
        torch.as_tensor(start),
        torch.arange(n + 1),
        torch.as_tensor(lengths),
        nothing,
        nothing,
    )
    return ObservationChains(
        transitions,
        torch.as_tensor(np.concatenate([y[1:] for y in targets])),
        torch.as_tensor(chain),
        torch.as_tensor(step),
        known,
        torch.as_tensor(np.stack([y[0] for y in targets])),
    )


def model_of(problem, dim, *, noise_std=None, observation=None, substep=math.inf):
    model = Model(
        problem,
        noise_std=None if noise_std is None else torch.tensor(noise_std, dtype=torch.float64),
        learn_noise=True,
        observation=observation,
        prior_mean=torch.full((dim,), 0.3, dtype=torch.float64),
        prior_std=torch.full((dim,), 1.5, dtype=torch.float64),
    )
    model.propagator = LocalLinearisation(substep)
    return model


def linear():
    drift, g = torch.as_tensor(MATRIX), torch.as_tensor(NOISE)
    return Problem(lambda t, u: u @ drift.mT + 0.1, lambda t, u: g.expand(len(u), 2, 2), noise="general")


def joint_law(times, slope, noise_std):
    """Mean and covariance of all observations of a series, (n, d), from the exact law of the linear equation."""
    from scipy.integrate import quad_vec
    from scipy.linalg import expm

    stationary = -np.linalg.solve(MATRIX, np.full(2, 0.1))
    mean, cov = [np.full(2, 0.3)], {(0, 0): 1.5**2 * np.eye(2)}
    for k, h in enumerate(np.diff(times)):
        carry = expm(MATRIX * h)
        mean.append(stationary + carry @ (mean[-1] - stationary))
        grown = quad_vec(lambda s: expm(MATRIX * s) @ NOISE @ NOISE.T @ expm(MATRIX * s).T, 0, h, epsabs=1e-12)[0]
        for i in range(k + 1):
            cov[k + 1, i] = carry @ cov[k, i]
            cov[i, k + 1] = cov[k + 1, i].T
        cov[k + 1, k + 1] = carry @ cov[k, k] @ carry.T + grown
    n, d = len(times), len(slope)
    big = np.block([[slope @ cov[i, j] @ slope.T for j in range(n)] for i in range(n)])
    return (np.array(mean) @ slope.T).ravel(), big + np.kron(np.eye(n), np.diag(np.square(noise_std))), d


@pytest.mark.parametrize("components", [(0, 1), (1,)])
def test_density_is_that_of_the_joint_law(components):
    """Linear equation, noisy observations, some of them missing: the sum of the densities is the joint one."""
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng(0)
    slope = np.eye(2)[list(components)]
    noise_std = np.array([0.3, 0.6])[: len(components)]
    targets = [rng.normal(size=(len(t), len(components))) for t in TIMES]
    targets[0][2, 0] = np.nan
    if len(components) == 2:
        targets[0][4] = np.nan
        targets[1][0, 1] = np.nan
    chains = chains_of(TIMES, targets, 2)
    model = model_of(linear(), 2, noise_std=noise_std, observation=Selection(components))
    density = run_filter(model, chains).log_density
    for series, (times, values) in enumerate(zip(TIMES, targets, strict=True)):
        mean, cov, d = joint_law(times, slope, noise_std)
        flat = values.ravel()
        seen, first = np.flatnonzero(~np.isnan(flat)), np.flatnonzero(~np.isnan(flat[:d]))
        joint = multivariate_normal(mean[seen], cov[np.ix_(seen, seen)]).logpdf(flat[seen])
        joint -= multivariate_normal(mean[first], cov[np.ix_(first, first)]).logpdf(flat[first])
        assert density[chains.chain == series].sum().item() == pytest.approx(joint, abs=1e-8)


def equal(first, second, tolerance=1e-9):
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def both_ways(model, chains):
    one_by_one = run_filter(model, chains)
    at_once = run_parallel_filter(model, chains)
    equal(one_by_one.predicted, at_once.predicted, 1e-5)
    equal(one_by_one.filtered, at_once.filtered, 1e-5)
    torch.testing.assert_close(one_by_one.log_density, at_once.log_density, rtol=1e-6, atol=1e-5)


def test_all_at_once_is_the_same_for_a_linear_equation_wherever_it_is_linearised():
    rng = np.random.default_rng(1)
    targets = [rng.normal(size=(len(t), 1)) for t in TIMES]
    chains = chains_of(TIMES, targets, 2)
    model = model_of(linear(), 2, noise_std=[0.3], observation=Selection([1]))
    around = Gaussian(torch.randn(7, 2, dtype=torch.float64), 0.5 * torch.eye(2, dtype=torch.float64).expand(7, 2, 2))
    first, second = run_filter(model, chains), run_linearised_filter(model, chains, around)
    equal(first.filtered, second.filtered)
    equal(first.predicted, second.predicted)
    torch.testing.assert_close(first.log_density, second.log_density, rtol=1e-9, atol=1e-9)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = [torch.autograd.grad(f.log_density.sum(), parameters) for f in (first, second)]
    equal(*gradients)


def noisy_pendulum():
    """A pendulum with noise of its own that knows the state, of which the sine of the angle is seen, and its data."""
    problem = Problem(
        lambda t, u: torch.stack([u[:, 1], -3 * torch.sin(u[:, 0]) - 0.2 * u[:, 1]], 1),
        lambda t, u: torch.stack([0.05 + 0 * u[:, 0], 0.3 + 0.1 * u[:, 1]], 1),
    )
    rng = np.random.default_rng(2)
    times = [np.sort(rng.uniform(0, 8, 40)), np.sort(rng.uniform(0, 4, 13))]
    targets = [np.sin(np.cos(1.7 * t))[:, None] + 0.1 * rng.normal(size=(len(t), 1)) for t in times]
    observation = resolve_observation(lambda u: torch.sin(u[:, :1]), n_states=2, n_outputs=1, dtype=torch.float64)
    return {"problem": problem, "dim": 2, "noise_std": [0.1], "observation": observation}, times, targets


@pytest.mark.parametrize("substep", [math.inf, 0.1])
def test_all_at_once_settles_where_one_after_the_other_leads(substep):
    model, times, targets = noisy_pendulum()
    both_ways(model_of(**model, substep=substep), chains_of(times, targets, 2))


def test_settled_states_do_not_depend_on_later_observations():
    model, times, targets = noisy_pendulum()
    model, others = model_of(**model), [y.copy() for y in targets]
    others[0][7:] = 0.9
    before, after = (run_parallel_filter(model, chains_of(times, ys, 2)) for ys in (targets, others))
    unchanged = torch.tensor([*range(6), *range(39, 51)])  # of the first series, and the second one
    assert torch.equal(before.log_density[unchanged], after.log_density[unchanged])
    assert torch.equal(before.filtered.mean[unchanged], after.filtered.mean[unchanged])


def test_settled_states_are_the_filtered_ones():
    rng = np.random.default_rng(3)
    times = [np.arange(12.0) / 4]
    targets = [rng.normal(size=(12, 1))]
    model = model_of(Problem(lambda t, u: u - u**3, 0.5), 1, noise_std=[0.4], observation=Selection([0]))
    chains = chains_of(times, targets, 1)
    around = find_linearisation_states(model, chains)
    start = initial_distribution(model, None, chains.first)
    equal(filtered_starts(chains, start, run_filter(model, chains).filtered), around, 1e-5)


def test_without_noise_a_complete_observation_is_the_state():
    """Partly observed rows in between: the second component is known again at the end of each chain."""
    rng = np.random.default_rng(4)
    targets = [rng.normal(size=(len(t), 2)) for t in TIMES]
    targets[0][1:4, 0] = np.nan
    targets[1][1, 1] = np.nan
    chains = chains_of(TIMES, targets, 2, known=torch.as_tensor(np.stack([y[0] for y in targets])))
    model = model_of(linear(), 2)
    both_ways(model, chains)
    filtered = run_parallel_filter(model, chains).filtered
    complete = ~chains.targets.isnan().any(1)
    torch.testing.assert_close(filtered.mean[complete], chains.targets[complete], rtol=0, atol=1e-10)
    assert float(filtered.cov[complete].abs().max()) < 1e-10


def test_an_equation_without_noise_can_be_filtered():
    """Only where it starts is uncertain: a regression on the exponential, whose posterior is known."""
    times, decay = [np.linspace(0, 2, 9)], 0.7
    rng = np.random.default_rng(5)
    targets = [2 * np.exp(-decay * times[0])[:, None] + 0.1 * rng.normal(size=(9, 1))]
    model = model_of(Problem(lambda t, u: -decay * u), 1, noise_std=[0.1], observation=Selection([0]))
    chains = chains_of(times, targets, 1)
    both_ways(model, chains)
    filtered = run_parallel_filter(model, chains).filtered
    shape = np.exp(-decay * times[0])
    precision = 1 / 1.5**2 + (shape**2).sum() / 0.1**2
    mean = (0.3 / 1.5**2 + (shape * targets[0][:, 0]).sum() / 0.1**2) / precision
    assert float(filtered.mean[-1]) == pytest.approx(mean * shape[-1], rel=1e-9)
    assert float(filtered.cov[-1]) == pytest.approx(shape[-1] ** 2 / precision, rel=1e-9)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([0, 2], "must name one state, from 0 to 1"),
        ([0.5, 1], "must be None, indices of states, a function or a module"),
        ("angle", "must be None, indices of states"),
        ([0], "for each of the 2 columns of y"),
    ],
)
def test_an_observation_that_makes_no_sense_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        resolve_observation(spec, n_states=2, n_outputs=2, dtype=torch.float64)


def test_too_few_states_are_refused():
    with pytest.raises(ValueError, match="n_states=1 is less than the 2 columns of y"):
        resolve_observation(None, n_states=1, n_outputs=2, dtype=torch.float64)
