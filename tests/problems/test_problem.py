"""The equation put together, and what it refuses."""

import copy
import pickle

import pytest
import torch

from skneuralde.problems import Problem
from skneuralde.terms import Constant, Known

T = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None]
U = torch.arange(8, dtype=torch.float64).view(4, 2) / 8


def decay(t, u):
    return -u


def three_noises(t, u):
    return torch.stack([u, torch.ones_like(u), u**2], -1)


class Decay(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, t, u):
        return -self.rate * u


def test_parts():
    problem = Problem(decay, 0.5)
    assert problem.noise == "diagonal"
    assert problem.calculus == "ito"
    assert problem.state_ndim == 1
    assert isinstance(problem.drift, Known)
    assert isinstance(problem.diffusion, Constant)
    assert torch.equal(problem.drift(T, U), -U)
    assert Problem(decay).diffusion is None


def test_no_drift_is_zero():
    problem = Problem(None, 1.0)
    problem.check(T, U)
    assert torch.equal(problem.drift(T, U), torch.zeros_like(U))


def test_parameters_are_those_of_the_users_modules():
    module = Decay()
    problem = Problem([module, 1.0], 0.5)
    assert list(problem.parameters()) == [module.rate]
    problem.drift(T, U).sum().backward()
    assert module.rate.grad is not None


@pytest.mark.parametrize(
    ("diffusion", "noise", "width"),
    [
        (None, "diagonal", 0),
        (0.5, "diagonal", 2),
        ([0.5, 1.0], "additive", 2),
        ([[0.5, 1.0, 2.0], [1.0, 1.0, 1.0]], "additive", 3),
        (lambda t, u: 0.1 * torch.ones_like(u), "additive", 2),
        (lambda t, u: torch.exp(-t)[..., None].expand(-1, 2, 5), "additive", 5),
        ([[0.5, 1.0, 2.0], [1.0, 1.0, 1.0]], "general", 3),
        (three_noises, "general", 3),
    ],
)
def test_number_of_noises(diffusion, noise, width):
    problem = Problem(decay, diffusion, noise=noise)
    problem.check(T, U)
    assert problem.noise_dim(2) == width
    if diffusion is not None:
        increment = problem.apply_noise(problem.diffusion(T, U), torch.ones(4, width, dtype=U.dtype))
        assert increment.shape == U.shape


def test_noise_is_applied_by_matrix_or_component():
    dw = torch.randn(4, 3, dtype=U.dtype, generator=torch.Generator().manual_seed(0))
    general = Problem(decay, three_noises, noise="general")
    g = general.diffusion(T, U)
    torch.testing.assert_close(general.apply_noise(g, dw), torch.einsum("bim,bm->bi", g, dw))
    torch.testing.assert_close(Problem(decay, 0.5).apply_noise(U, dw[:, :2]), U * dw[:, :2])


def test_unmeasured_width():
    with pytest.raises(RuntimeError, match="measured by Problem"):
        Problem(decay, three_noises, noise="general").noise_dim(2)


def test_additive_noise_is_not_differentiated():
    calls = []

    def g(t, u):
        calls.append(len(u))
        return torch.ones_like(u)

    value, slope = Problem(decay, g, noise="additive").diffusion.linearize(T, U)
    assert calls == [4]
    assert torch.equal(slope, U.new_zeros(4, 2, 2))
    assert torch.equal(value, torch.ones_like(U))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"drift": lambda t, u: u[:, :1]}, r"drift must return shape \(4, 2\)"),
        ({"drift": [decay, lambda t, u: u.log()]}, r"drift\[1\] returned -inf at index \(0, 0\)"),
        ({"drift": [1.0, 2.0, 3.0]}, r"drift must be a number or have the shape of one state, \(2,\), got .* \(3,\)"),
        ({"drift": [decay, [1.0]]}, r"drift\[1\] must be a number .* got the shape \(1,\)"),
        ({"drift": decay, "diffusion": three_noises}, r"diffusion must return shape \(4, 2\)"),
        ({"drift": decay, "diffusion": 0.5, "noise": "general"}, r"diffusion must return shape \(4, 2, m\)"),
        ({"drift": decay, "diffusion": decay, "noise": "additive"}, "it changes with u"),
        ({"drift": decay, "diffusion": three_noises, "noise": "additive"}, "it changes with u"),
        ({"drift": decay, "diffusion": lambda t, u: 0.5, "noise": "additive"}, "got float"),
    ],
)
def test_check_refuses(arguments, message):
    problem = Problem(**arguments)
    with pytest.raises(ValueError, match=message):
        problem.check(T, U)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": "scalar"}, r"noise must be one of \('diagonal', 'additive', 'general'\), got 'scalar'"),
        ({"calculus": "Ito"}, "calculus must be one of"),
        ({"diffusion": "mlp"}, "diffusion is an MLP"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Problem(decay, **arguments)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda problem: pickle.loads(pickle.dumps(problem))])
def test_copies(duplicate):
    problem = Problem([Decay(), decay], three_noises, noise="general")
    problem.check(T, U)
    twin = duplicate(problem)
    assert torch.equal(twin.drift(T, U), problem.drift(T, U))
    assert torch.equal(twin.diffusion(T, U), problem.diffusion(T, U))
    assert twin.noise_dim(2) == 3
    assert next(twin.parameters()) is not next(problem.parameters())
