"""The same equation under another reading of the integral."""

import pytest
import torch

from skneuralde.problems import Problem, in_calculus, ito_form, stratonovich_form
from skneuralde.problems.calculus import Correction
from skneuralde.solvers import get_solver
from skneuralde.terms import MLP, Inputs, Network
from tests.convergence import Noise, walk
from tests.problems_closed_form import geometric

T = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None]
U = torch.arange(8, dtype=torch.float64).view(4, 2) / 8


def decay(t, u):
    return -u


def wavy(t, u):
    return torch.sin(u)


def two_noises(t, u):
    """Every component feels both noises, and every noise both components."""
    return torch.stack([u, u.flip(-1) ** 2], -1)


def test_diagonal_correction():
    ito = ito_form(Problem(decay, wavy, calculus="stratonovich"))
    assert ito.calculus == "ito"
    torch.testing.assert_close(ito.drift(T, U), -U + 0.5 * U.sin() * U.cos())
    stratonovich = stratonovich_form(Problem(decay, wavy))
    assert stratonovich.calculus == "stratonovich"
    torch.testing.assert_close(stratonovich.drift(T, U), -U - 0.5 * U.sin() * U.cos())
    assert stratonovich.diffusion is not None
    torch.testing.assert_close(stratonovich.diffusion(T, U), U.sin())


def test_correction_of_general_noise():
    converted = stratonovich_form(Problem(decay, two_noises, noise="general"))
    assert converted.noise == "general"
    # Of the first noise: u_i; of the second: u_(other)^2, whose derivative 2 u_(other) moves with u_i^2.
    correction = 0.5 * (U + 2 * U.flip(-1) * U**2)
    torch.testing.assert_close(converted.drift(T, U), -U - correction)


@pytest.mark.parametrize("noise", ["diagonal", "general"])
@pytest.mark.parametrize("calculus", ["ito", "stratonovich"])
def test_there_and_back(noise, calculus):
    problem = Problem(decay, wavy if noise == "diagonal" else two_noises, noise=noise, calculus=calculus)
    back = in_calculus(ito_form(stratonovich_form(problem)), (calculus,))
    assert back.calculus == calculus
    torch.testing.assert_close(back.drift(T, U), -U)


def test_nothing_to_convert():
    for problem in (Problem(decay), Problem(decay, 0.5, noise="additive"), Problem(decay, wavy)):
        assert in_calculus(problem, ("ito",)) is problem
    either = Problem(decay, wavy, calculus="stratonovich")
    assert in_calculus(either, ("ito", "stratonovich")) is either
    additive = Problem(decay, 0.5, noise="additive")
    assert stratonovich_form(additive) is additive


def test_noise_that_does_not_change_with_the_state_is_only_renamed():
    converted = stratonovich_form(Problem(decay, 0.5))
    assert converted.calculus == "stratonovich"
    torch.testing.assert_close(converted.drift(T, U), -U)


def test_solutions_are_the_same():
    case = geometric()
    u0, fine = case.u0.repeat(50, 1), Noise.draw(1.0, 1000, batch=50)
    u = walk(get_solver("milstein"), stratonovich_form(case.problem), u0, fine)
    torch.testing.assert_close(u, case.at_end(u0, fine), rtol=2e-3, atol=0)


@pytest.mark.parametrize("noise", ["diagonal", "general"])
def test_curvature_of_the_correction_of_a_network(noise):
    """Its third derivatives, which forward mode does not see through the network's own activation."""
    generator = torch.Generator().manual_seed(0)
    general = noise == "general"
    scale = torch.ones(2, 2) if general else torch.ones(2)
    positive = "cholesky" if general else "softplus"
    g = Network(MLP((6,)), Inputs.unit(2), scale, positive=positive, generator=generator, name="diffusion")
    with torch.no_grad():
        g.layers[-1].weight.mul_(20.0)
    term = Correction(g, 0.5)
    t, u = torch.zeros(5, 1).double(), torch.randn(5, 2, generator=generator).double()
    root = 0.1 * torch.randn(5, 2, 2, generator=generator).double()
    cov = root @ root.mT
    value, jacobian, bend = term.curvature(t, u, None, cov)
    torch.testing.assert_close((value, jacobian), term.linearize(t, u))
    step, total = 1e-4, torch.zeros_like(value)
    for i, direction in enumerate(torch.eye(2, dtype=u.dtype)):
        above, below = (term.linearize(t, u + sign * step * direction)[1] for sign in (1.0, -1.0))
        total += ((above - below) / (2 * step) * cov[:, None, i]).sum(-1)
    assert total.abs().max() > 1e-3
    torch.testing.assert_close(bend, total, rtol=1e-4, atol=1e-6)
