"""Gradients of expectations in rates, against closed forms and finite differences with common random numbers."""

import math

import pytest
import torch

from skneuralde import Jump, Problem, expect, solve

MU, RATE, END = 0.1, 1.5, 1.0
TIMES = [0.0, 0.4, END]
OPTIONS = {"solver": "euler", "dt": 0.2}
RATES = {
    "constant": lambda theta, t, u: theta.expand(len(u)),
    "time": lambda theta, t, u: theta * (0.5 + t),
    "state": lambda theta, t, u: theta * 2 * u / (1 + u),
}


class Rate(torch.nn.Module):
    def __init__(self, kind, value=RATE):
        super().__init__()
        self.kind, self.theta = RATES[kind], torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))

    def forward(self, t, u):
        return self.kind(self.theta, t, u)


class Growth(torch.nn.Module):
    def __init__(self, value=MU):
        super().__init__()
        self.mu = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))

    def forward(self, t, u):
        return self.mu * u


def halving(kind, rate=RATE, mu=MU):
    """Geometric Brownian motion with halving jumps."""
    return Problem(Growth(mu), lambda t, u: 0.2 * u, jumps=(Jump(Rate(kind, rate), lambda t, u: u / 2, bound=4.0),))


def end(ys):
    return ys[..., -1, 0]


def curved(ys):
    """A functional of several times."""
    return (ys[..., 1, 0] * ys[..., 2, 0]).sqrt() + ys[..., 2, 0].square()


def both(ys):
    return torch.stack([end(ys), curved(ys)], -1)


def finite_difference(kind, functional, name, step=0.1, n_paths=10_000):
    """Means and standard errors."""
    above, below = (
        functional(
            solve(
                halving(kind, **{name: {"rate": RATE, "mu": MU}[name] + move}),
                [1.0],
                TIMES,
                n_paths=n_paths,
                random_state=7,
                **OPTIONS,
            ).ys.detach()
        )
        for move in (step, -step)
    )
    slope = (above - below) / (2 * step)
    return slope.mean(0), slope.std(0) / n_paths**0.5


def gradients(kind, functional, n_seeds=10, n_paths=2000):
    """Means and standard errors of the gradients of each value in the rate's parameter and in the drift's."""
    rows = []
    for seed in range(n_seeds):
        problem = halving(kind)
        parameters = next(problem.jumps.parameters()), next(problem.drift.parameters())
        values = expect(problem, [1.0], TIMES, functional, n_paths=n_paths, random_state=seed, **OPTIONS)
        rows.append(torch.stack([torch.stack(torch.autograd.grad(v, parameters, retain_graph=True)) for v in values]))
    rows = torch.stack(rows)
    return rows.mean(0).unbind(1), (rows.std(0) / n_seeds**0.5).unbind(1)


@pytest.mark.parametrize("kind", RATES)
def test_gradients_are_those_of_finite_differences(kind):
    means, errors = gradients(kind, both)
    for name, mean, error in zip(("rate", "mu"), means, errors, strict=True):
        expected, uncertainty = finite_difference(kind, both, name)
        total = torch.hypot(error, uncertainty)
        assert ((mean - expected).abs() < 4 * total).all()
        assert (10 * total < expected.abs()).all()


def test_closed_form_where_plain_autograd_says_zero():
    problem = halving("constant")
    rate, mu = next(problem.jumps.parameters()), next(problem.drift.parameters())
    value = expect(problem, [1.0], TIMES, end, n_paths=20_000, random_state=0, **OPTIONS)
    in_rate, in_mu = torch.autograd.grad(value, [rate, mu])
    expected = math.exp((MU - RATE / 2) * END)
    assert abs(float(value.detach()) - expected) < 0.01
    assert float(in_rate) == pytest.approx(-expected / 2, rel=0.02)
    assert float(in_mu) == pytest.approx(expected, rel=0.02)
    ys = solve(problem, [1.0], TIMES, n_paths=200, random_state=0, **OPTIONS).ys
    plain = torch.autograd.grad(end(ys).mean(), rate, allow_unused=True, materialize_grads=True)[0]
    assert float(plain) == 0.0


def test_plain_autograd_is_wrong_in_whatever_moves_the_state_that_a_rate_sees():
    problem = halving("state")
    mu = next(problem.drift.parameters())
    ys = solve(problem, [1.0], TIMES, n_paths=20_000, random_state=0, **OPTIONS).ys
    (plain,) = torch.autograd.grad(end(ys).mean(), mu)
    expected, error = finite_difference("state", end, "mu")
    assert float(plain) - expected > 10 * error


@pytest.mark.parametrize("gradient", ["checkpoint", "forward"])
def test_every_way_to_differentiate_gives_the_same(gradient):
    def slopes(way):
        problem = halving("state")
        expect(problem, [1.0], TIMES, curved, n_paths=50, random_state=0, gradient=way, **OPTIONS).backward()
        return torch.stack([p.grad for p in problem.parameters()])

    torch.testing.assert_close(slopes(gradient), slopes("direct"))


