"""Every way to give a coefficient."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from skneuralde.terms import (
    MLP,
    Constant,
    Inputs,
    Known,
    Network,
    Sum,
    UserModule,
    has_known_units,
    resolve,
    resolve_known,
    trainable,
)


def decay(t, u):
    return -u


class Decay(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, t, u):
        return -self.rate * u


T = torch.zeros(4, 1, dtype=torch.float64)
U = torch.arange(8, dtype=torch.float64).view(4, 2)


def make(spec, shape=(2,), positive=None, default=None, dtype=torch.float64):
    return resolve(
        spec,
        name="drift",
        shape=shape,
        default=default or MLP((3,)),
        inputs=Inputs.unit(2, dtype=dtype),
        output_scale=torch.tensor(2.0),
        positive=positive,
        generator=torch.Generator().manual_seed(0),
    )


def test_none_is_absent():
    assert make(None) is None
    assert resolve_known(None, name="drift") is None


@pytest.mark.parametrize(
    "spec",
    [
        2,
        2.0,
        np.float32(2),
        np.array(2.0),
        torch.tensor(2),
        [2.0, 2.0],
        (2, 2.0),
        [np.float64(2), 2],
        np.array([2, 2]),
        pd.Series([2.0, 2.0]),
        torch.tensor([2.0, 2.0]),
    ],
)
@pytest.mark.parametrize("resolver", [make, lambda spec: resolve_known(spec, name="drift")])
def test_constants(spec, resolver):
    term = resolver(spec)
    assert isinstance(term, Constant)
    assert torch.equal(term(T, U), torch.full_like(U, 2))
    assert not trainable(term)


@pytest.mark.parametrize("spec", [[[1, 0, 2], [0, 1, 2]], np.array([[1, 0, 2], [0, 1, 2.0]])])
def test_matrices_keep_their_shape(spec):
    for term in (make(spec, shape=(2, 2)), resolve_known(spec, name="diffusion")):
        assert term(T, U).shape == (4, 2, 3)


def test_scalar_coefficients():
    assert torch.equal(make(3.0, shape=())(T, U), torch.full((4,), 3.0, dtype=torch.float64))
    assert make("mlp", shape=())(T, U).shape == (4,)


def test_functions():
    term = make(decay)
    assert isinstance(term, Known)
    assert torch.equal(term(T, U), -U)
    assert not trainable(term)


def test_modules_are_copied_and_converted_for_training_only():
    module = Decay()
    term = make(module)
    assert isinstance(term, UserModule)
    assert trainable(term)
    term(T, U).sum().backward()
    assert module.rate.grad is None
    assert module.rate.dtype == torch.float32
    assert next(term.parameters()).dtype == torch.float64

    resolve_known(module, name="drift")(T.float(), U.float()).sum().backward()
    assert module.rate.grad is not None


def test_a_frozen_module_is_not_trainable():
    assert not trainable(make(Decay().requires_grad_(False)))


def test_networks():
    ours, named = make(MLP((5, 6), "relu")), make("mlp")
    assert isinstance(ours, Network)
    assert [tuple(layer.weight.shape) for layer in ours.layers] == [(5, 2), (6, 5), (2, 6)]
    assert [tuple(layer.weight.shape) for layer in named.layers] == [(3, 2), (2, 3)]
    assert trainable(ours)
    assert next(make("mlp", dtype=torch.float32).parameters()).dtype == torch.float32


def test_positive_networks():
    assert (make("mlp", positive="softplus")(T, U) > 0).all()
    matrices = make("mlp", shape=(2, 2), positive="cholesky")(T, U)
    assert torch.equal(matrices, matrices.tril())
    assert (matrices.diagonal(dim1=1, dim2=2) > 0).all()
    with pytest.raises(ValueError, match="positive must be one of"):
        make("mlp", positive="exp")


def test_lists_are_sums():
    term = make([decay, 1.0, [3.0, 4.0], np.array([0.0, 1.0]), "mlp"])
    assert isinstance(term, Sum)
    assert [type(part) for part in term.terms] == [Known, Constant, Constant, Constant, Network]
    network = term.terms[4]
    expected = -U + 1 + torch.tensor([3.0, 5.0], dtype=torch.float64) + network(T, U)
    torch.testing.assert_close(term(T, U), expected)
    assert trainable(term)


def test_terms_pass_through():
    """An estimator trains a copy, as of any module; a problem takes it as it is."""
    term = Known(decay, "drift")
    assert make(term) is not term
    assert make(term).function is decay
    assert make([term, 1.0]).terms[0] is not term
    assert resolve_known(term, name="drift") is term


@pytest.mark.parametrize("resolver", [make, lambda spec: resolve_known(spec, name="drift")])
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mpl", "drift='mpl' is not known; the only string is \"mlp\""),
        ([decay, "mpl"], r"drift\[1\]='mpl'"),
        ([], "empty list"),
        ([decay, None], r"drift\[1\] is None"),
        ([decay, [decay, 1.0]], r"drift\[1\] is .* no term of a sum"),
        (MLP, r"pass an instance, MLP\(...\)"),
        (Decay, r"pass an instance, Decay\(...\)"),
        ({"rate": 1}, "drift is a dict. Expected None, a number"),
        (1 + 2j, "drift is a complex"),
        (np.array([1j, 2]), "real numbers, got dtype complex128"),
        (np.array(["a", "b"]), "real numbers"),
        (True, "real numbers"),
        (np.ones((2, 2, 2)), r"at most two axes, got shape \(2, 2, 2\)"),
        (float("nan"), r"drift must be finite, got nan at index \(\)"),
        ([1.0, np.inf], r"drift must be finite, got inf at index \(1,\)"),
        (torch.ones(2, requires_grad=True), "give a Parameter, or wrap it in a torch.nn.Module"),
        (lambda t, u, z: u, "drift takes z"),
        ([1.0, lambda u: u], r"drift\[1\] must take"),
        (torch.nn.Linear(2, 2), "drift must take"),
    ],
)
def test_what_is_refused(resolver, spec, message):
    with pytest.raises(ValueError, match=message):
        resolver(spec)


@pytest.mark.parametrize("spec", ["mlp", MLP(), [decay, MLP()]])
def test_a_problem_takes_no_mlp(spec):
    with pytest.raises(ValueError, match="is an MLP, whose inputs are scaled by data: give it to an estimator"):
        resolve_known(spec, name="drift")


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ([1.0, 2.0, 3.0], (2,), r"drift must have shape \(2,\) or be a number, got \(3,\)"),
        ([1.0], (2,), r"or be a number, got \(1,\)"),
        (1.0, (2, 2), r"must have shape \(2, 2\), got \(\)"),
        ([[1.0, 2.0, 3.0]], (2, 2), r"got \(1, 3\)"),
        ([1.0, 2.0], (), r"got \(2,\)"),
    ],
)
def test_constants_of_the_wrong_shape(spec, shape, message):
    with pytest.raises(ValueError, match=message):
        make(spec, shape=shape)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, False),
        ("mlp", False),
        (MLP(), False),
        (["mlp", MLP()], False),
        (0.5, True),
        ([0.5, 1.0], True),
        (np.ones(2), True),
        (decay, True),
        (Decay(), True),
        (["mlp", decay], True),
    ],
)
def test_known_units(spec, expected):
    assert has_known_units(spec) is expected


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda term: pickle.loads(pickle.dumps(term))])
def test_mixed_equations_can_be_copied(duplicate):
    term = make([decay, 1.0, Decay(), "mlp"])
    twin = duplicate(term)
    torch.testing.assert_close(twin.linearize(T, U), term.linearize(T, U), rtol=0, atol=0)
    assert {p.data_ptr() for p in twin.parameters()}.isdisjoint(p.data_ptr() for p in term.parameters())


def test_terms_move_to_another_dtype():
    term = make([decay, 1.0, Decay(), "mlp"]).to(torch.float32)
    value, jacobian = term.linearize(T.float(), U.float())
    assert value.dtype == jacobian.dtype == torch.float32
