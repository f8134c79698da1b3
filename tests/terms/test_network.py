"""Values, scaling and start of the package's own network."""

import copy
import dataclasses
import pickle

import pytest
import torch

from skneuralde.terms import MLP, Inputs, Network
from skneuralde.terms.activations import ACTIVATIONS
from skneuralde.terms.base import CentralDifferences, Term
from skneuralde.terms.derivatives import value_and_jacobian

BATCH = 7
POSITIVE = [(None, (2,)), ("softplus", (2,)), ("cholesky", (2, 2)), (None, ()), (None, (3,))]


def cube(u):
    return u**3


def products(u):
    return torch.stack([u[:, 0] * u[:, 1], u[:, 0].sin(), u[:, 1] ** 2], -1)


def scaled_inputs(dtype=torch.float64, sees=("time", "state", "context", "controls")):
    """Two states, two context columns and one control, none of them centred."""
    inputs = Inputs.unit(2, n_context=2, n_controls=1, sees=sees, dtype=dtype)
    return dataclasses.replace(
        inputs,
        time=(3.0, 2.0),
        state_loc=torch.tensor([1.0, -2.0], dtype=dtype),
        state_scale=torch.tensor([0.5, 3.0], dtype=dtype),
        context_loc=torch.tensor([0.1, 0.2, 0.3], dtype=dtype),
        context_scale=torch.tensor([2.0, 3.0, 4.0], dtype=dtype),
    )


def points(dtype=torch.float64, batch=BATCH, dim=2, k=3):
    generator = torch.Generator().manual_seed(1)
    t, u, c = (torch.randn(batch, n, generator=generator, dtype=torch.float64).to(dtype) for n in (1, dim, k))
    return t, u, c


def make(mlp=None, inputs=None, shape=(2,), positive=None, scale=None, seed=0):
    inputs = scaled_inputs() if inputs is None else inputs
    if scale is None:
        scale = torch.full(shape, 3.0)
    generator = torch.Generator().manual_seed(seed)
    return Network(mlp or MLP((20,)), inputs, scale, positive=positive, generator=generator, name="drift")