def test_a_rate_without_a_bound_has_the_same_gradient():
    """Hazards begin anew after the jump that is added, which changes no law."""

    def slopes(bound):
        rows = []
        for seed in range(5):
            problem = Problem(
                Growth(), lambda t, u: 0.2 * u, jumps=(Jump(Rate("state"), lambda t, u: u / 2, bound=bound),)
            )
            value = expect(problem, [1.0], TIMES, end, n_paths=1000, rtol=1e-2, random_state=seed)
            rows.append(torch.stack(torch.autograd.grad(value, list(problem.parameters()))))
        rows = torch.stack(rows)
        return rows.mean(0), rows.std(0) / 5**0.5

    (free, error), (thinned, other) = slopes(None), slopes(4.0)
    assert ((free - thinned).abs() < 4 * torch.hypot(error, other)).all()


def test_series_of_their_own_lengths_with_inputs():
    """Each series has its own gradient; E[u_T] = exp(-c rate T / 2) for a rate c times the parameter."""
    rate = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    jump = Jump(lambda t, u, c: rate * c, lambda t, u: u / 2, bound=2.0)
    times = torch.tensor([[0.0, 0.5, 2.0], [1.0, 1.5, math.nan], [3.0, math.nan, math.nan]], dtype=torch.float64)
    c = torch.tensor([[1.0], [2.0], [1.0]], dtype=torch.float64)

    def last(ys):
        return torch.stack([ys[:, 0, 2, 0], ys[:, 1, 1, 0], ys[:, 2, 0, 0]], 1)

    for context in (c, lambda t: c.expand(*t.shape, 1)):
        values = expect(
            Problem(None, jumps=(jump,)), torch.ones(3, 1).double(), times, last,
            n_paths=20_000, context=context, random_state=0, **OPTIONS,
        )  # fmt: skip
        slopes = torch.stack([torch.autograd.grad(value, rate, retain_graph=True)[0] for value in values])[:, 0]
        for i, exposure in enumerate((2.0, 1.0, 0.0)):
            expected = math.exp(-exposure / 2)
            assert values[i].item() == pytest.approx(expected, rel=0.02)
            assert float(slopes[i]) == pytest.approx(-exposure / 2 * expected, rel=0.02)


def test_each_channel_has_a_gradient_of_its_own():
    """Two kinds of marks that add up, and a channel that is known: E[u_T^2] of a compound Poisson process."""
    first, second = (torch.tensor([r], dtype=torch.float64, requires_grad=True) for r in (1.0, 2.0))
    jumps = (
        Jump(lambda t, u: first.expand(len(u)), lambda t, u, z: u + z, bound=2.0),
        Jump(3.0, lambda t, u: u + 0.0),
        Jump(lambda t, u: second.expand(len(u)), lambda t, u, z: u + 2 * z, bound=4.0),
    )
    value = expect(
        Problem(None, jumps=jumps), [0.0], TIMES, lambda ys: end(ys).square(), n_paths=40_000, random_state=0, **OPTIONS
    )
    slopes = torch.autograd.grad(value, [first, second])
    assert value.item() == pytest.approx(1.0 + 4 * 2.0, rel=0.05)
    assert float(slopes[0]) == pytest.approx(1.0, rel=0.1)
    assert float(slopes[1]) == pytest.approx(4.0, rel=0.1)


def test_without_anything_to_learn_in_a_rate_it_is_the_mean():
    problem = Problem(Growth(), lambda t, u: 0.2 * u, jumps=(Jump(1.0, lambda t, u: u / 2),))
    value = expect(problem, [1.0], TIMES, end, n_paths=50, random_state=0, **OPTIONS)
    assert torch.equal(value, end(solve(problem, [1.0], TIMES, n_paths=50, random_state=0, **OPTIONS).ys).mean(0))
    with torch.no_grad():
        problem = halving("state")
        value = expect(problem, [1.0], TIMES, end, n_paths=50, random_state=0, **OPTIONS)
        assert torch.equal(value, end(solve(problem, [1.0], TIMES, n_paths=50, random_state=0, **OPTIONS).ys).mean(0))


def test_a_functional_that_is_not_one_value_per_path_is_told():
    with pytest.raises(ValueError, match=r"one value per path, a tensor of shape \(5,\)"):
        expect(halving("constant"), [1.0], TIMES, lambda ys: ys.mean(), n_paths=5, **OPTIONS)


