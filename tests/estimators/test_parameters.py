"""Named numbers in the equations that estimators learn."""

import copy
import functools
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

from skneuralde import (
    Advection,
    Laplacian,
    NeuralJumpDiffusion,
    NeuralPDEField,
    NeuralSDERegressor,
    Parameter,
    Problem,
    solve,
)

T = np.linspace(0, 4, 30)
DECAY = np.exp(-0.5 * T)


def decay(t, u, k=Parameter(1.0, positive=True, unit="1/s")):
    return -k * u


def law(t, u, r=Parameter(1.0, positive=True)):
    return r * u * (1 - u)


class Module(torch.nn.Module):
    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, t, u):
        return -self.k * u


class Held:
    def __init__(self, k):
        self.k = k

    def __call__(self, t, u):
        return -self.k * u


def estimates(model):
    return dict(zip(model.parameters_["name"], model.parameters_["estimate"], strict=True))


@pytest.fixture(scope="module")
def ornstein_uhlenbeck():
    """dX = 1.5 (0.5 - X) dt + 0.4 dW, by its exact transition."""
    rng = np.random.default_rng(0)
    factor = np.exp(-0.15)
    x = np.zeros(2000)
    for i in range(1, len(x)):
        x[i] = 0.5 + (x[i - 1] - 0.5) * factor + 0.4 * np.sqrt((1 - factor**2) / 3) * rng.normal()
    return 0.1 * np.arange(len(x))[:, None], x


@pytest.fixture(scope="module")
def front():
    """u_t = 0.01 u_xx - 0.1 u_x + 2 u (1 - u)."""
    x, t = np.linspace(0, 1, 26), np.linspace(0, 5, 11)
    problem = Problem(lambda t, u: 2 * u * (1 - u), operator=[Laplacian(0.01, 0.04), Advection(0.1, 0.04)])
    return t[:, None], solve(problem, np.exp(-((x - 0.2) ** 2) / 0.01)[:, None], t, rtol=1e-8).ys[0].numpy()


