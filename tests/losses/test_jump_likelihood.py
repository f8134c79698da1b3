"""The likelihood with jumps: its minimum, and what it costs to have them."""

import math

import numpy as np
import pytest
import torch

from skneuralde.inference import JumpSplitting, LocalLinearisation, Model
from skneuralde.losses import JumpLikelihood, NegativeLogLikelihood, TransitionData
from skneuralde.problems import Jump, Problem
from tests.learnable_equations import direct

SIGMA, RATE, MEAN, STD, H = 0.3, 0.5, -1.0, 0.6, 0.1


class Rate(torch.nn.Module):
    """A constant rate of which a parameter is the logarithm."""

    def __init__(self, log):
        super().__init__()
        self.log = log

    def forward(self, t, u):
        return self.log.exp().expand(len(u))


class Walk(torch.nn.Module):
    """Merton's model with all but the drift to be learned, in logarithms."""

    def __init__(self, sigma=SIGMA, rate=RATE, std=STD):
        super().__init__()
        for name, value in {"sigma": sigma, "rate": rate, "std": std}.items():
            setattr(self, name, torch.nn.Parameter(torch.tensor(value, dtype=torch.float64).log()))
        self.mean = torch.nn.Parameter(torch.tensor(MEAN, dtype=torch.float64))

    def model(self):
        jump = Jump(Rate(self.rate), lambda t, u, z: u + self.mean + self.std.exp() * z)
        model = Model(Problem(0.0, lambda t, u: self.sigma.exp().expand_as(u), jumps=(jump,)))
        model.propagator = JumpSplitting(LocalLinearisation(), most=4)
        return model


def likelihood(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    jumps = torch.poisson(torch.full((n, 1), RATE * H, dtype=torch.float64), generator=generator)
    noise = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    targets = MEAN * jumps + (SIGMA**2 * H + STD**2 * jumps).sqrt() * noise
    transitions = direct(torch.zeros(n, 1, dtype=torch.float64), torch.full((n,), H, dtype=torch.float64))
    fixed = JumpSplitting(LocalLinearisation(), most=4)
    weight = torch.ones(n, dtype=torch.float64)
    data = TransitionData(transitions=transitions, targets=targets, weight=weight, calibrate=lambda model: fixed)
    return JumpLikelihood(NegativeLogLikelihood(), data)


def gradient(walk, objective):
    values = objective.values(walk.model(), objective.items, seed=0)
    return torch.stack(torch.autograd.grad(values.sum(), list(walk.parameters())))


def test_smallest_at_the_true_parameters():
    """Gradients in units of their standard errors, from those of single items."""
    objective = likelihood(20_000)
    objective.start_epoch(Walk().model(), 1)
    walk = Walk()
    values = objective.values(walk.model(), objective.items, seed=0)
    chunks = torch.stack(
        [
            torch.stack(torch.autograd.grad(v.sum(), list(walk.parameters()), retain_graph=True))
            for v in values.chunk(50)
        ]
    )
    score = chunks.mean(0) / (chunks.std(0) / math.sqrt(50))
    assert score.abs().max() < 3.5


def test_the_penalty_is_small_beside_clear_jumps():
    objective = likelihood(5_000)
    walk = Walk()
    objective.start_epoch(walk.model(), 1)
    with_penalty = gradient(walk, objective)
    law = walk.model().observed_distribution(objective.transitions)
    without = torch.stack(torch.autograd.grad(-law.log_density(objective.targets).sum(), list(walk.parameters())))
    # 250 jumps: the log rate is known to 1 / 16, so that half a nat moves it by a thirtieth of that.
    assert (with_penalty - without).abs().max() < 1.0


def test_an_expected_jump_costs_less_the_more_there_are():
    few, many = likelihood(100), likelihood(10_000)
    for objective, n in ((few, 100), (many, 10_000)):
        objective.start_epoch(Walk().model(), 1)
        assert objective.jump_cost == pytest.approx(0.5 / (1 + n * RATE * H))
    looked_at = likelihood(100)
    looked_at.values(Walk().model(), looked_at.items, seed=0)
    assert looked_at.jump_cost == few.jump_cost


def test_small_jumps_that_imitate_diffusion_cost():
    objective = likelihood(100)
    objective.jump_cost = 0.0
    imitating = Walk(rate=5.0, std=0.02)
    imitating.mean.data.zero_()
    law = imitating.model().observed_distribution(objective.transitions)
    cost = objective.values(imitating.model(), objective.items, seed=0) + law.log_density(objective.targets)
    assert float(cost.mean()) == pytest.approx(0.1 * (1 - math.exp(-0.5)), rel=0.02)
    clear = Walk()
    law = clear.model().observed_distribution(objective.transitions)
    cost = objective.values(clear.model(), objective.items, seed=0) + law.log_density(objective.targets)
    assert float(cost.mean()) < 1e-6


def two_channels(*rates):
    """Jumps that nobody could see, at rates of which parameters are learned."""
    model = Model(Problem(0.0, SIGMA, jumps=[Jump(rate, lambda t, u: u + 1e-6) for rate in rates]))
    model.propagator = JumpSplitting(LocalLinearisation(), most=2)
    return model


def learned(rate):
    return Rate(torch.nn.Parameter(torch.tensor(rate, dtype=torch.float64).log()))


@pytest.mark.parametrize(
    ("rates", "charged"),
    [
        ((1e-3, 2e-3), 0.0),
        ((learned(1e-3), 2e-3), 1e-3),
        ((1e-3, learned(2e-3)), 2e-3),
        ((learned(1e-3), learned(2e-3)), 3e-3),
    ],
)
def test_only_jumps_at_learned_rates_cost(rates, charged):
    objective = likelihood(100)
    model = two_channels(*rates)
    objective.start_epoch(model, 1)
    assert objective.jump_cost == pytest.approx(0.5 / (1 + 100 * charged * H))
    law = model.observed_distribution(objective.transitions)
    cost = objective.values(model, objective.items, seed=0) + law.log_density(objective.targets)
    np.testing.assert_allclose(cost.detach(), (0.1 + objective.jump_cost) * charged * H, rtol=2e-3, atol=1e-12)