@pytest.mark.parametrize("options", [{}, {"bound": 3.0}, {"solver": "euler", "dt": 0.25}, OPTIONS | {"bound": 3.0}])
def test_a_death_process_is_not_asked_for_more_deaths_than_there_are(options):
    """E[u_T] = n exp(-rate T), and the logarithm of a state below zero is no number."""
    options = dict(options)
    rate = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    jump = Jump(lambda t, u: rate * u, lambda t, u: u - 1, bound=options.pop("bound", None))

    def both(ys):
        return torch.stack([end(ys), (1.0 + end(ys)).log()], -1)

    value = expect(Problem(None, jumps=(jump,)), [3.0], TIMES, both, n_paths=10_000, random_state=0, **options)
    mean, log = (torch.autograd.grad(v, rate, retain_graph=True)[0] for v in value)
    assert value[0].item() == pytest.approx(3 * math.exp(-1.0), abs=0.04)
    assert float(mean) == pytest.approx(-3 * math.exp(-1.0), abs=0.06)
    dead, n = 1.0 - math.exp(-1.0), 3
    slope = sum(
        math.comb(n, k) * math.log1p(k) * math.exp(-k) * dead ** (n - k) * ((n - k) * math.exp(-1.0) / dead - k)
        for k in range(n)
    ) - n * math.exp(-n) * math.log1p(n)
    assert float(log) == pytest.approx(slope, abs=0.03)


@pytest.mark.parametrize("gradient", ["direct", "checkpoint", "forward"])
def test_a_death_process_beside_a_state_with_a_gradient(gradient):
    class Drift(Growth):
        def forward(self, t, u):
            return torch.stack([0.0 * u[:, 0], self.mu * u[:, 1]], 1)

    class Deaths(Rate):
        def forward(self, t, u):
            return self.theta * u[:, 0]

    drift, rate = Drift(), Deaths("state", 1.0)
    jump = Jump(rate, lambda t, u: torch.stack([u[:, 0] - 1.0, u[:, 1]], 1), bound=3.0)
    value = expect(
        Problem(drift, jumps=(jump,)), [2.0, 1.0], TIMES, lambda ys: end(ys) + ys[..., -1, 1], n_paths=5000,
        random_state=0, gradient=gradient, **OPTIONS,
    )  # fmt: skip
    in_mu, in_rate = torch.autograd.grad(value, [drift.mu, rate.theta])
    assert float(in_rate) == pytest.approx(-2 * math.exp(-1.0), abs=0.06)
    assert float(in_mu) == pytest.approx(math.exp(MU), rel=0.02)


def test_a_rate_that_is_zero_has_a_gradient_where_its_slope_is_not():
    rate = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    jump = Jump(lambda t, u: rate * u, lambda t, u: u - 1, bound=3.0)
    value = expect(Problem(None, jumps=(jump,)), [3.0], TIMES, end, n_paths=10, random_state=0, **OPTIONS)
    value.backward()
    assert value.item() == 3.0
    assert rate.grad.item() == pytest.approx(-3.0)


def digital(ys):
    return (ys[..., -1, 0] > 1.0).double()


def test_a_functional_without_a_derivative_is_refused_where_the_paths_have_one():
    problem = Problem(Growth(), lambda t, u: 0.2 * u)
    with pytest.raises(ValueError, match="no derivative in the states"):
        expect(problem, [1.0], TIMES, digital, n_paths=4, random_state=0, **OPTIONS)
    with torch.no_grad():
        assert 0.0 <= expect(problem, [1.0], TIMES, digital, n_paths=4, random_state=0, **OPTIONS) <= 1.0


def test_the_gradient_of_a_digital_option_in_a_rate_is_unbiased():
    """Halvings at rate r: the price stays above 3/4 with probability exp(-r)."""
    rate = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    jump = Jump(lambda t, u: rate.expand(len(u)), lambda t, u: u / 2, bound=2.0)
    value = expect(
        Problem(None, jumps=(jump,)), [1.0], [0.0, 1.0], lambda ys: (ys[..., -1, 0] > 0.75).double(), n_paths=20_000,
        random_state=0, solver="euler", dt=1.0,
    )  # fmt: skip
    (slope,) = torch.autograd.grad(value, rate)
    assert float(slope) == pytest.approx(-math.exp(-1.0), abs=0.02)


def test_the_gradient_of_a_smoothed_digital_option():
    """A normal end with mean m and deviation s is above the level with a density of its own as the slope in m."""
    mean = torch.tensor([0.2], dtype=torch.float64, requires_grad=True)
    problem = Problem(lambda t, u: mean.expand_as(u), 0.5)
    value = expect(
        problem, [0.0], [0.0, 1.0], lambda ys: torch.sigmoid(ys[..., -1, 0] / 0.02), n_paths=40_000, random_state=0,
        solver="euler", dt=1.0,
    )  # fmt: skip
    (slope,) = torch.autograd.grad(value, mean)
    assert float(slope) == pytest.approx(math.exp(-0.5 * 0.4**2) / (0.5 * math.sqrt(2 * math.pi)), rel=0.05)
