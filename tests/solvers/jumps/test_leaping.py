"""Tau-leaping: all jumps of a step happen at its end."""

import math

import pytest
import torch

from skneuralde import Jump, Problem, expect, solve
from skneuralde.noise import Brownian, PoissonProcesses
from skneuralde.solvers import SolveRequest, SolverError, get_solver, integrate

N = 4_000


def assert_mean(sample, mean):
    sample = sample.double()
    assert abs(sample.mean() - mean) < 4 * sample.std() / len(sample) ** 0.5


def birth_and_death(birth, death):
    births = Jump(lambda t, u: birth * u, lambda t, u: u + 1, leap=True)
    deaths = Jump(lambda t, u: death * u, lambda t, u: u - 1, leap=True)
    return Problem(None, jumps=(births, deaths))


def population(dt, *, birth=1.0, death=2.0, first=100.0, n_paths=N):
    steps = {"solver": "euler", "dt": dt, "n_paths": n_paths, "random_state": 0}
    return solve(birth_and_death(birth, death), [first], [0.0, 1.0], **steps)


def test_birth_and_death_has_the_moments_of_the_leaps():
    """Those of a branching process in discrete time: each of the steps has a Poisson number of births and deaths."""
    dt, birth, death = 0.125, 1.0, 2.0
    mean, variance = 100.0, 0.0
    for _ in range(8):
        growth = 1.0 + (birth - death) * dt
        mean, variance = growth * mean, growth**2 * variance + (birth + death) * dt * mean
    run = population(dt)
    x = run.ys[:, -1, 0]
    assert_mean(x, mean)
    assert_mean((x - mean) ** 2, variance)
    assert torch.equal(100.0 + run.jump_counts[:, 0] - run.jump_counts[:, 1], x)


def test_weak_order_one_towards_the_birth_and_death_process():
    growth = math.exp(-1.0)
    mean, second = 100.0 * growth, 100.0 * 3.0 * growth * (1.0 - growth) + (100.0 * growth) ** 2
    ends = [population(dt).ys[:, -1, 0] for dt in (0.25, 0.125, 0.0625)]
    for exact, moment in ((mean, [x.mean() for x in ends]), (second, [x.square().mean() for x in ends])):
        biases = [exact - m for m in moment]
        assert abs(math.log2(biases[0] / biases[-1]) / 2 - 1.0) < 0.25


def test_one_leap_is_a_compound_poisson_variable():
    jump = Jump(3.0, lambda t, u, z: u + 0.2 + 0.5 * z, leap=True)
    run = solve(Problem(None, jumps=(jump,)), [0.0], [0.0, 1.0], solver="euler", dt=1.0, n_paths=N, random_state=0)
    x, counts = run.ys[:, -1, 0], run.jump_counts[:, 0]
    assert_mean(counts, 3.0)
    assert_mean((counts - 3.0) ** 2, 3.0)
    for v in (0.5, 1.0, 2.0):
        expected = torch.exp(3.0 * (torch.exp(torch.tensor(0.2j * v - (0.5 * v) ** 2 / 2)) - 1))
        assert_mean(torch.cos(v * x), expected.real)
        assert_mean(torch.sin(v * x), expected.imag)
    assert (run.jump_times[0].nan_to_num(nan=1.0) == 1.0).all()
    assert run.jump_marks[0][run.jump_times[0].isfinite()].unique().numel() == counts.sum()


@pytest.mark.parametrize("dt", [1.0, 0.3])
def test_leaps_are_those_of_the_clock_whatever_the_steps(dt):
    poisson = PoissonProcesses(0, torch.arange(50), torch.zeros(50, dtype=torch.int64), 1)
    arrivals = poisson.arrivals(0, torch.full((50, 1), 4.5, dtype=torch.float64))
    times = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    rising = Problem(None, jumps=(Jump(lambda t, u: t, lambda t, u: u + 1.0, leap=True),))
    u0 = torch.zeros(50, 1, dtype=torch.float64)
    values = integrate(
        SolveRequest(rising, u0, times, solver=get_solver("bs3"), poisson=poisson, rtol=None, dt=dt)
    ).values[..., 0]
    # The integral of a rate that the method integrates exactly is compared with the same numbers.
    assert torch.equal(values, (arrivals[:, None] <= times[:, None] ** 2 / 2).sum(-1).double())


def mixed(scale, leap=True):
    jumps = (
        Jump(lambda t, u: 6.0 + u[:, 0] ** 2, scale, leap=leap),
        Jump(1.0, lambda t, u: u + 0.5),
        Jump(lambda t, u: 2.0 * t, lambda t, u: u - 0.2),
        Jump(5.0, lambda t, u, z: u + 0.1 * z, leap=leap),
    )
    return Problem(lambda t, u: 0.1 * u, lambda t, u: 0.2 * u, jumps=jumps)


