"""The law of a jump diffusion after an interval, against closed forms, quadrature and simulation."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import lognorm, norm, poisson

from skneuralde.inference import JumpSplitting, LocalLinearisation, Transitions
from skneuralde.problems import Jump, Problem
from skneuralde.terms import GaussianAffect, resolve_known
from tests.learnable_equations import column, direct

MERTON = {"mu": 0.1, "sigma": 0.2, "rate": 8.0, "mean": -0.05, "std": 0.1}


def gaussian_jump(rate, mean, std, **options):
    jump = Jump(rate, lambda t, u: u, **options)
    jump.affect = GaussianAffect(resolve_known(mean, name="mean"), resolve_known(std, name="std"))
    return jump


def merton():
    return Problem(MERTON["mu"], MERTON["sigma"], jumps=(gaussian_jump(MERTON["rate"], MERTON["mean"], MERTON["std"]),))


def merton_density(x, h):
    n = np.arange(80)
    mean, var = MERTON["mu"] * h + n * MERTON["mean"], MERTON["sigma"] ** 2 * h + n * MERTON["std"] ** 2
    return (poisson.pmf(n, MERTON["rate"] * h) * norm.pdf(np.asarray(x)[:, None], mean, np.sqrt(var))).sum(-1)


def law(problem, start, h, **options):
    start = torch.as_tensor(start, dtype=torch.float64)
    lengths = torch.full((len(start),), h, dtype=torch.float64)
    return JumpSplitting(LocalLinearisation(), **options).state_distribution(problem, direct(start, lengths))


@pytest.mark.parametrize(("h", "most"), [(1 / 252, 5), (0.1, 8)])
def test_merton_is_exact(h, most):
    x = np.linspace(-0.6, 0.5, 41)
    mixture = law(merton(), np.zeros((41, 1)), h, most=most)
    density = mixture.log_density(torch.tensor(x)[:, None]).exp().numpy()
    np.testing.assert_allclose(density, merton_density(x, h), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(mixture.weight.sum(0), 1.0, rtol=1e-12)


def test_merton_with_many_jumps_at_several_times():
    """Four jumps expected: more are covered by the top class, whose moments are exact."""
    mixture = law(merton(), np.zeros((1, 1)), 0.5, nodes=8, most=6)
    mean = MERTON["mu"] * 0.5 + 4 * MERTON["mean"]
    variance = MERTON["sigma"] ** 2 * 0.5 + 4 * (MERTON["mean"] ** 2 + MERTON["std"] ** 2)
    assert float(mixture.mean) == pytest.approx(mean, abs=1e-4)
    assert float(mixture.cov) == pytest.approx(variance, rel=1e-3)
    x = np.linspace(-1.2, 0.8, 21)
    density = law(merton(), np.zeros((21, 1)), 0.5, nodes=8, most=6).log_density(torch.tensor(x)[:, None]).exp()
    np.testing.assert_allclose(density, merton_density(x, 0.5), atol=0.01)


def halving(rate=2.0, mu=0.3, sigma=0.2):
    return Problem(lambda t, u: mu * u, lambda t, u: sigma * u, jumps=(Jump(rate, lambda t, u: 0.5 * u),))


def test_halving_moments():
    """E[u] = exp((mu - rate / 2) h), E[u^2] = exp((2 mu + sigma^2 - 3 / 4 rate) h)."""
    h = 0.5
    mixture = law(halving(), [[1.0]], h, nodes=4, most=8)
    assert float(mixture.mean) == pytest.approx(math.exp((0.3 - 1.0) * h), rel=1e-5)
    second = float(mixture.cov + mixture.mean.square())
    assert second == pytest.approx(math.exp((0.6 + 0.04 - 1.5) * h), rel=1e-4)


def test_halving_density():
    """Halving commutes with multiplicative growth: a mixture of lognormal laws, here nearly normal ones."""
    h, mu, sigma, rate = 0.25, 0.3, 0.1, 2.0
    x = np.linspace(0.02, 1.4, 2000)
    n = np.arange(12)
    exact = (poisson.pmf(n, rate * h) * lognorm.pdf(
        x[:, None], sigma * math.sqrt(h), scale=np.exp((mu - sigma**2 / 2) * h) * 0.5**n
    )).sum(-1)  # fmt: skip
    mixture = law(halving(rate, mu, sigma), np.ones((2000, 1)), h, most=6)
    density = mixture.log_density(torch.tensor(x)[:, None]).exp().numpy()
    assert np.abs(density - exact).sum() / exact.sum() < 0.04
    np.testing.assert_allclose(mixture.weight[:6, 0], poisson.pmf(range(6), rate * h), rtol=1e-9)


def test_the_time_of_a_jump_is_integrated():
    """Decay from 1 interrupted by a jump to 2: given one jump at s, the state is 2 exp(-(h - s))."""
    h, sigma, rate = 2.0, 0.1, 0.1
    problem = Problem(lambda t, u: -u, sigma, jumps=(Jump(rate, lambda t, u: torch.full_like(u, 2.0)),))
    x = np.linspace(0.1, 2.2, 60)
    s = (np.arange(20_000) + 0.5) / 20_000 * h
    after = h - s
    std = sigma * np.sqrt(0.5 * (1 - np.exp(-2 * after)))
    none = norm.pdf(x, math.exp(-h), sigma * math.sqrt(0.5 * (1 - math.exp(-2 * h)))) * math.exp(-rate * h)
    # What matters is the last jump, whose distance from the end is exponential.
    exact = none + (rate * np.exp(-rate * after) * norm.pdf(x[:, None], 2 * np.exp(-after), std)).mean(-1) * h
    errors = []
    for nodes in (1, 4, 16):
        density = law(problem, np.ones((60, 1)), h, nodes=nodes, most=6).log_density(torch.tensor(x)[:, None]).exp()
        errors.append(np.abs(density.numpy() - exact).mean() / exact.mean())
    assert errors[2] < 0.05 < 0.1 < errors[0], errors
    assert errors[1] < errors[0]


def test_rates_of_the_successive_states():
    """A counter that doubles its rate: a pure birth process of rates 1, 2, 4."""
    problem = Problem(0.0, 1e-3, jumps=(Jump(lambda t, u: 2.0 ** u.round(), lambda t, u: u + 1.0),))
    mixture = law(problem, [[0.0]], 0.3, most=5)
    exact = [math.exp(-0.3), math.exp(-0.3) - math.exp(-0.6)]
    np.testing.assert_allclose(mixture.weight[:2, 0], exact, rtol=1e-6)
    np.testing.assert_allclose(mixture.means[:, 0, 0], range(6), atol=1e-12)


def test_states_that_jump_have_larger_rates():
    """A rate exp(a u) over a normal spread P: probability exp(a^2 P / 2) times as large, states shifted by a P."""
    a, sigma, h, rate = 0.8, 1.0, 0.4, 0.01
    problem = Problem(0.0, sigma, jumps=(Jump(lambda t, u: rate * torch.exp(a * u[:, 0]), lambda t, u: u - 5.0),))
    mixture = law(problem, [[0.0]], h)
    spread = 0.5 * sigma**2 * h
    assert float(mixture.weight[1]) == pytest.approx(rate * h * math.exp(0.5 * a**2 * spread), rel=5e-3)
    assert float(mixture.means[1]) == pytest.approx(a * spread - 5.0, rel=1e-2)
    assert float((mixture.weight[:2, 0] * (mixture.means[:2, 0, 0] - column(0.0, -5.0))).sum()) == pytest.approx(
        0.0, abs=1e-4
    )


def test_two_channels():
    up, down = gaussian_jump(3.0, 0.5, 0.1), gaussian_jump(1.0, -1.0, 0.2)
    problem = Problem(0.0, 0.1, jumps=(up, down))
    mixture = law(problem, [[0.0]], 0.1, most=4)
    assert mixture.jumps == (0, 1, 1, 2, 3, 4)
    p_one = 0.4 * math.exp(-0.4)
    np.testing.assert_allclose(mixture.weight[:3, 0], [math.exp(-0.4), 0.75 * p_one, 0.25 * p_one], rtol=1e-9)
    np.testing.assert_allclose(mixture.means[:3, 0, 0], [0.0, 0.5, -1.0], atol=1e-12)
    assert float(mixture.mean) == pytest.approx(0.1 * (1.5 - 1.0), rel=1e-3)
    assert float(mixture.cov) == pytest.approx(0.001 + 0.1 * (3 * 0.26 + 1.04), rel=1e-3)


def test_marks_of_any_law_are_integrated():
    jump = Jump(1.0, lambda t, u, z: u * torch.exp(0.1 * z - 0.2))
    mixture = law(Problem(0.0, 1e-3, jumps=(jump,)), [[2.0]], 0.1)
    mean = 2 * math.exp(-0.2 + 0.005)
    assert float(mixture.means[1]) == pytest.approx(mean, rel=1e-6)
    assert float(mixture.covs[1]) == pytest.approx(mean**2 * math.expm1(0.01) + 1e-7 * math.exp(-0.38), rel=1e-3)


def test_segments_of_different_numbers():
    """A transition through several rows is that of its whole length where nothing depends on the inputs."""
    problem = merton()
    inputs = torch.zeros(3, 0, dtype=torch.float64)
    two = Transitions(
        torch.zeros(2, 1, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), torch.tensor([0, 1, 3]),
        column(0.01, 0.004, 0.006), inputs, inputs,
    )  # fmt: skip
    mixture = JumpSplitting(LocalLinearisation(), most=5).state_distribution(problem, two)
    x = np.array([-0.1, 0.03])
    for value in x:
        target = torch.full((2, 1), value, dtype=torch.float64)
        np.testing.assert_allclose(mixture.log_density(target).exp(), merton_density([value] * 2, 0.01), rtol=1e-6)


def test_transitions_do_not_depend_on_longer_ones():
    """Times of a jump were merged for all where one transition had more than sixteen segments."""
    counts = torch.tensor([12, 1, 20, 3])
    offsets = torch.cat([torch.zeros(1).long(), counts.cumsum(0)])
    state, inputs = (
        torch.zeros(4, 1).double(),
        torch.rand(36, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
    )
    all_of_them = Transitions(
        state,
        torch.zeros(4).double(),
        offsets,
        torch.ones(36).double(),
        inputs,
        inputs,
    )
    jump = Jump(lambda t, u, c: 0.1 * c[:, 0], lambda t, u, c: u + c)
    problem = Problem(None, 0.1, jumps=(jump,))
    splitting = JumpSplitting(LocalLinearisation(), most=3)
    together = splitting.state_distribution(problem, all_of_them)
    target = torch.full((4, 1), 0.4, dtype=torch.float64)
    assert torch.allclose(together.weight.sum(0), torch.ones(4).double(), atol=1e-3)
    for i in range(4):
        alone = splitting.state_distribution(problem, all_of_them.select(torch.tensor([i])))
        for name in ("log_density", "jump_probability", "jump_size"):
            one, other = getattr(alone, name)(target[:1])[0], getattr(together, name)(target)[i]
            torch.testing.assert_close(one, other, rtol=1e-12, atol=0.0)


def test_controls_reach_rate_and_effect():
    problem = Problem(0.0, 0.1, jumps=(Jump(lambda t, u, c: c[:, 0], lambda t, u, c: u + c[:, 1:]),))
    inputs = torch.tensor([[2.0, 5.0]], dtype=torch.float64)
    transitions = Transitions(
        torch.zeros(1, 1, dtype=torch.float64), column(0.0), torch.tensor([0, 1]), column(0.1), inputs, inputs
    )
    mixture = JumpSplitting(LocalLinearisation()).state_distribution(problem, transitions)
    assert float(mixture.weight[0]) == pytest.approx(math.exp(-0.2))
    assert float(mixture.means[1]) == pytest.approx(5.0)


def test_gradient_against_finite_differences():
    theta = column(0.3, -1.2, 0.5, 0.8, -0.3, 0.4).requires_grad_()
    target = column(-0.6, 0.1, 1.4)[:, None]

    def value(theta):
        jump = gaussian_jump(
            lambda t, u: torch.exp(theta[2] + 0.5 * torch.sin(u)),
            lambda t, u: theta[3] - 0.2 * u,
            lambda t, u: torch.exp(theta[4]) * (1 + 0.1 * u.square()),
        )
        problem = Problem(
            lambda t, u: theta[0] * torch.cos(u), lambda t, u: theta[1].exp() * (1 + 0 * u), jumps=(jump,)
        )
        return law(problem, [[0.0], [0.3], [1.0]], 0.4, nodes=2, most=4).log_density(target)

    assert torch.autograd.gradcheck(value, (theta,), atol=1e-6)


def test_negative_rates_are_not_clipped():
    problem = Problem(0.0, 0.1, jumps=(Jump(lambda t, u: u[:, 0], lambda t, u: -u),))
    assert law(problem, [[-1.0]], 0.1).log_density(column(0.0)[:, None]).isnan().all()


def test_simulated_state_dependent_jumps():
    """Mean and variance of an equation without closed form, against Euler paths; 4 standard errors."""
    rng = np.random.default_rng(0)
    n, steps, h = 200_000, 100, 0.4
    u = np.full(n, 0.5)
    for _ in range(steps):
        rate = 1.0 / (1.0 + np.exp(-u))
        jump = rng.random(n) < -np.expm1(-rate * h / steps)
        u = u - u * h / steps + 0.3 * math.sqrt(h / steps) * rng.standard_normal(n)
        u = np.where(jump, 0.5 * u + 1.0 + 0.2 * rng.standard_normal(n), u)
    problem = Problem(
        lambda t, u: -u, 0.3,
        jumps=(Jump(lambda t, u: torch.sigmoid(u[:, 0]), lambda t, u, z: 0.5 * u + 1.0 + 0.2 * z),),
    )  # fmt: skip
    mixture = law(problem, [[0.5]], h, nodes=4, most=6)
    assert float(mixture.mean) == pytest.approx(u.mean(), abs=4 * u.std() / math.sqrt(n) + 2e-3)
    assert float(mixture.cov) == pytest.approx(u.var(), rel=0.02)
