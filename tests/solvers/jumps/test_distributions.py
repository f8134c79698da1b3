"""Jump processes whose moments are known in closed form, each within 4 standard errors at a fixed seed."""

import math

import pytest
import torch

from skneuralde import Jump, Problem, solve

N = 8_000


def simulate(problem, y0, end, *, n_paths=N, rtol=1e-2, **options):
    run = solve(problem, y0, [0.0, end], n_paths=n_paths, random_state=0, rtol=rtol, **options)
    return run.ys[:, -1], run


def assert_mean(sample, mean):
    sample = sample.double()
    assert abs(sample.mean() - mean) < 4 * sample.std() / len(sample) ** 0.5


def assert_characteristic(sample, exponent):
    """The exponent is a function of the frequency, for which the sample's mean of exp(i v x) is its exponential."""
    for v in (0.5, 1.0, 2.0):
        expected = torch.exp(torch.as_tensor(exponent(v), dtype=torch.complex128))
        assert_mean(torch.cos(v * sample), expected.real)
        assert_mean(torch.sin(v * sample), expected.imag)


def test_compound_poisson():
    rate, mean, std = 3.0, 0.2, 0.5
    x, run = simulate(Problem(None, jumps=(Jump(rate, lambda t, u, z: u + mean + std * z),)), [0.0], 1.0)
    counts = run.jump_counts[:, 0]
    assert_mean(counts, rate)
    assert_mean((counts - rate) ** 2, rate)
    assert_mean(x[:, 0], rate * mean)
    assert_mean((x[:, 0] - rate * mean) ** 2, rate * (mean**2 + std**2))
    assert_characteristic(x[:, 0], lambda v: rate * (torch.exp(torch.tensor(1j * v * mean - (v * std) ** 2 / 2)) - 1))


def merton(marks=None):
    jump = Jump(2.0, lambda t, u, z: u - 0.1 + 0.3 * z, marks=marks)
    return Problem(0.05, 0.2, jumps=(jump,), noise="additive")


def test_merton():
    x, _ = simulate(merton(), [0.0], 1.0)

    def exponent(v):
        return 0.05j * v - (0.2 * v) ** 2 / 2 + 2.0 * (torch.exp(torch.tensor(-0.1j * v - (0.3 * v) ** 2 / 2)) - 1)

    assert_characteristic(x[:, 0], exponent)
    assert_mean(x[:, 0], 0.05 - 0.2)
    assert_mean((x[:, 0] + 0.15) ** 2, 0.04 + 2.0 * (0.01 + 0.09))


def test_kou():
    p, up, down = 0.4, 3.0, 5.0

    def double_exponential(normals):
        uniform = torch.special.ndtr(normals)
        above = -torch.log(((uniform - (1 - p)) / p).clamp(1e-12, 1 - 1e-12)) / up
        below = torch.log((uniform / (1 - p)).clamp(1e-12, 1 - 1e-12)) / down
        return torch.where(uniform > 1 - p, above, below)

    jump = Jump(2.0, lambda t, u, z: u + z, marks=double_exponential)
    x, _ = simulate(Problem(0.05, 0.2, jumps=(jump,), noise="additive"), [0.0], 1.0)

    def exponent(v):
        law = p * up / (up - 1j * v) + (1 - p) * down / (down + 1j * v)
        return 0.05j * v - (0.2 * v) ** 2 / 2 + 2.0 * (law - 1)

    assert_characteristic(x[:, 0], exponent)


@pytest.mark.parametrize(
    ("bound", "steps"), [(None, {}), (12.0, {}), (None, {"solver": "sosri2", "rtol": None, "dt": 0.1})]
)
def test_affine_process_with_a_rate_that_depends_on_the_state(bound, steps):
    pull, level, size, base, slope = 2.0, 1.0, 0.3, 0.5, 1.0
    jump = Jump(lambda t, u: base + slope * u[:, 0].clamp_min(0.0), lambda t, u: u + size, bound=bound)
    problem = Problem(lambda t, u: pull * (level - u), lambda t, u: 0.3 * u.clamp_min(0.0).sqrt(), jumps=(jump,))
    x, run = simulate(problem, [1.0], 1.0, n_paths=4000, **steps)
    speed = pull - slope * size
    limit = (pull * level + base * size) / speed
    assert_mean(x[:, 0], limit + (1.0 - limit) * math.exp(-speed))
    integral = limit + (1.0 - limit) * (1.0 - math.exp(-speed)) / speed
    assert_mean(run.jump_counts[:, 0], base + slope * integral)


