"""The likelihood of transitions: its minimum, what it leaves out, and its weights."""

import math

import pytest
import torch

from skneuralde.inference import LocalLinearisation, Model, Transitions
from skneuralde.losses import NegativeLogLikelihood, TransitionData, TransitionObjective, started
from skneuralde.problems import Problem
from skneuralde.terms import resolve_known
from tests.learnable_equations import Level, OrnsteinUhlenbeck, column, direct

RATE, MEAN, SIGMA = 0.8, 1.5, 0.6


def observations(n, seed=0):
    """Exact transitions of an Ornstein-Uhlenbeck process, at irregular spacing."""
    generator = torch.Generator().manual_seed(seed)
    stationary = SIGMA / math.sqrt(2 * RATE)
    start = MEAN + stationary * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    h = 0.2 + 2 * torch.rand(n, generator=generator, dtype=torch.float64)
    decay = torch.exp(-RATE * h)[:, None]
    noise = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    return direct(start, h), MEAN + decay * (start - MEAN) + stationary * (1 - decay**2).sqrt() * noise


def likelihood(transitions, targets, weight=None, **options):
    weight = torch.ones(len(targets), dtype=targets.dtype) if weight is None else weight
    calibrate = lambda model: LocalLinearisation()  # noqa: E731
    data = TransitionData(transitions=transitions, targets=targets, weight=weight, calibrate=calibrate, **options)
    return TransitionObjective(NegativeLogLikelihood(), data)


def model(rate=RATE, mean=MEAN, sigma=SIGMA):
    fresh = Model(Problem(OrnsteinUhlenbeck(rate, mean), Level(sigma), noise="additive"))
    fresh.propagator = LocalLinearisation()
    return fresh


def scores(model, objective):
    """Derivative of every item's value with respect to every parameter, by central differences."""
    items = torch.arange(len(objective))
    columns = []
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1e-5
            above = objective.values(model, items, seed=0)
            parameter -= 2e-5
            columns.append((above - objective.values(model, items, seed=0)) / 2e-5)
            parameter += 1e-5
    return torch.stack(columns, -1)


def standardised_gradient(model, objective):
    """Mean of the scores in units of its standard error."""
    score = scores(model, objective)
    return score.mean(0) / (score.std(0) / math.sqrt(len(score)))


def test_smallest_at_the_true_parameters():
    objective = likelihood(*observations(10_000))
    assert standardised_gradient(model(), objective).abs().max() < 3.5
    # The test has the power to see parameters that are off by a tenth, each of them.
    for wrong in (model(rate=0.9 * RATE), model(mean=MEAN + 0.1), model(sigma=0.9 * SIGMA)):
        assert standardised_gradient(wrong, objective).abs().max() > 5


def test_gradient_is_that_of_the_values():
    objective, fresh = likelihood(*observations(50)), model(rate=1.1)
    objective.values(fresh, torch.arange(50), seed=0).mean().backward()
    gradient = torch.stack([p.grad for p in fresh.parameters()])
    torch.testing.assert_close(gradient, scores(fresh, objective).mean(0), rtol=1e-6, atol=1e-9)


def test_values_are_those_of_the_items_asked_for():
    objective, fresh = likelihood(*observations(30)), model()
    everything = objective.values(fresh, torch.arange(30), seed=0)
    items = torch.tensor([17, 3, 3, 29])
    torch.testing.assert_close(objective.values(fresh, items, seed=1), everything[items], rtol=1e-13, atol=0)
    assert not objective.stochastic


def test_missing_targets_say_nothing():
    transitions, targets = observations(30)
    targets[7] = math.nan
    objective, fresh = likelihood(transitions, targets), model()
    values = objective.values(fresh, torch.arange(30), seed=0)
    assert values[7] == 0
    gradient = torch.autograd.grad(values[7], list(fresh.parameters()))
    assert all(g == 0 for g in gradient)
    assert values.isfinite().all()