@pytest.mark.parametrize("gradient", ["direct", "checkpoint", "forward"])
@pytest.mark.parametrize("name", ["euler", "sosri2"])
def test_gradients_lead_through_leaps(name, gradient):
    class Scale(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))

        def forward(self, t, u):
            return self.scale * u

    def value(scale, gradient="direct"):
        ys = solve(
            mixed(scale), [1.0], [0.0, 0.45, 1.0], solver=name, rtol=None, dt=0.2, n_paths=20, random_state=0,
            gradient=gradient,
        ).ys  # fmt: skip
        return ys.square().sum()

    at = Scale(0.95)
    (slope,) = torch.autograd.grad(value(at, gradient), at.scale)
    with torch.no_grad():
        torch.testing.assert_close(value(at), value(Scale(0.95)), rtol=1e-12, atol=0)
        expected = (value(Scale(0.95 + 1e-6)) - value(Scale(0.95 - 1e-6))) / 2e-6
    torch.testing.assert_close(slope, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("side_steps", [False, True])
def test_answers_do_not_depend_on_batch_mates(side_steps):
    def run(rows):
        keys = (torch.as_tensor(rows), torch.zeros(len(rows), dtype=torch.int64))
        return integrate(
            SolveRequest(
                mixed(lambda t, u: 0.95 * u),
                torch.ones(len(rows), 1, dtype=torch.float64),
                torch.tensor([0.0, 0.45, 1.0], dtype=torch.float64),
                solver=get_solver("sosri2"),
                poisson=PoissonProcesses(3, *keys, 4),
                noise=Brownian(3, *keys, 1, cell=0.7),
                rtol=None,
                dt=0.2,
                side_steps=side_steps,
            )
        ).values

    torch.testing.assert_close(run(range(30))[::7], run(range(0, 30, 7)), rtol=1e-12, atol=0)


def test_leaps_approach_the_exact_jumps_of_the_same_seed():
    steps = {"rtol": None, "solver": "sosri2", "n_paths": 200, "random_state": 1}
    exact = solve(mixed(lambda t, u: 0.95 * u, leap=False), [1.0], [0.0, 1.0], dt=0.02, **steps).ys[:, -1, 0]
    errors = [
        (solve(mixed(lambda t, u: 0.95 * u), [1.0], [0.0, 1.0], dt=dt, **steps).ys[:, -1, 0] - exact).abs().mean()
        for dt in (0.2, 0.02)
    ]
    assert errors[1] < 0.4 * errors[0]


def test_what_leaping_refuses():
    problem = birth_and_death(1.0, 2.0)
    with pytest.raises(ValueError, match=r"jumps\[0\] leaps over steps of a fixed size: give rtol=None and dt"):
        solve(problem, [10.0], [0.0, 1.0])
    # Too long steps kill more than there are.
    negative = r"jumps\[\d\].rate must be finite and not negative.* at t = .* and u = \[-.*give lower= to its Jump"
    with pytest.raises(SolverError, match=negative):
        solve(problem, [2.0], [0.0, 4.0], solver="euler", dt=1.0, n_paths=200, random_state=0)
    crowd = Problem(None, jumps=(Jump(1e9, lambda t, u: u + 1.0, leap=True),))
    with pytest.raises(ValueError, match=r"jumps\[0\] happens more than 10000 times in one step"):
        solve(crowd, [0.0], [0.0, 1.0], solver="euler", dt=1.0)
    rate = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    learned = Problem(None, jumps=(Jump(lambda t, u: rate.expand(len(u)), lambda t, u: u / 2, bound=4.0, leap=True),))
    with pytest.raises(ValueError, match=r"jumps\[0\].rate is learned by one jump more"):
        expect(learned, [1.0], [0.0, 1.0], lambda ys: ys[..., -1, 0], n_paths=10, solver="euler", dt=0.5)


def deaths(lower, rate=1.0, **options):
    return Jump(lambda t, u: rate * u[:, 0], lambda t, u: u - 1.0, leap=True, lower=lower, **options)


@pytest.mark.parametrize("first", [1.0, 3.0, 200.0])
def test_leaps_above_a_lower_end_keep_the_mean_of_a_death_process(first):
    biases = []
    for dt in (0.5, 0.25, 0.125):
        run = solve(
            Problem(None, jumps=(deaths(0.0),)), [first], [0.0, 1.0, 3.0], solver="euler", dt=dt, n_paths=N,
            random_state=0,
        )  # fmt: skip
        assert run.ys.min() >= 0.0
        assert torch.equal(first - run.jump_counts[:, 0], run.ys[:, -1, 0])
        biases.append(float(run.ys[:, 1, 0].mean()) - first * math.exp(-1.0))
        assert abs(biases[-1]) < 0.35 * dt * first + 4 * math.sqrt(first / N)


def test_long_leaps_of_several_channels_stay_in_their_range():
    """An epidemic in steps so long that more would be infected, and recover, than there are."""
    infect = Jump(
        lambda t, u: 0.5 * u[:, 0] * u[:, 1], lambda t, u: u + u.new_tensor([-1.0, 1.0, 0.0]), leap=True, lower=0.0
    )
    recover = Jump(
        lambda t, u: 3.0 * u[:, 1], lambda t, u: u + u.new_tensor([0.0, -1.0, -1.0]), leap=True,
        lower=(0.0, 0.0, -math.inf),
    )  # fmt: skip
    epidemic = Problem(None, jumps=(infect, recover))
    run = solve(epidemic, [20.0, 2.0, -1.0], [0.0, 1.0, 2.0, 4.0], solver="euler", dt=1.0, n_paths=500, random_state=0)
    assert run.ys[..., :2].min() == 0.0
    assert torch.equal(20.0 - run.jump_counts[:, 0], run.ys[:, -1, 0])
    assert torch.equal(-1.0 - run.jump_counts[:, 1], run.ys[:, -1, 2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_range_that_is_reached_by_rounding_alone(dtype):
    tenths = Jump(lambda t, u: 50.0 * u[:, 0], lambda t, u: u - 0.1, leap=True, lower=0.0)
    run = solve(
        Problem(None, jumps=(tenths,)), [0.3], [0.0, 9.0], solver="euler", dt=0.5, n_paths=50, random_state=0,
        dtype=dtype,
    )  # fmt: skip
    assert (run.ys[:, -1, 0] == 0.0).all()
    assert (run.jump_counts == 3).all()


@pytest.mark.parametrize("gradient", ["direct", "checkpoint", "forward"])
@pytest.mark.parametrize("side_steps", [False, True])
def test_gradients_and_side_steps_make_the_same_limited_leaps(gradient, side_steps):
    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.size = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

        def forward(self, t, u):
            return u - self.size

    keys = torch.arange(30), torch.zeros(30, dtype=torch.int64)
    problem = Problem(None, jumps=(Jump(lambda t, u: 2.0 * u[:, 0], Loss(), leap=True, lower=0.0),))
    request = SolveRequest(
        problem,
        torch.full((30, 1), 3.0, dtype=torch.float64),
        torch.tensor([0.0, 0.7, 2.0], dtype=torch.float64),
        solver=get_solver("euler"),
        poisson=PoissonProcesses(3, *keys, 1),
        dt=0.5,
        side_steps=side_steps,
        gradient=gradient,
    )
    with torch.no_grad():
        plain = integrate(request).values
    values = integrate(request).values
    assert plain.min() == 0.0
    assert torch.equal(values, plain)
    (slope,) = torch.autograd.grad(values.sum(), problem.jumps[0].affect.parameters())
    assert slope == (plain - 3.0).sum()


def test_lower_is_checked():
    for lower in (math.nan, math.inf, [[0.0]], "x", True, 1j, object()):
        with pytest.raises(ValueError, match="lower must be a number, or one per component"):
            deaths(lower)
    with pytest.raises(ValueError, match="give leap=True, or no lower"):
        Jump(1.0, lambda t, u: u - 1.0, lower=0.0)
    with pytest.raises(ValueError, match=r"jumps\[0\].lower has 2 values, but a state has 1 components"):
        solve(Problem(None, jumps=(deaths([0.0, 0.0]),)), [1.0], [0.0, 1.0], solver="euler", dt=0.5)


@pytest.mark.parametrize("dt", [0.5, 0.1])
@pytest.mark.parametrize("rates", [(300.0, 100.0), (3.0, 1.0)])
def test_competing_leaps_share_what_is_there_by_their_rates(rates, dt):
    """Ten individuals die of two causes, three times as often of the first."""
    n, causes = 4_000, tuple(deaths(0.0, rate) for rate in rates)
    run = solve(Problem(None, jumps=causes), [10.0], [0.0, 5.0], solver="euler", dt=dt, n_paths=n, random_state=0)
    counts = run.jump_counts.double()
    assert run.ys.min() == 0.0
    share = counts[:, 0] / counts.sum(1)
    assert abs(share.mean() - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 10 / n)