def disturb(network, size=1.0):
    """Move all parameters away from their small start, so that a wrong Jacobian cannot hide."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator, dtype=p.dtype) / p.shape[-1] ** 0.5)
    return network


def differences(term, t, u, c, step=1e-6):
    """The Jacobian by central differences."""
    columns = []
    for direction in torch.eye(u.shape[-1], dtype=u.dtype):
        columns.append((term(t, u + step * direction, c) - term(t, u - step * direction, c)) / (2 * step))
    return torch.stack(columns, -1)


@pytest.mark.parametrize("hidden", [(), (9,), (9, 6), (5, 6, 7)])
@pytest.mark.parametrize(("positive", "shape"), POSITIVE)
def test_jacobian_against_finite_differences(hidden, positive, shape):
    network = disturb(make(MLP(hidden), shape=shape, positive=positive))
    t, u, c = points()
    value, jacobian = network.linearize(t, u, c)
    assert value.shape == (BATCH, *shape)
    assert jacobian.shape == (BATCH, *shape, 2)
    torch.testing.assert_close(value, network(t, u, c))
    torch.testing.assert_close(jacobian, differences(network, t, u, c), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("features", [None, cube, products])
def test_jacobian_of_every_activation_and_of_features(activation, features):
    network = disturb(make(MLP((8, 4), activation=activation, features=features)))
    t, u, c = points()
    value, jacobian = network.linearize(t, u, c)
    expected_value, expected = value_and_jacobian(lambda v: network(t.repeat(2, 1), v, c.repeat(2, 1)), u)
    torch.testing.assert_close(value, expected_value)
    torch.testing.assert_close(jacobian, expected)
    torch.testing.assert_close(jacobian, differences(network, t, u, c), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("positive", "shape"), POSITIVE[:3])
@pytest.mark.parametrize("features", [None, cube])
def test_jacobian_can_be_differentiated_again(positive, shape, features):
    network = disturb(make(MLP((6,), features=features), shape=shape, positive=positive))
    t, u, c = points(batch=3)
    names, values = zip(*network.named_parameters(), strict=True)

    class Linearized(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, *arguments):
            return self.network.linearize(*arguments)

    def linearize(u, *tensors):
        changed = {f"network.{name}": tensor for name, tensor in zip(names, tensors, strict=True)}
        return torch.func.functional_call(Linearized(), changed, (t, u, c))

    arguments = (u.requires_grad_(), *[v.detach().requires_grad_() for v in values])
    assert torch.autograd.gradcheck(linearize, arguments)


def test_scaling_is_inside():
    """A network of scaled inputs is the unit network of inputs scaled by hand."""
    inputs = scaled_inputs()
    unit = Inputs.unit(2, n_context=2, n_controls=1, sees=inputs.sees)
    t, u, c = points()
    by_hand = make(inputs=unit, scale=torch.ones(2))(
        (t - 3) / 2,
        (u - inputs.state_loc) / inputs.state_scale,
        (c - inputs.context_loc) / inputs.context_scale,
    )
    scale = torch.tensor([5.0, 7.0])
    torch.testing.assert_close(make(scale=scale)(t, u, c), by_hand * scale)


@pytest.mark.parametrize(
    ("sees", "time", "state", "context", "controls"),
    [
        (("time",), True, False, False, False),
        (("state",), False, True, False, False),
        (("context",), False, False, True, False),
        (("controls",), False, False, False, True),
        (("state", "controls"), False, True, False, True),
        (("context", "controls"), False, False, True, True),
    ],
)
def test_sees_only_what_it_may(sees, time, state, context, controls):
    network = disturb(make(inputs=scaled_inputs(sees=sees)))
    t, u, c = points()
    base = network(t, u, c)
    only_context, only_controls = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    assert time == (not torch.equal(network(t + 1, u, c), base))
    assert state == (not torch.equal(network(t, u + 1, c), base))
    assert context == (not torch.equal(network(t, u, c + only_context), base))
    assert controls == (not torch.equal(network(t, u, c + only_controls), base))
    assert network.state_dependent == state


def test_features_are_seen_without_the_state():
    network = make(MLP(features=cube), scaled_inputs(sees=("controls",)))
    t, u, c = points()
    assert network.state_dependent
    assert not torch.equal(network(t, u, c), network(t, u + 1, c))


def test_a_state_that_is_not_seen_has_no_slope():
    network = make(inputs=scaled_inputs(sees=("context",)))
    value, jacobian = network.linearize(*points())
    assert value.shape == (BATCH, 2)
    assert torch.equal(jacobian, torch.zeros(BATCH, 2, 2, dtype=value.dtype))


def test_a_network_that_sees_nothing_is_a_learned_constant():
    network = make(inputs=Inputs.unit(2, sees=()), positive="softplus")
    t, u, _ = points()
    value = network(t, u)
    torch.testing.assert_close(value, torch.full_like(u, 3.0))
    value.sum().backward()
    (bias,) = (p for p in network.parameters() if p.numel())
    assert (bias.grad > 0).all()


def test_fresh_drift_is_small():
    inputs = Inputs.unit(2)
    _, u, _ = points(batch=500)
    sizes = [make(MLP(), inputs, scale=torch.full((2,), 5.0), seed=s)(u[:, :1], u).square().mean() for s in range(20)]
    size = torch.stack(sizes).mean().sqrt().item() / 5
    assert 0.03 < size < 0.15


def test_fresh_diffusion_is_its_scale_and_positive():
    scale = torch.tensor([0.1, 7.0])
    t, u, c = points(batch=100)
    value = make(scale=scale, positive="softplus")(t, u, c)
    assert (value > 0).all()
    torch.testing.assert_close(value / scale, torch.ones_like(value), rtol=0.3, atol=0)


def test_positive_outputs_never_vanish():
    network = make(scale=torch.tensor([0.1, 7.0]), positive="softplus")
    torch.nn.init.constant_(network.layers[-1].bias, -1e4)
    value = network(*points())
    torch.testing.assert_close(value, 1e-4 * torch.tensor([0.1, 7.0], dtype=torch.float64).expand_as(value))


def test_cholesky_factor():
    scale = torch.tensor([[0.1, 0.0], [0.0, 7.0]])
    value = make(scale=scale, positive="cholesky")(*points())
    assert torch.equal(value, value.tril())
    diagonal = value.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(diagonal / scale.diagonal(), torch.ones_like(diagonal), rtol=0.3, atol=0)
    assert (value[:, 1, 0] != 0).all()
    assert (value[:, 1, 0].abs() < 0.5 * 7).all()
    with pytest.raises(ValueError, match="square"):
        make(scale=torch.ones(2, 3), positive="cholesky")


def test_weights_come_from_the_generator_alone():
    before = torch.random.get_rng_state()
    first, second, other = make(seed=3), make(seed=3), make(seed=4)
    assert torch.equal(before, torch.random.get_rng_state())
    arguments = points()
    assert torch.equal(first(*arguments), second(*arguments))
    assert not torch.equal(first(*arguments), other(*arguments))


def test_both_precisions_start_from_the_same_network():
    double = make()(*points())
    single = make(inputs=scaled_inputs(torch.float32))(*points(torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, double.float(), rtol=1e-5, atol=1e-5)


def test_features_are_scaled_by_the_sample_of_states():
    sample = torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 100 + 1000
    inputs = dataclasses.replace(Inputs.unit(2), state_sample=sample)
    columns = make(MLP(features=cube), inputs).columns
    x = columns(sample[:, :1], columns.state_input(sample), None)
    torch.testing.assert_close(x.mean(0), torch.zeros(2, dtype=x.dtype), atol=1e-10, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(2, dtype=x.dtype))


def test_constant_features_keep_their_scale():
    columns = make(MLP(features=lambda u: torch.full_like(u, 0.1)), Inputs.unit(2)).columns
    _, u, _ = points()
    assert columns(u[:, :1], columns.state_input(u), None).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            lambda u: u.sum(-1),
            r"features of drift must turn a state of shape \(33, 2\).*\(33, n_features\), got \(33,\)",
        ),
        (lambda u: 1.0, "got float"),
        (lambda u: u.float(), "dtype"),
        (lambda u: u.log(), r"not finite at u = \[-2.0, -2.0\]"),
        ("cube", "must be a function"),
    ],
)
def test_bad_features_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        make(MLP(features=features))


@pytest.mark.parametrize(
    ("mlp", "message"),
    [
        (MLP((5, 0)), "hidden_layer_sizes of drift must be positive integers"),
        (MLP((5.0,)), "hidden_layer_sizes"),
        (MLP(activation="tahn"), "activation of drift must be one of .*'tahn'"),
    ],
)
def test_bad_settings_are_refused(mlp, message):
    with pytest.raises(ValueError, match=message):
        make(mlp)


def test_missing_context_is_named():
    t, u, _ = points()
    with pytest.raises(ValueError, match="drift sees context or controls"):
        make()(t, u)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda term: pickle.loads(pickle.dumps(term))])
def test_copies_are_independent(duplicate):
    network = disturb(make(MLP(features=cube), shape=(2, 2), positive="cholesky"))
    twin = duplicate(network)
    arguments = points()
    torch.testing.assert_close(twin.linearize(*arguments), network.linearize(*arguments), rtol=0, atol=0)
    disturb(twin)
    assert not torch.equal(twin(*arguments), network(*arguments))


def test_a_features_module_is_copied():
    features = torch.nn.Linear(2, 4)
    network = make(MLP(features=features))
    network(*points()).sum().backward()
    assert features.weight.grad is None
    assert features.weight.dtype == torch.float32


def test_moves_to_another_dtype():
    network = make(MLP(features=cube), shape=(2, 2), positive="cholesky").to(torch.float32)
    value, jacobian = network.linearize(*points(torch.float32))
    assert value.dtype == jacobian.dtype == torch.float32


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_linearizes_without_gradients(mode):
    network = disturb(make(MLP((5,), features=cube)))
    expected = network.linearize(*points())
    with mode():
        value, jacobian = network.linearize(*points())
    assert not jacobian.requires_grad
    torch.testing.assert_close((value, jacobian), expected)


def test_mlp_is_a_parameter_object():
    mlp = MLP((5,)).set_params(activation="relu")
    assert mlp.get_params() == {"hidden_layer_sizes": (5,), "activation": "relu", "features": None, "inputs": None}


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu", "silu", "softplus"])
@pytest.mark.parametrize("hidden", [(), (7,), (6, 5)])
@pytest.mark.parametrize("positive", [None, "softplus", "cholesky"])
def test_second_order_against_sigma_points(activation, hidden, positive):
    """In one dimension networks know two derivatives; the general way takes differences of values."""
    generator = torch.Generator().manual_seed(3)
    scale = torch.full((1, 1) if positive == "cholesky" else (1,), 1.7, dtype=torch.float64)
    mlp = MLP(hidden or (1,), activation if hidden else "identity")
    network = Network(mlp, Inputs.unit(1), scale, positive=positive, generator=generator, name="g")
    with torch.no_grad():
        network.layers[-1].weight.mul_(30)
    u = torch.linspace(-1.3, 1.4, 9, dtype=torch.float64)[:, None]
    t = torch.zeros_like(u)
    directions = torch.tensor([0.02, -0.01], dtype=torch.float64).expand(9, 2)[..., None]
    exact = network.expand(t, u)
    assert not isinstance(exact, CentralDifferences)
    rough = Term.expand(network, t, u)
    torch.testing.assert_close(exact.value, rough.value)
    for known, found in zip(exact.along(directions), rough.along(directions), strict=True):
        torch.testing.assert_close(known, found, rtol=1e-3, atol=2e-7)


@pytest.mark.parametrize("features", [None, products])
@pytest.mark.parametrize("activation", ["logistic", "tanh", "silu", "softplus"])
@pytest.mark.parametrize("hidden", [(7,), (6, 5)])
@pytest.mark.parametrize(("positive", "shape"), POSITIVE)
def test_curvature_against_differences_of_jacobians(features, activation, hidden, positive, shape):
    network = disturb(make(MLP(hidden, activation, features=features), shape=shape, positive=positive))
    t, u, c = points()
    cov = torch.randn(BATCH, 2, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    cov = cov + cov.mT
    value, jacobian, bend = network.curvature(t, u, c, cov)
    torch.testing.assert_close((value, jacobian), network.linearize(t, u, c))
    step, total = 1e-5, torch.zeros_like(value)
    for i, direction in enumerate(torch.eye(2, dtype=u.dtype)):
        above, below = (network.linearize(t, u + sign * step * direction, c)[1] for sign in (1.0, -1.0))
        total += ((above - below) / (2 * step) * cov[:, i].view(BATCH, *[1] * len(shape), 2)).sum(-1)
    torch.testing.assert_close(bend, total, rtol=1e-5, atol=1e-6)


def test_curvature_of_a_network_that_sees_no_state():
    network = disturb(make(inputs=scaled_inputs(sees=("time", "context"))))
    _, jacobian, bend = network.curvature(*points(), torch.ones(BATCH, 2, 2, dtype=torch.float64))
    assert not jacobian.any()
    assert not bend.any()


def test_a_network_may_see_less_than_the_others():
    t, u, c = points()
    network = disturb(make(MLP((5,), inputs=("controls",))))
    assert torch.equal(network(t, u, c), network(t + 1, u - 3, c * torch.tensor([5.0, 5.0, 1.0])))
    assert not torch.equal(network(t, u, c), network(t, u, c + 1))
    assert not network.state_dependent


def test_an_mlp_without_inputs_is_a_learned_constant():
    network = disturb(make(MLP(inputs=())))
    assert sum(p.numel() for p in network.parameters()) == 2
    value = network(*points())
    assert torch.equal(value, value[:1].expand_as(value))


@pytest.mark.parametrize(
    ("inputs", "message"), [("state", "inputs of drift must be a sequence"), (["level"], "inputs must be among")]
)
def test_refused_inputs_of_a_network(inputs, message):
    with pytest.raises(ValueError, match=message):
        make(MLP(inputs=inputs))
