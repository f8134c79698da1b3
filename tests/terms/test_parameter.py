"""`Parameter`: ranges, arithmetic, and the callables that hold parameters."""

import copy
import functools
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from skneuralde import Parameter
from skneuralde.terms import Copies, Known, with_learned

U = torch.tensor([[1.0, 2.0], [-0.5, 3.0]], dtype=torch.float64)
T = torch.zeros(2, 1, dtype=torch.float64)


@given(
    low=st.one_of(st.none(), st.floats(-1e3, 1e3)),
    width=st.one_of(st.none(), st.floats(1e-3, 1e3)),
    place=st.floats(0.01, 0.99),
    moved=st.floats(-20, 20),
)
def test_it_starts_at_its_initial_value_and_stays_in_its_range(low, width, place, moved):
    if width is None:
        bounds, initial = (low, None), (low or 0.0) + place
    else:
        low = low or 0.0
        bounds, initial = (low, low + width), low + place * width
    parameter = Parameter(initial, bounds=bounds)
    assert parameter().item() == pytest.approx(initial, rel=1e-9, abs=1e-9)
    with torch.no_grad():
        parameter.raw.copy_(torch.tensor(moved))
    assert parameter.low <= parameter().item() <= parameter.high


@pytest.mark.parametrize("initial", [1e-300, 3.0, 1e300])
def test_a_positive_one_trains_its_logarithm(initial):
    parameter = Parameter(initial, positive=True)
    assert parameter.raw.item() == pytest.approx(math.log(initial))
    assert parameter().item() == pytest.approx(initial, rel=1e-12)


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_a_free_one_trains_in_units_of_its_initial_value(size):
    parameter = Parameter([2.0 * size, 0.0, -4.0 * size])
    assert parameter.raw.tolist() == pytest.approx([1.0, 0.0, -1.0])
    assert parameter().tolist() == pytest.approx([2.0 * size, 0.0, -4.0 * size])
    with torch.no_grad():
        parameter.raw += 1.0
    assert parameter().tolist() == pytest.approx([4.0 * size, 3.0 * size, 0.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initial": math.nan}, "must be a finite real number or an array, got nan"),
        ({"initial": math.inf}, "must be a finite real number"),
        ({"initial": "fast"}, "must be a finite real number"),
        ({"initial": 1j}, "must be a finite real number"),
        ({"initial": []}, "must be a finite real number"),
        ({"initial": Parameter(1.0)}, "must be a finite real number"),
        ({"initial": 0.0, "positive": True}, "must be positive, got 0.0"),
        ({"initial": [1.0, -1.0], "positive": True}, r"must be positive, got \[1.0, -1.0\]"),
        ({"initial": 2.0, "bounds": (0.0, 1.0)}, "must be between 0 and 1, got 2.0"),
        ({"initial": 1.0, "bounds": (0.0, 1.0)}, "must be between 0 and 1, got 1.0"),
        ({"initial": 0.5, "bounds": (1.0, 0.0)}, "bounds must be in order"),
        ({"initial": 0.5, "bounds": (math.nan, 1.0)}, "bounds must be in order"),
        ({"initial": 0.5, "bounds": 1.0}, "bounds must be two numbers"),
        ({"initial": 0.5, "bounds": (0.0, "high")}, "bounds must be two numbers"),
        ({"initial": 0.5, "positive": True, "bounds": (-1.0, 1.0)}, "positive=True contradicts bounds"),
        ({"initial": -0.5, "positive": True, "bounds": (None, 0.0)}, "positive=True contradicts bounds"),
        ({"initial": 0.5, "positive": "yes"}, "positive must be True or False"),
        ({"initial": 0.5, "unit": 3}, "unit must be a string"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Parameter(**arguments)


def test_it_stands_for_its_value():
    k, ks = Parameter(0.3, positive=True), Parameter([1.0, 2.0])
    value, values = k(), ks()
    pairs = [
        (-k * U, -value * U), (U * k, U * value), (1 - k, 1 - value), (U / k, U / value), (2**k, 2**value),
        (k**2, value**2), (ks @ U.T, values @ U.T), (U @ ks, U @ values), (ks[1], values[1]),
        (torch.stack([k, k]), torch.stack([value, value])), (torch.exp(k), value.exp()), (k < 1, value < 1),
        (torch.where(k < U, U, k), torch.where(value < U, U, value)),
        (abs(k), value), (+k, value), (torch.add(U, k, alpha=2), torch.add(U, value, alpha=2)),
    ]  # fmt: skip
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert (ks * U.float()).dtype == torch.float32
    assert float(k) == pytest.approx(0.3)
    assert repr(Parameter(0.3, positive=True, unit="1/h")) == "Parameter(0.3, positive=True, unit='1/h')"


def test_copies_and_clones():
    k = Parameter(torch.tensor([0.3, 0.4]), bounds=(0, 1), unit="m")
    assert clone(k) is k
    for twin in (copy.deepcopy(k), pickle.loads(pickle.dumps(k))):
        torch.testing.assert_close(twin(), k())
        assert (twin.unit, twin.low, twin.high) == ("m", 0.0, 1.0)
        assert twin.raw is not k.raw


class Held:
    def __init__(self, k):
        self.k = k

    def __call__(self, t, u):
        return -self.k * u

    def method(self, t, u):
        return -self.k * u


class Module(torch.nn.Module):
    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, t, u):
        return -self.k * u

    method = forward


class WithDefault(torch.nn.Module):
    def __init__(self, k):
        super().__init__()
        self.given = k

    def forward(self, t, u, k=None):
        return -k * u


def decay(t, u, k):
    return -k * u


def keywords(t, u, **given):
    return -given["k"] * u


def forms(k):
    """Callables that hold a parameter, with the name that it gets."""

    def positional(t, u, k=k, /):
        return -k * u

    def keyword_only(t, u, *, k=k):
        return -k * u

    def before_context(t, u, k=k, c=None):
        return -k * u + (0.0 if c is None else 0.0 * c)

    def anything(*arguments, k=k):
        return -k * arguments[1]

    return {
        "default": (lambda t, u, k=k: -k * u, "k"),
        "a name of inputs": (lambda t, u, c=k: -c * u, "c"),
        "after another": (lambda t, u, scale=1.0, k=k: -scale * k * u, "k"),
        "in a list": (lambda t, u, ks=(k, 2.0): -ks[0] * u, "ks[0]"),
        "in a dict": (lambda t, u, ks={"a": [k]}: -ks["a"][0] * u, "ks['a'][0]"),
        "positional": (positional, "k"),
        "keyword only": (keyword_only, "k"),
        "before context": (before_context, "k"),
        "anything": (anything, "k"),
        "partial": (functools.partial(decay, k=k), "k"),
        "partial, by position": (functools.partial(lambda k, t, u: -k * u, k), "k"),
        "partial of a partial": (functools.partial(functools.partial(lambda s, t, u, k: -s * k * u, 1.0), k=k), "k"),
        "partial of keywords": (functools.partial(keywords, k=k), "k"),
        "partial of a module": (functools.partial(WithDefault(1.0), k=k), "k"),
        "attribute": (Held(k), "drift.k"),
        "method": (Held(k).method, "drift.k"),
        "module": (Module(k), "drift.k"),
        "method of a module": (Module(k).method, "drift.k"),
    }


@pytest.mark.parametrize("form", forms(1.0))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", [lambda: Parameter(0.3), lambda: torch.nn.Parameter(torch.tensor(0.3).double())])
def test_every_form_is_found_called_and_copied(form, dtype, make):
    k = make()
    function, name = forms(k)[form]
    u = U.to(dtype)
    learned = with_learned(function)
    assert [id(p) for p in learned.parameters()] == [id(k.raw if isinstance(k, Parameter) else k)]
    inputs = T.to(dtype), u, torch.zeros_like(u)
    result = Known(function, "drift")(*inputs)
    torch.testing.assert_close(result, -0.3 * u)
    assert torch.autograd.grad(result.sum(), learned.parameters())[0].item() != 0.0
    copies = Copies()
    own = copies.of(function, "drift", dtype)
    assert {label: float(number) for label, number in copies.numbers.items()} == (
        {name: pytest.approx(0.3)} if isinstance(k, Parameter) else {}
    )
    with torch.no_grad():
        for p in own.parameters():
            p.mul_(2.0)
    torch.testing.assert_close(Known(own, "drift")(*inputs), -0.6 * u)
    torch.testing.assert_close(Known(function, "drift")(*inputs), -0.3 * u)


def test_copies_are_shared_and_names_are_unique():
    k, copies = Parameter(0.3), Copies()
    first = copies.of(lambda t, u, k=k: -k * u, "drift", torch.float32)
    second = copies.of([Module(k), k], "diffusion", torch.float32)
    assert next(first.parameters()) is next(second[0].parameters()) is second[1].raw
    assert list(copies.numbers) == ["k"]
    assert k.raw.dtype == torch.float64
    with pytest.raises(ValueError, match=r"two different parameters have the name 'k', Parameter\(0.3\) and"):
        copies.of(lambda t, u, k=Parameter(1.0): -k * u, "jump_rate", torch.float32)
    with pytest.raises(ValueError, match=r"the name 'diffusion\[1\]'"):
        copies.of([1.0, Parameter(1.0)], "diffusion", torch.float32)


def test_other_callables_stay_as_they_are():
    for function in (decay, functools.partial(decay, k=1.0), np.sin, Held(1.0), Module(1.0), Held(1.0).method):
        assert with_learned(function) is function