@pytest.mark.parametrize("steps", [{}, {"solver": "bs3"}, {"solver": "bs3", "rtol": None, "dt": 0.2}])
def test_hawkes_process_carries_its_intensity(steps):
    base, decay, kick, end = 1.0, 2.0, 1.0, 3.0
    problem = Problem(lambda t, u: decay * (base - u), jumps=(Jump(lambda t, u: u, lambda t, u: u + kick),))
    intensity, run = simulate(problem, [base], end, n_paths=4000, **steps)
    speed = decay - kick
    limit = decay * base / speed
    assert_mean(intensity[:, 0], limit + (base - limit) * math.exp(-speed * end))
    assert_mean(run.jump_counts[:, 0], limit * end + (base - limit) * (1.0 - math.exp(-speed * end)) / speed)


def test_birth_and_death():
    birth, death = 1.0, 1.5
    jumps = (Jump(lambda t, u: birth * u, lambda t, u: u + 1), Jump(lambda t, u: death * u, lambda t, u: u - 1))
    x, run = simulate(Problem(None, jumps=jumps), [10.0], 1.0, n_paths=4000)
    growth = math.exp(birth - death)
    assert_mean(x[:, 0], 10.0 * growth)
    assert_mean((x[:, 0] - 10.0 * growth) ** 2, 10.0 * (birth + death) / (birth - death) * growth * (growth - 1))
    change = run.jump_counts[:, 0] - run.jump_counts[:, 1]
    torch.testing.assert_close(10.0 + change.double(), x[:, 0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("bound", "steps"), [(None, {}), (2.0, {}), (None, {"solver": "bs3", "rtol": None, "dt": 0.3})]
)
def test_rate_that_grows_with_time(bound, steps):
    problem = Problem(None, jumps=(Jump(lambda t, u: t, lambda t, u: u + 1, bound=bound),))
    counts = simulate(problem, [0.0], 2.0, **steps)[0]
    assert_mean(counts[:, 0], 2.0)
    assert_mean((counts[:, 0] - 2.0) ** 2, 2.0)


def test_two_channels_are_independent():
    jumps = (Jump(2.0, lambda t, u: u + 1), Jump(lambda t, u: 1.0 + t, lambda t, u: u + 1))
    counts = simulate(Problem(None, jumps=jumps), [0.0], 1.0)[1].jump_counts.double()
    assert_mean(counts[:, 0], 2.0)
    assert_mean(counts[:, 1], 1.5)
    assert_mean((counts[:, 0] - 2.0) * (counts[:, 1] - 1.5), 0.0)


def test_members_of_an_ensemble_differ():
    problem = Problem(None, jumps=(Jump(2.0, lambda t, u: u + 1), Jump(lambda t, u: 1.0 + t, lambda t, u: u + 1)))
    run = solve(problem, [[0.0]] * 5, [0.0, 2.0], n_paths=20, random_state=0)
    for times in run.jump_times:
        first = times[..., 0].flatten()
        first = first[first.isfinite()]
        assert len(first.unique()) == len(first)


def test_float32():
    jumps = (Jump(2.0, lambda t, u: u / 2), Jump(lambda t, u: 1.0 + t, lambda t, u: u * 0.8))
    problem = Problem(lambda t, u: 0.1 * u, lambda t, u: 0.2 * u, jumps=jumps)
    x, run = simulate(problem, [1.0], 1.0, dtype=torch.float32, n_paths=4000)
    assert x.dtype == torch.float32
    assert run.jump_times[1].dtype == torch.float64
    assert_mean(x[:, 0], math.exp(0.1 - 1.0 - 0.2 * 1.5))


@pytest.mark.parametrize(("name", "order"), [("sosri", 1.5), ("sriw1", 1.5), ("euler", 0.5)])
def test_strong_order_survives_jumps(name, order):
    growth, spread = 0.5, 0.8
    problem = Problem(lambda t, u: growth * u, lambda t, u: spread * u, jumps=(Jump(3.0, lambda t, u: u / 2),))
    steps = [2.0**-k for k in (3, 4, 5, 6)]

    def final(name, dt):
        run = solve(problem, [1.0], [0.0, 1.0], solver=name, rtol=None, dt=dt, n_paths=1000, random_state=2)
        return run.ys[:, -1, 0]

    exact = final("sriw1", 2.0**-9)
    errors = torch.stack([(final(name, dt) - exact).square().mean().sqrt() for dt in steps])
    measured = float((errors[0] / errors[-1]).log2() / 3)
    assert abs(measured - order) < 0.25
