"""The parts of a model."""

import copy
import pickle

import torch

from skneuralde.inference import LocalLinearisation, Model
from skneuralde.problems import Problem
from skneuralde.terms import resolve_known
from tests.learnable_equations import Level, OrnsteinUhlenbeck, column


def test_observation_noise_adds_its_variance():
    model = Model(Problem(None, 1.0), noise_std=column(0.5, 2.0))
    cov, mean = torch.ones(3, 2, 2, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.float64)
    wanted = torch.tensor([[1.25, 1.0], [1.0, 5.0]], dtype=torch.float64)
    torch.testing.assert_close(model.add_noise(cov, mean), wanted.expand(3, 2, 2))
    torch.testing.assert_close(model.add_noise(None, mean), torch.diag(column(0.25, 4.0)).expand(3, 2, 2))
    torch.testing.assert_close(model.noise_std, column(0.5, 2.0))


def test_without_observation_noise():
    model = Model(Problem(None, 1.0))
    cov, mean = torch.ones(3, 2, 2, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.float64)
    assert model.noise_std is None
    assert torch.equal(model.add_noise(cov, mean), cov)
    assert not model.add_noise(None, mean).any()


def test_what_is_trained():
    def names(model):
        return {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    problem = Problem(OrnsteinUhlenbeck(), Level(0.3))
    equation = names(Model(problem))
    assert len(equation) == 3
    assert names(Model(problem, noise_std=column(1.0))) == equation
    assert names(Model(problem, noise_std=column(1.0), learn_noise=True)) == equation | {"log_noise"}
    assert names(Model(problem, states=torch.zeros(4, 1))) == equation | {"states.shift"}


def test_encoder_sees_time_and_context():
    model = Model(Problem(None), encoder=resolve_known(lambda t, u, c: 10 * t + c + 0 * u, name="initial_state"))
    state = model.encode(column(1.0, 2.0), column(5.0, 6.0)[:, None], 1)
    assert state.tolist() == [[15.0], [26.0]]


def test_copies():
    model = Model(Problem(OrnsteinUhlenbeck(0.7), Level(0.3)), noise_std=column(1.0))
    model.propagator = LocalLinearisation(0.1)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.propagator == model.propagator
        for one, other in zip(twin.parameters(), model.parameters(), strict=True):
            assert torch.equal(one, other)
            assert one is not other
