"""Which arguments a coefficient is called with."""

import functools

import pytest
import torch

from skneuralde.terms import Known, UserModule
from skneuralde.terms.signature import extra_arguments


class Callable:
    def __call__(self, t, u, c):
        return -u + c

    def method(self, t, u):
        return -u

    def method_with_context(self, t, u, c):
        return -u + c


class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.ones(()))

    def forward(self, t, u):
        return -self.rate * u


class WithContext(Plain):
    def forward(self, t, u, c, *, gain=2.0):
        return gain * c - self.rate * u


class WithOptions(Plain):
    def forward(self, t, u, damping=1.0, *, gain=2.0):
        return -gain * damping * self.rate * u


def f(t, u, c, k):
    return k * u + c


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda t, u: u, False),
        (lambda x, y: y, False),
        (lambda t, u, c: u, True),
        (lambda t, u, c=None: u, True),
        (lambda t, u, k=2.0: u, False),
        (lambda t, u, *, k=2.0: u, False),
        (lambda t, u, c, k=2.0: u, True),
        (lambda *arguments: arguments[1], False),
        (lambda t, *others: others[0], False),
        (functools.partial(f, k=3.0), True),
        (functools.partial(f, c=1.0, k=3.0), False),
        (functools.partial(lambda k, t, u: k * u, 2.0), False),
        (Callable(), True),
        (Callable().method, False),
        (Callable().method_with_context, True),
        (Plain().forward, False),
        (WithContext().forward, True),
        (WithOptions().forward, False),
        (torch.add, False),
    ],
)
def test_signatures(function, expected):
    assert extra_arguments(function, "drift") == (("c",) if expected else ())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda u: u, r"drift must take the arguments \(t, u\) or \(t, u, c\); its signature is \(u\)"),
        (lambda u, t: u, "time first"),
        (lambda u, p, t: u, "Give t a default"),
        (lambda t, u, z: u, "mark of a jump"),
        (lambda t, u, c, z: u, "mark of a jump"),
        (lambda t, u, k: u, "Give k a default, or bind it with functools.partial"),
        (lambda t, u, c, k: u, "Give k a default"),
        (lambda t, u, k=1.0, c=None: u, "c .* by that name"),
        (lambda t, u, *, k: u, "Give k a default"),
        (functools.partial(f, c=1.0), "Give k a default"),
        (torch.nn.Linear(2, 2).forward, r"must take the arguments \(t, u\)"),
    ],
)
def test_refused_signatures(function, message):
    with pytest.raises(ValueError, match=message):
        extra_arguments(function, "drift")


def test_calls_follow_the_signature():
    t, u, c = torch.zeros(3, 1), torch.ones(3, 2), torch.full((3, 2), 5.0)
    assert torch.equal(Known(Callable().method, "drift")(t, u, c), -u)
    assert torch.equal(Known(Callable(), "drift")(t, u, c), c - u)
    assert torch.equal(Known(functools.partial(f, k=3.0), "drift")(t, u, c), 3 * u + c)
    assert torch.equal(UserModule(WithContext(), "drift")(t, u, c), 2 * c - u)
    assert torch.equal(UserModule(WithOptions(), "drift")(t, u, c), -2 * u)


def test_missing_context_is_named():
    with pytest.raises(ValueError, match="drift takes c, but there are neither context nor controls"):
        Known(Callable(), "drift")(torch.zeros(3, 1), torch.ones(3, 2))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda t, u: u, ()),
        (lambda t, u, z: u, ("z",)),
        (lambda t, u, c: u, ("c",)),
        (lambda t, u, c, z: u, ("c", "z")),
        (lambda t, u, z, k=1.0: u, ("z",)),
    ],
)
def test_effects_of_jumps_may_take_their_mark(function, expected):
    assert extra_arguments(function, "affect", accepted=("c", "z")) == expected


@pytest.mark.parametrize("function", [lambda t, u, z, c: u, lambda t, u, mark: u, lambda t, u, c, k, z: u])
def test_refused_effects_of_jumps(function):
    with pytest.raises(ValueError, match=r"affect is called as .*\(t, u, c, z\)"):
        extra_arguments(function, "affect", accepted=("c", "z"))
