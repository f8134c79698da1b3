"""Channels of jumps, and what they refuse."""

import copy
import pickle

import pytest
import torch

from skneuralde.problems import Jump, Problem
from skneuralde.terms import GaussianAffect, KnownAffect, SetState

T = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None]
U = torch.arange(8, dtype=torch.float64).view(4, 2) / 8
C = torch.ones(4, 1, dtype=torch.float64)
Z = torch.ones(4, 2, dtype=torch.float64)


def halve(t, u):
    return u / 2


class Shift(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.by = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def forward(self, t, u, c, z):
        return u + self.by * c * z


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (2.0, 2.0),
        (torch.tensor([2.0]), 2.0),
        (lambda t, u: torch.full((len(u),), 2.0, dtype=u.dtype), 2.0),
        (lambda t, u: torch.full((len(u), 1), 2.0, dtype=u.dtype), 2.0),
        ([1.0, lambda t, u: torch.ones_like(t)], 2.0),
        (lambda t, u, c: 2.0 * c, 2.0),
    ],
)
def test_a_rate_has_one_value_per_path(rate, expected):
    jump = Jump(rate, halve)
    jump.check(T, U, C, name="jumps[0]")
    assert torch.equal(jump.rate(T, U, C), torch.full((4,), expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ("affect", "kind", "random", "after"),
    [
        (halve, KnownAffect, False, U / 2),
        (0.0, SetState, False, torch.zeros_like(U)),
        ([3.0, 4.0], SetState, False, torch.tensor([3.0, 4.0], dtype=torch.float64).expand(4, 2)),
        (lambda t, u, z: u + z, KnownAffect, True, U + 1),
        (Shift(), KnownAffect, True, U + 0.5),
    ],
)
def test_an_affect_gives_the_state_after_the_jump(affect, kind, random, after):
    jump = Jump(1.0, affect)
    jump.check(T, U, C, name="jumps[0]")
    assert isinstance(jump.affect, kind)
    assert jump.affect.uses_marks is random
    assert torch.equal(jump.affect(T, U, C, Z), after)


def test_an_affect_partly_known_and_partly_learned():
    jump = Jump(1.0, [halve, lambda t, u, z: 0.1 * z])
    assert jump.affect.uses_marks
    assert torch.equal(jump.affect(T, U, None, Z), U / 2 + 0.1)


def test_jumps_by_normal_amounts():
    def constant(value):
        return Problem(value).drift

    affect = GaussianAffect(constant(0.5), constant(2.0))
    assert torch.equal(Jump(1.0, affect).affect(T, U, None, Z), U + 2.5)


def test_marks_are_made_of_normal_numbers():
    assert torch.equal(Jump(1.0, halve).draw(Z), Z)
    assert torch.equal(Jump(1.0, halve, marks=lambda normals: normals.exp()).draw(Z), Z.exp())


def test_parameters_belong_to_the_problem():
    shift = Shift()
    problem = Problem(None, jumps=(Jump(1.0, shift), Jump(2.0, halve)))
    assert [*problem.parameters()] == [shift.by]
    assert len(pickle.loads(pickle.dumps(problem)).jumps) == len(copy.deepcopy(problem).jumps) == 2


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (-1.0, "rate must not be negative, got -1"),
        ([1.0, 2.0], "rate must be one number"),
        (None, "rate is None"),
        ("mlp", "rate is an MLP"),
        (lambda t, u, z: u[:, 0], "only the effect of a jump has marks"),
    ],
)
def test_refused_rates(rate, message):
    with pytest.raises(ValueError, match=message):
        Jump(rate, halve)


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (lambda t, u: u, r"jumps\[0\].rate must return shape \(4,\)"),
        (lambda t, u: u[:, 0] - 0.25, r"jumps\[0\].rate must be finite and not negative: it is -0.25 at t = 0"),
        (lambda t, u: 10.0 * t, r"jumps\[0\].rate exceeds its bound 5: it is 6.66667 at t = 0.666667"),
    ],
)
def test_refused_values_of_rates(rate, message):
    with pytest.raises(ValueError, match=message):
        Problem(None, jumps=[Jump(rate, halve, bound=5.0)]).check(T, U)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"affect": None}, "affect is None"),
        ({"affect": "mlp"}, "affect is an MLP"),
        ({"affect": lambda u: u}, "affect must take the arguments"),
        ({"bound": 0.0}, "bound must be a positive number"),
        ({"bound": float("inf")}, "bound must be a positive number"),
        ({"marks": 3.0}, "marks must be a function"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Jump(1.0, **{"affect": halve, **arguments})


def test_an_affect_keeps_the_shape_of_the_state():
    with pytest.raises(ValueError, match=r"jumps\[0\].affect must return shape \(4, 2\)"):
        Problem(None, jumps=[Jump(1.0, lambda t, u: u[:, :1])]).check(T, U)


def test_jumps_are_jumps():
    with pytest.raises(ValueError, match="jumps must be a sequence of Jump"):
        Problem(None, jumps=[2.0])
    with pytest.raises(ValueError, match="jumps must be a sequence of Jump"):
        Problem(None, jumps=Jump(1.0, halve))