def test_partly_missing_targets_are_marginalised():
    start = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    coupled = Model(Problem(lambda t, u: u.flip(-1) - u, [0.3, 0.5], noise="additive"))
    coupled.propagator = LocalLinearisation()
    target = torch.tensor([[0.4, math.nan]], dtype=torch.float64)
    value = likelihood(direct(start, column(0.7)), target).values(coupled, torch.tensor([0]), seed=0)
    mean, cov = direct(start, column(0.7)).moments(coupled.problem, LocalLinearisation())
    law = torch.distributions.Normal(mean[0, 0], cov[0, 0, 0].sqrt())
    torch.testing.assert_close(value[0], -law.log_prob(target[0, 0]))


def test_a_weight_is_a_repetition():
    transitions, targets = observations(5)
    repeats = torch.tensor([1, 3, 0, 2, 1])
    rows = torch.arange(5).repeat_interleave(repeats)
    weighted = likelihood(transitions, targets, repeats.double())
    repeated = likelihood(transitions.select(rows), targets[rows])
    assert weighted.items.tolist() == [0, 1, 3, 4]
    gradients = []
    for objective in (weighted, repeated):
        fresh = model(rate=1.2)
        values = objective.values(fresh, objective.items, seed=0)
        weight = objective.weight[objective.items]
        ((weight * values).sum() / weight.sum()).backward()
        gradients.append(torch.stack([p.grad for p in fresh.parameters()]))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-14)


def test_observation_noise_widens_the_density():
    transitions, targets = observations(10)
    noisy = Model(Problem(OrnsteinUhlenbeck(RATE, MEAN), Level(SIGMA)), noise_std=column(0.4), learn_noise=True)
    noisy.propagator = LocalLinearisation()
    values = likelihood(transitions, targets).values(noisy, torch.arange(10), seed=0)
    mean, cov = transitions.moments(noisy.problem, LocalLinearisation())
    law = torch.distributions.Normal(mean[:, 0], (cov[:, 0, 0] + 0.16).sqrt())
    torch.testing.assert_close(values, -law.log_prob(targets[:, 0]))
    values.sum().backward()
    assert noisy.log_noise.grad.abs() > 0


def test_fineness_is_looked_at_ever_less_often():
    asked = []
    objective = likelihood(*observations(3))
    fresh = model()
    objective.calibrate = lambda model: asked.append(epoch) or LocalLinearisation()
    for epoch in range(1, 50):
        objective.start_epoch(fresh, epoch)
    assert asked == [1, 2, 4, 8, 16, 32, 48]
    # A model that has no propagator yet gets one at any epoch.
    fresh.propagator = None
    epoch = 3
    objective.start_epoch(fresh, epoch)
    assert fresh.propagator == LocalLinearisation()


@pytest.mark.parametrize("segments", [1, 2])
def test_encoded_starts(segments):
    """Transitions that start at a function of their first inputs: value and gradient."""
    scale = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = scale

        def forward(self, t, u, c):
            return self.scale(c) + t

    encoded = Model(Problem(lambda t, u: -u, 0.3), encoder=resolve_known(Encoder(), name="initial_state"))
    encoded.propagator = LocalLinearisation()
    inputs = torch.arange(1.0, 1 + 2 * segments).double()[:, None]
    transitions = Transitions(
        torch.full((2, 1), math.nan, dtype=torch.float64),
        column(0.5, 1.0),
        torch.arange(3) * segments,
        torch.full((2 * segments,), 0.4, dtype=torch.float64),
        inputs,
        inputs,
    )
    state = started(transitions, encoded).state
    first = inputs[::segments]
    torch.testing.assert_close(state, scale.weight * first + column(0.5, 1.0)[:, None])
    objective = likelihood(transitions, torch.zeros(2, 1, dtype=torch.float64), encode=True)
    values = objective.values(encoded, torch.tensor([1, 0]), seed=0)
    decay = math.exp(-0.4 * segments)
    law = torch.distributions.Normal(state[:, 0] * decay, 0.3 * math.sqrt((1 - decay**2) / 2))
    torch.testing.assert_close(values.flip(0), -law.log_prob(torch.zeros(2).double()))
    values.sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in encoded.encoder.parameters())
