"""`check_solver` passes methods that keep the contract, and names the check that a broken one fails."""

import copy

import pytest
import torch

from skneuralde.solvers import Solver, Step, Stepper, get_solver
from skneuralde.solvers.methods.euler import Euler
from skneuralde.solvers.methods.milstein import Milstein
from skneuralde.solvers.methods.runge_kutta.pairs import BogackiShampine
from skneuralde.testing import check_solver
from skneuralde.testing.local_errors import check_strong_order


def change(values, place):
    """Nested tuples with the entry at a place changed by 1e-3."""
    i, *rest = place
    value = change(values[i], rest) if rest else values[i] + 1e-3
    return (*values[:i], value, *values[i + 1 :])


def with_coefficient_off(name, field, *place):
    """A method with one coefficient changed, past its tableau's check of itself."""
    solver = copy.copy(get_solver(name))
    tableau = object.__new__(type(solver.tableau))
    for other in tableau.__dataclass_fields__:
        object.__setattr__(tableau, other, getattr(solver.tableau, other))
    object.__setattr__(tableau, field, change(getattr(tableau, field), place))
    solver.tableau = tableau
    return solver


@pytest.mark.parametrize("name", ["bs3", "tsit5", "platen", "sra1", "torchdiffeq:rk4"])
def test_methods_of_the_registry_pass(name):
    assert check_solver(name) is None


@pytest.mark.parametrize(
    ("name", "field", "place", "check"),
    [
        ("bs3", "nodes", (0,), "order without noise"),
        ("bs3", "matrix", (1, 1), "order without noise"),
        ("bs3", "matrix", (2, 0), "order without noise"),
        ("bs3", "error", (3,), "order of the error estimate"),
        ("bs3", "dense", (1, 1), "order of the dense output"),
        ("tsit5", "nodes", (1,), "order without noise"),
        ("tsit5", "matrix", (0, 0), "order without noise"),
        ("tsit5", "matrix", (5, 1), "order without noise"),
        ("tsit5", "error", (0,), "order of the error estimate"),
        ("tsit5", "dense", (6, 3), "order of the dense output"),
    ],
)
def test_a_coefficient_that_is_slightly_wrong_fails(name, field, place, check):
    with pytest.raises(AssertionError, match=f"solver '{name}' fails the check '{check}'"):
        check_solver(with_coefficient_off(name, field, *place))


SRI_PLACES = [
    *(("c0", (0,)), ("c1", (1,)), ("A0", (1, 1)), ("B0", (2, 0)), ("A1", (0, 0)), ("B1", (1, 1))),
    *(("alpha", (3,)), ("beta2", (0,)), ("beta3", (2,)), ("beta4", (1,))),
]
SRA_PLACES = [("c0", (0,)), ("c1", (0,)), ("A0", (0, 0)), ("B0", (0, 0)), ("alpha", (1,)), ("beta1", (0,))]


@pytest.mark.parametrize(
    ("name", "field", "place"),
    [*(("sosri2", *entry) for entry in SRI_PLACES), *(("sra1", *entry) for entry in SRA_PLACES)],
)
def test_a_coefficient_of_a_stochastic_method_that_is_slightly_wrong_shows_in_one_step(name, field, place):
    with pytest.raises(AssertionError, match=r"needs a local error with a (root mean square|mean) of order"):
        check_strong_order(with_coefficient_off(name, field, *place))


def test_the_message_says_what_was_expected_and_measured():
    with pytest.raises(
        AssertionError, match=r"'sra1' fails the check 'strong order of one step'.* of order 2\.0, measured 0\.\d"
    ):
        check_solver(with_coefficient_off("sra1", "B0", 0, 0))


class BoastfulEuler(Euler):
    """States an order that the method does not have."""

    order = 2


class BoastfulMilstein(Milstein):
    strong_order = 1.5


class Nameless(BogackiShampine):
    """Does not state its name."""

    name = ""


class RandomEuler(Euler):
    """Uses the global random state."""

    def step(self, inputs):
        torch.rand(1)
        return super().step(inputs)


class CrowdedEuler(Euler):
    """A path depends on the other paths."""

    def step(self, inputs):
        step = super().step(inputs)
        return Step(step.u1 + 1e-14 * step.u1.mean(0))


class DoubleEuler(Euler):
    """Returns float64, whatever it gets."""

    def step(self, inputs):
        return Step(super().step(inputs).u1.double())


class EarlyEuler(Euler):
    """Evaluates the drift before the start of the step."""

    def step(self, inputs):
        drift = inputs.rhs.problem.drift(inputs.t.to(inputs.u.dtype) - 1e-3, inputs.u, None)
        return Step(super().step(inputs).u1 + 0.0 * drift)


class DetachedEuler(Euler):
    """Loses the gradient."""

    def step(self, inputs):
        return Step(super().step(inputs).u1.detach() + 0.0 * inputs.u)


class ForgetfulPair(BogackiShampine):
    """Leaves the slope at the start of the step for the next one."""

    def step(self, inputs):
        step = super().step(inputs)
        return step._replace(solver_state=step.stages[0] / inputs.h)


class UnevenPair(BogackiShampine):
    """Starts with a slope that is wrong after a jump."""

    def start_state(self, rhs, t, u, f=None):
        return super().start_state(rhs, t, u, f) * (1.0 if f is None else 1.001)


class Stubborn(Stepper):
    """Cannot make a step."""

    name, reference, order = "stubborn", "none", 1

    def step(self, inputs):
        raise RuntimeError("not today")


@pytest.mark.parametrize(
    ("solver", "check"),
    [
        (BoastfulEuler, "order without noise"),
        (BoastfulMilstein, "strong order of one step"),
        (Nameless, "facts"),
        (RandomEuler, "random state"),
        (CrowdedEuler, "batch independence"),
        (DoubleEuler, "dtype and far times"),
        (EarlyEuler, "interval of integration"),
        (DetachedEuler, "gradient"),
        (ForgetfulPair, "order without noise"),
        (UnevenPair, "solver state"),
        (Stubborn, "order without noise': it raised RuntimeError: not today"),
    ],
)
def test_a_broken_method_fails_the_check_that_it_breaks(solver, check):
    with pytest.raises(AssertionError, match=f"fails the check '{check}"):
        check_solver(solver())


class DiagonalMilstein(Milstein):
    """Treats diagonal noise alone."""

    name, noise_kinds = "diagonal_milstein", ("diagonal",)


def test_a_method_for_diagonal_noise_alone_passes():
    check_solver(DiagonalMilstein())


def test_facts_must_be_consistent():
    for facts, message in [
        ({"noise_kinds": ("white",)}, "noise_kinds must hold some of"),
        ({"order": None}, "order must be a number"),
        ({"weak_order": None}, "weak_order must be a number"),
        ({"strong_order": 1.0}, "at most 0.5"),
        ({"levy_area": "full"}, "levy_area must be"),
    ]:
        with pytest.raises(AssertionError, match=f"fails the check 'facts': {message}|{message}"):
            check_solver(type("Wrong", (Euler,), facts)())


def test_names_are_looked_up():
    with pytest.raises(ValueError, match="unknown solver 'bs4'"):
        check_solver("bs4")
    assert isinstance(get_solver("bs3"), Solver)