def test_the_rate_of_a_decay():
    before = decay.__defaults__[0].raw.clone()
    model = NeuralSDERegressor(decay, None, rtol=1e-8).fit(T[:, None], DECAY)
    expected = pd.DataFrame({"name": ["k"], "estimate": [0.5], "unit": ["1/s"]})
    pd.testing.assert_frame_equal(model.parameters_, expected, check_dtype=False, rtol=1e-5)
    assert torch.equal(decay.__defaults__[0].raw, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_ornstein_uhlenbeck_process(ornstein_uhlenbeck, dtype):
    t, x = (a.astype(dtype) for a in ornstein_uhlenbeck)

    def drift(t, u, p=Parameter([0.5, 0.0])):
        return p[0] * (p[1] - u)

    model = NeuralSDERegressor(drift, Parameter(1.0, bounds=(0.01, 3.0)), uncertainty="laplace").fit(t, x)
    found = estimates(model)
    assert list(found) == ["p[0]", "p[1]", "diffusion"]
    # About two standard errors: sqrt(2 * 1.5 / 200), 0.4 / (1.5 * sqrt(200)) and 0.4 / sqrt(2 * 2000).
    assert (np.abs(np.array(list(found.values())) - [1.5, 0.5, 0.4]) < [0.25, 0.04, 0.013]).all()
    assert np.allclose(model.drift_field([0.0]), found["p[0]"] * found["p[1]"], rtol=1e-5)


def test_observation_noise(ornstein_uhlenbeck):
    t, x = ornstein_uhlenbeck
    y = x + 0.05 * np.random.default_rng(1).normal(size=len(x))
    noise = Parameter(0.1, positive=True, unit="m")
    model = NeuralSDERegressor(
        lambda t, u: 1.5 * (0.5 - u), Parameter(1.0, positive=True), observation_noise=noise
    ).fit(t, y)
    assert estimates(model)["observation_noise"] == pytest.approx(0.05, abs=0.01)
    assert noise().item() == pytest.approx(0.1)
    learned = NeuralSDERegressor(lambda t, u: 1.5 * (0.5 - u), 0.4, observation_noise="learn").fit(t, y)
    other = NeuralSDERegressor(lambda t, u: 1.5 * (0.5 - u), 0.4, observation_noise=noise).fit(t, y)
    assert estimates(other)["observation_noise"] == pytest.approx(learned.model_.noise_std.item(), rel=1e-3)
    other.set_params(warm_start=True).fit(t, y)
    assert np.nansum(other.log_likelihood(t, y)) == pytest.approx(np.nansum(learned.log_likelihood(t, y)), rel=1e-4)
    with pytest.raises(ValueError, match=r"give Parameter\(..., positive=True\)"):
        NeuralSDERegressor(observation_noise=Parameter(0.1)).fit(t, y)


@pytest.mark.parametrize("rate", [Parameter(1.0, positive=True, unit="1/day"), Parameter(1.0, bounds=(0.01, 4.0))])
def test_the_rate_and_size_of_jumps(rate):
    rng = np.random.default_rng(0)
    count = rng.poisson(0.1, size=3000)
    y = np.cumsum(0.1 * np.sqrt(0.2) * rng.normal(size=3000) + count)
    t = 0.2 * np.arange(3000)[:, None]

    def jump(t, u, z, size=Parameter(0.8)):
        return u + size

    model = NeuralJumpDiffusion(0.0, Parameter(0.3, positive=True), jump_rate=rate, jump_affect=jump).fit(t, y)
    found = estimates(model)
    assert list(found) == ["diffusion", "jump_rate", "size"]
    assert found["jump_rate"] == pytest.approx(count.sum() / 600, rel=0.02)
    assert found["size"] == pytest.approx(1.0, abs=0.01)
    assert np.isfinite(model.sample(model.future(3), 4, random_state=0)).all()


def test_a_field(front):
    operator = Advection(Parameter(0.05), 0.04)
    model = NeuralPDEField(law, Parameter(0.03, positive=True, unit="m2/s"), operator=operator, spacing=0.04).fit(
        *front
    )
    found = estimates(model)
    assert list(found) == ["r", "diffusivity", "operator.velocity"]
    assert list(found.values()) == pytest.approx([2.0, 0.01, 0.1], rel=0.01)
    assert model.diffusivity_[0] == pytest.approx(found["diffusivity"])
    assert operator.velocity().item() == pytest.approx(0.05)
    guessed = NeuralPDEField(law, operator=Advection(0.1, 0.04), spacing=0.04, max_iter=5).fit(*front)
    assert list(estimates(guessed)) == ["r", "diffusivity"]


def test_one_object_in_two_places_is_one_parameter(front):
    k = Parameter(0.5, positive=True)
    sde = NeuralSDERegressor([lambda t, u, rate=k: -rate * u, Module(k)], k, max_iter=3).fit(T[:, None], DECAY)
    assert list(estimates(sde)) == ["rate"]
    assert len(list(sde.problem_.parameters())) == 1
    field = NeuralPDEField(lambda t, u, r=k: r * u * (1 - u), k, spacing=0.04, max_iter=3).fit(*front)
    assert len(list(field.problem_.parameters())) == 1
    assert all(isinstance(p, torch.nn.Parameter) for p in field.problem_.parameters())
    assert field.diffusivity_[0] == pytest.approx(estimates(field)["r"])


@pytest.mark.parametrize(
    ("drift", "diffusion", "message"),
    [
        (decay, lambda t, u, k=Parameter(1.0): k + 0 * u, "two different parameters have the name 'k'"),
        ([Parameter(1.0), lambda t, u: Parameter(2.0) * u], 0.1, "variable of an enclosing scope"),
        (lambda t, u: -OUTSIDE * u, 0.1, r"uses Parameter\(0.5\) as a variable"),
        (Parameter([1.0, 2.0]), 0.1, r"drift must have shape \(1,\) or be a number, got \(2,\)"),
    ],
)
def test_refused(drift, diffusion, message):
    with pytest.raises(ValueError, match=message):
        NeuralSDERegressor(drift, diffusion).fit(T[:, None], DECAY)


OUTSIDE = Parameter(0.5)

PLACES = {
    "default": lambda k: lambda t, u, k=k: -k * u,
    "keyword": lambda k: functools.partial(lambda t, u, *, k: -k * u, k=k),
    "bound": lambda k: functools.partial(lambda k, t, u: -k * u, k),
    "list": lambda k: lambda t, u, ks=[k]: -ks[0] * u,
    "module": Module,
    "object": Held,
    "method": lambda k: Held(k).__call__,
    "sum": lambda k: [lambda t, u, k=k: -0.5 * k * u, Module(0.0), lambda t, u, k=k: -0.5 * k * u],
}


@settings(max_examples=6)
@given(
    place=st.sampled_from(sorted(PLACES)),
    rate=st.floats(0.3, 1.0),
    kind=st.sampled_from([{"positive": True}, {"bounds": (0.0, 5.0)}, {"bounds": (0.0, None)}, {}, None]),
)
def test_a_rate_in_any_place(place, rate, kind):
    y = np.exp(-rate * T)
    k = torch.nn.Parameter(torch.tensor(0.6)) if kind is None else Parameter(0.6, **kind)
    model = NeuralSDERegressor(PLACES[place](k), None, rtol=1e-6).fit(T[:, None], y)
    assert np.allclose(model.predict(T[:, None]), y, atol=1e-4)
    assert list(estimates(model).values()) == ([] if kind is None else [pytest.approx(rate, rel=1e-3)])
    assert (k if kind is None else k()).item() == pytest.approx(0.6)


def test_the_life_of_an_estimator():
    k = Parameter(1.0, positive=True)
    model = NeuralSDERegressor(Module(k), Parameter(0.1, positive=True), max_iter=2)
    assert clone(model).diffusion is model.diffusion is model.get_params()["diffusion"]
    model.fit(T[:, None], DECAY)
    early = model.parameters_
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        pd.testing.assert_frame_equal(twin.parameters_, early)
        assert twin.fit(T[:, None], DECAY).parameters_.equals(early)
    model.set_params(warm_start=True, max_iter=50).fit(T[:, None], DECAY)
    assert not model.parameters_.equals(early)
    assert early["estimate"].iloc[0] == pytest.approx(estimates(pickle.loads(pickle.dumps(twin)))["drift.k"])
    assert k().item() == pytest.approx(1.0)
    ensemble = clone(model).set_params(warm_start=False, uncertainty="ensemble", n_members=2, max_iter=2)
    mean, std = ensemble.fit(T[:, None], DECAY).drift_field([1.0], return_std=True)
    assert mean[0] == pytest.approx(-estimates(ensemble)["drift.k"])
    assert std[0] > 0


@pytest.mark.slow
def test_grid_search_in_two_processes():
    grid = {"diffusion": [Parameter(0.01, positive=True), Parameter(0.02, bounds=(0, 1)), 0.05]}
    search = GridSearchCV(NeuralSDERegressor(decay, max_iter=5), grid, cv=KFold(2), n_jobs=2)
    search.fit(np.tile(T[:, None], (2, 1)) + 5 * np.repeat([0, 1], len(T))[:, None], np.tile(DECAY, 2))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert "k" in estimates(search.best_estimator_)


def test_context_and_no_parameters():
    X = np.column_stack([np.tile(T, 2), np.repeat([0.0, 1.0], len(T))])
    groups = np.repeat([0, 1], len(T))
    frame = pd.DataFrame({"t": X[:, 0], "run": groups, "dose": 0.5 * groups})
    y = np.concatenate([DECAY, np.exp(-T)])

    def drift(t, u, k=Parameter(1.0, positive=True), c=None, slope=Parameter(0.1)):
        return -(k + slope * c) * u

    model = NeuralSDERegressor(drift, None, time="t", series="run", controls=["dose"], rtol=1e-6).fit(frame, y)
    assert list(estimates(model).values()) == pytest.approx([0.5, 1.0], rel=1e-3)
    empty = NeuralSDERegressor(-0.5, 0.1).fit(T[:, None], DECAY).parameters_
    assert list(empty.columns) == ["name", "estimate", "unit"]
    assert len(empty) == 0
    with pytest.raises(ValueError, match="not fitted"):
        _ = NeuralSDERegressor().parameters_
