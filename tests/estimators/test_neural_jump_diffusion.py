"""The estimator of equations with jumps: what it learns, refuses and predicts."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

from skneuralde import MLP, NeuralJumpDiffusion
from skneuralde.metrics import log_likelihood_scorer
from skneuralde.solvers import SolverError


def walk(n=300, seed=0, chance=0.05):
    """A random walk with clear falls, and where they are."""
    rng = np.random.default_rng(seed)
    falls = rng.random(n) < chance
    falls[0] = False
    return np.arange(float(n))[:, None], np.cumsum(rng.normal(scale=0.1, size=n) - 2.0 * falls), falls


def dated(**options):
    _, y, falls = walk(**options)
    index = pd.date_range("2024-01-01", periods=len(y), freq="D", name="day")
    return pd.DataFrame(index=index), pd.Series(y, index=index, name="price"), falls


def constants(**options):
    """An estimator whose coefficients are learned constants."""
    return NeuralJumpDiffusion(**{"inputs": (), "random_state": 0, **options})


def quick(**options):
    few = {"hidden_layer_sizes": (4,), "optimizer": "adam", "max_iter": 3, "n_predict_paths": 20, "random_state": 0}
    return NeuralJumpDiffusion(**{**few, **options})


@pytest.fixture(scope="module")
def fitted():
    X, y, falls = walk()
    return constants(uncertainty="laplace").fit(X, y), X, y, falls


def test_learns_rate_and_size(fitted):
    model, _, _, falls = fitted
    at = torch.zeros(1, 1, dtype=torch.float64)
    rate, n = float(model.intensity_field([0.0])[0]), falls.sum()
    assert rate == pytest.approx(n / 299, abs=2 * math.sqrt(n) / 299)
    assert float(model.jump_affect_.mean(at, at).detach()) == pytest.approx(-2.0, abs=0.1)
    assert model.jump_affect_ is model.problem_.jumps[0].affect
    assert model.solver_stats_["jump_numbers"] >= 2
    assert "jumps" in model.loss_reason_


def test_intensity_has_a_standard_error(fitted):
    model, _, _, falls = fitted
    rate, std = model.intensity_field([0.0, 1.0], return_std=True)
    assert rate.shape == std.shape == (2,)
    assert std[0] == pytest.approx(math.sqrt(falls.sum()) / 299, rel=0.2)


def test_predictions_are_those_of_the_mixture(fitted):
    model, X, y, _ = fitted
    mean, std, quantiles = model.predict(X[50:53], return_std=True, quantiles=[0.01, 0.5])
    rate, drift, sigma = (f([0.0])[0] for f in (model.intensity_field, model.drift_field, model.diffusion_field))
    size, spread = model.jump_affect_.mean, model.jump_affect_.std
    at = torch.zeros(1, 1, dtype=torch.float64)
    m, s = float(size(at, at)), float(spread(at, at))
    np.testing.assert_allclose(mean - y[49:52], drift + rate * m, rtol=1e-3)
    np.testing.assert_allclose(std**2, sigma**2 + rate * (m**2 + s**2), rtol=1e-2)
    # The lowest percent are falls, the median is none.
    assert (quantiles[:, 0] < y[49:52] - 1.5).all()
    assert (np.abs(quantiles[:, 1] - y[49:52]) < 0.1).all()


def test_log_likelihood_is_the_density_of_a_mixture(fitted):
    model, X, y, _ = fitted
    rate, drift, sigma = (f([0.0])[0] for f in (model.intensity_field, model.drift_field, model.diffusion_field))
    at = torch.zeros(1, 1, dtype=torch.float64)
    m, s = float(model.jump_affect_.mean(at, at)), float(model.jump_affect_.std(at, at))
    change = np.diff(y)
    density = sum(
        math.exp(-rate) * rate**n / math.factorial(n) * norm.pdf(change, drift + n * m, np.sqrt(sigma**2 + n * s**2))
        for n in range(10)
    )
    result = model.log_likelihood(X, y)
    assert np.isnan(result[0])
    np.testing.assert_allclose(result[1:], np.log(density), atol=0.05)


def test_probability_of_a_jump(fitted):
    model, X, y, falls = fitted
    probability = model.jump_probability(X, y)
    assert np.isnan(probability[0])
    np.testing.assert_array_equal(probability[1:] > 0.5, falls[1:])
    order = np.random.default_rng(0).permutation(len(y))
    np.testing.assert_allclose(model.jump_probability(X[order], y[order]), probability[order], equal_nan=True)


def test_detected_jumps(fitted):
    model, X, y, falls = fitted
    found = model.detect_jumps(X, y)
    assert found.dtype.names == ("row", "time", "probability", "size")
    np.testing.assert_array_equal(found["row"], np.flatnonzero(falls))
    np.testing.assert_allclose(found["size"], -2.0, atol=0.35)
    assert len(model.detect_jumps(X, y, threshold=0.0)) == len(y) - 1
    with pytest.raises(ValueError, match=r"threshold must be a probability, got 2"):
        model.detect_jumps(X, y, threshold=2)


def test_detected_jumps_of_a_frame():
    X, y, falls = dated()
    model = constants().fit(X, y)
    found = model.detect_jumps(X, y)
    assert isinstance(found, pd.DataFrame)
    assert found.index.equals(X.index[falls])
    assert (found["time"] == found.index).all()
    assert model.detect_jumps(X, y, threshold=1.0).columns.tolist() == ["row", "time", "probability", "size"]


def test_channels():
    """Rises and falls, each with a rate of its own."""
    rng = np.random.default_rng(1)
    kind = rng.choice([0, 1, -1], p=[0.9, 0.07, 0.03], size=500)
    y = np.cumsum(rng.normal(scale=0.1, size=500) + np.where(kind > 0, 1.5, 3.0 * kind))
    X = np.arange(500.0)[:, None]
    model = constants(jump_rate=("mlp", "mlp"), jump_affect=("gaussian", "gaussian")).fit(X, y)
    rates = model.intensity_field([0.0])
    assert rates.shape == (1, 2)
    np.testing.assert_allclose(np.sort(rates[0]), [0.03, 0.07], atol=0.025)
    assert len(model.jump_rate_) == len(model.jump_affect_) == 2
    with pytest.raises(ValueError, match="jump_rate has 2 and jump_affect 1 channels"):
        constants(jump_rate=(1.0, 2.0)).fit(X, y)


def test_known_and_mixed_parts():
    X, y, falls = walk()
    model = constants(
        drift=0.0, diffusion=0.1, jump_rate=[0.01, "mlp"], jump_affect=lambda t, u, z: u - 2.0 + 0.1 * z
    ).fit(X, y)
    assert model.problem_.jumps[0].bound == pytest.approx(1.01)
    assert model.intensity_field([0.0])[0] == pytest.approx(falls.sum() / 299, rel=0.1)
    known = constants(drift=0.0, diffusion=0.1, jump_rate=0.05, jump_affect=lambda t, u: u - 2.0).fit(X, y)
    assert known.n_iter_ == 1
    assert known.problem_.jumps[0].bound == 0.05


def test_a_network_that_gives_the_new_state():
    X, y, _ = walk(chance=0.1)
    model = constants(jump_affect="mlp").fit(X, y)
    u = torch.zeros(1, 1, dtype=torch.float64)
    assert float(model.jump_affect_(u, u, None, u)) == pytest.approx(-2.0, abs=0.15)


def test_rates_see_controls():
    """Falls only happen where a control says so."""
    rng = np.random.default_rng(2)
    drive = np.repeat(rng.integers(0, 2, 100), 5).astype(float)
    falls = (rng.random(500) < 0.3) & (drive > 0)
    y = np.cumsum(rng.normal(scale=0.1, size=500) - 2.0 * falls)
    X = np.column_stack([np.arange(500.0), drive])
    model = quick(max_iter=80, learning_rate_init=0.03, inputs=("controls",), controls=[1]).fit(X, y)
    calm, busy = (model.intensity_field([0.0], context=[value])[0] for value in (0.0, 1.0))
    assert busy > 0.15 > 0.05 > calm


def test_without_jumps_it_is_the_other_estimator():
    X, y, _ = walk()
    model = quick(jump_rate=None).fit(X, y)
    assert model.jump_rate_ is None
    for without in (model, quick(jump_rate=None, diffusion=None).fit(X, y)):
        probability = without.jump_probability(X, y)
        assert np.isnan(probability[0])
        assert (probability[1:] == 0).all()
        assert len(without.detect_jumps(X, y)) == 0
    with pytest.raises(ValueError, match="no rate of jumps"):
        model.intensity_field([0.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observation_noise": 0.1}, "With jumps the state must be observed as it is"),
        ({"n_states": 2}, "With jumps the state must be observed as it is"),
        ({"diffusion": None}, "With jumps and diffusion=None"),
        ({"diffusion": 0.0}, "With jumps and diffusion=0 an observation"),
        ({"jump_affect": None}, "jump_affect is None"),
        ({"jump_rate": lambda t, u: -1.0 - u[:, 0] ** 2}, r"jumps\[0\].rate must be finite and not negative"),
        ({"jump_rate": lambda t, u: 9 + 0 * u[:, 0], "max_jump_rate": 2.0}, r"exceeds its bound 2"),
        ({"max_jump_rate": 0.0}, "max_jump_rate"),
    ],
)
def test_refused_before_any_work(options, message):
    X, y, _ = walk()
    with pytest.raises(ValueError, match=message):
        quick(**options).fit(X, y)


def test_a_rate_learned_from_the_mean_of_paths():
    """Paths that halve at rate 2 fall as exp(-t) on average."""
    times = np.linspace(0.0, 1.0, 6)
    model = NeuralJumpDiffusion(
        0.0,
        lambda t, u: 0.1 * u,
        MLP(inputs=()),
        lambda t, u: u / 2,
        max_jump_rate=6.0,
        loss="mean",
        n_paths=300,
        dt=0.2,
        learning_rate_init=0.1,
        max_iter=120,
        random_state=0,
    ).fit(times[:, None], np.exp(-times))
    assert model.intensity_field([1.0])[0] == pytest.approx(2.0, rel=0.1)
    np.testing.assert_allclose(model.predict(times[:, None]), np.exp(-times), atol=0.03)


def path_model(rate, **options):
    """An equation with a learned effect that is fitted to the mean of paths."""
    parts = {"drift": 0.0, "diffusion": lambda t, u: 0.1 * u, "jump_rate": rate, "jump_affect": MLP((3,))}
    settings = {"max_jump_rate": 6.0, "loss": "mean", "n_paths": 8, "max_iter": 2, "random_state": 0}
    return NeuralJumpDiffusion(**{**parts, **settings, **options})


def test_quasi_newton_steps_need_jumps_that_stay():
    """A rate that changes with the weights, itself or through the state, makes the loss of paths jump."""
    times = np.linspace(0.0, 1.0, 3)
    X, y = times[:, None], np.exp(-times)
    for rate in (MLP(inputs=()), "mlp", lambda t, u: 1.0 + u[:, 0] ** 2, [1.0, MLP((2,))]):
        with pytest.raises(ValueError, match=r"optimizer='lbfgs' needs a smooth loss.*Use optimizer='adam'"):
            path_model(rate, optimizer="lbfgs").fit(X, y)
    curve = path_model(2.0, optimizer="lbfgs").fit(X, y).loss_curve_
    assert curve[1] <= curve[0]
    few = constants(drift=0.0, jump_affect="gaussian", optimizer="lbfgs", max_iter=1)
    assert few.fit(*walk(60)[:2]).n_iter_ == 1  # nothing is simulated


@pytest.mark.parametrize("loss", ["mean", "path_mse"])
def test_jumps_start_without_a_move_where_data_may_be_means(loss):
    """The steep part of a mean is no jump, and a wrong move would spread the paths."""
    times = np.linspace(0.0, 1.0, 30)
    y = 2.0 * np.exp(-6.0 * times)
    model = path_model(2.0, loss=loss, max_iter=1, learning_rate_init=1e-9, optimizer="adam").fit(times[:, None], y)
    u = torch.tensor([[0.1], [1.0], [2.0]], dtype=torch.float64)
    assert float((model.jump_affect_(u, u, None, u) - u).detach().abs().max()) < 0.2 * y.std()


def varying(t, u):
    return 0.05 + 0.03 * torch.sin(t[:, 0])


def test_a_known_rate_that_varies_needs_no_bound():
    """Forecasts with and without one have the same law: 5 standard errors of the mean number of falls."""
    X, y, _ = walk(60)
    n, until = 400, 20
    expected = 0.05 * until + 0.03 * (math.cos(59) - math.cos(59 + until))
    for bound in ("auto", 0.1):
        model = constants(
            drift=0.0, diffusion=0.01, jump_rate=varying, jump_affect=lambda t, u: u - 1.0, max_jump_rate=bound
        ).fit(X, y)
        falls = y[-1] - model.sample(model.future(until)[-1:], n, random_state=0)[:, 0]
        assert falls.mean() == pytest.approx(expected, abs=5 * math.sqrt(expected / n))
        assert falls.var() == pytest.approx(expected, rel=0.4)


def test_a_varying_rate_needs_no_bound_and_stays_below_one_that_is_given():
    X, y, _ = walk(60)
    known = {"drift": 0.0, "diffusion": 0.1, "jump_rate": varying, "jump_affect": lambda t, u: u - 1.0}
    for options in ({}, {"loss": "mean", "n_paths": 4}):
        assert quick(**known, solver="euler", **options).fit(X[:9], y[:9]).n_iter_ == 1
        assert quick(**known, solver="euler", max_jump_rate=0.1, **options).fit(X[:9], y[:9]).n_iter_ == 1
    learned = quick(**known | {"drift": "mlp"}, loss="mean", n_paths=4).fit(X[:9], y[:9])
    assert learned.n_iter_ == 3
    # Within the data it stays below the bound; what comes later is refused when it comes.
    rising = quick(**known | {"jump_rate": lambda t, u: 0.001 * t[:, 0]}, max_jump_rate=0.06).fit(X, y)
    with pytest.raises(SolverError, match=r"exceeds its bound 0.06: it is 0.06.* at t = 6"):
        rising.predict(rising.future(40))


def test_times_before_the_data_alone_are_simulated_with_fixed_steps_too():
    """As a fold of cross-validation asks for them: no interval is left whose law would be propagated."""
    X, y, _ = walk(60)
    model = quick(solver="euler").fit(X[30:], y[30:])
    assert np.isfinite(model.predict(X[:30])).all()


def test_a_rate_that_is_no_tensor_is_told_so():
    X, y, _ = walk(60)
    with pytest.raises(ValueError, match=r"jumps\[0\].rate must return a torch tensor of shape \(60,\), got float"):
        quick(jump_rate=lambda t, u: 0.05).fit(X, y)


def test_jumps_are_chance_enough_for_simulated_paths():
    """Paths that halve at rate 2 and do nothing else: means fall as exp(-t), and paths stand still between jumps."""
    times = np.linspace(0.0, 1.0, 6)
    X, y = times[:, None], np.exp(-times)
    model = path_model(2.0, diffusion=None, jump_affect=lambda t, u: u / 2, n_predict_paths=500).fit(X, y)
    np.testing.assert_allclose(model.predict(X), y, atol=5 * np.sqrt(np.exp(-1.5) / 500))
    counts = -np.log2(model.sample(X, 50, random_state=0))
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    assert counts[:, -1].mean() == pytest.approx(2.0, abs=5 * math.sqrt(2 / 50))
    for ask in (model.log_likelihood, model.jump_probability, model.detect_jumps):
        with pytest.raises(ValueError, match="the state has no density between jumps"):
            ask(X, y)


def test_a_model_learns_on_from_the_parts_of_another(fitted):
    """The rate of a fitted model is one, with its bound, and trains a copy."""
    model, X, y, _ = fitted
    parts = (model.drift_, model.diffusion_, model.jump_rate_, model.jump_affect_)
    again = NeuralJumpDiffusion(*parts, random_state=0, optimizer="adam", learning_rate_init=1e-12, max_iter=1)
    again.fit(X, y)
    before = [p.detach().clone() for p in model.problem_.parameters()]
    again.set_params(learning_rate_init=0.1).fit(X, y)
    for ours, was in zip(model.problem_.parameters(), before, strict=True):
        assert torch.equal(ours, was)
    again.set_params(learning_rate_init=1e-12).fit(X, y)
    assert again.problem_.jumps[0].bound == model.problem_.jumps[0].bound
    np.testing.assert_allclose(again.predict(X), model.predict(X), rtol=1e-6)


def test_rows_with_some_outputs_are_refused():
    X, y, _ = walk()
    both = np.column_stack([y, y[::-1]])
    both[7, 1] = np.nan
    with pytest.raises(ValueError, match="some of its outputs only in row 7"):
        quick().fit(X, both)
    both[7] = np.nan
    assert quick().fit(X, both).predict(X).shape == both.shape


def test_known_rates_need_a_unit_of_time():
    X, y, _ = dated(n=50)
    with pytest.raises(ValueError, match="time_unit='auto' cannot be used"):
        quick(jump_rate=0.1).fit(X, y)
    with pytest.raises(ValueError, match="time_unit='auto' cannot be used"):
        quick(jump_rate=("mlp", "mlp"), jump_affect=("gaussian", lambda t, u: 0.5 * u)).fit(X, y)


def test_equivariance_to_units():
    """Rates per minute of what is measured per hour are sixty times smaller; sizes follow y."""
    X, y, _ = walk(150)
    small = constants().fit(X, y)
    large = constants().fit(60 * X, 1000 * y)
    np.testing.assert_allclose(large.predict(60 * X[:9]), 1000 * small.predict(X[:9]), rtol=1e-4)
    np.testing.assert_allclose(60 * large.intensity_field([0.0]), small.intensity_field([0.0]), rtol=1e-3)


def test_grid_search_over_tolerance_and_solver():
    X, y, _ = dated(n=24)
    grid = {"rtol": [1e-1, 1e-2], "solver": ["auto", "tsit5"]}
    scoring = {"r2": "r2", "density": log_likelihood_scorer}
    search = GridSearchCV(
        quick(max_iter=1), grid, scoring=scoring, refit=False, cv=TimeSeriesSplit(2), error_score="raise"
    )
    results = search.fit(X, y).cv_results_
    assert np.isfinite(results["mean_test_r2"]).all()
    assert np.isfinite(results["mean_test_density"]).all()


def test_far_forecasts_and_samples_are_simulated(fitted):
    """Means and variances grow with the number of steps; 5 standard errors of the simulation."""
    model, _, y, _ = fitted
    ahead = model.future(10)
    mean, std = model.predict(ahead, return_std=True)
    samples = model.sample(ahead, 1000, random_state=0)
    rate, drift, sigma = (f([0.0])[0] for f in (model.intensity_field, model.drift_field, model.diffusion_field))
    at = torch.zeros(1, 1, dtype=torch.float64)
    m, s = float(model.jump_affect_.mean(at, at)), float(model.jump_affect_.std(at, at))
    expected = y[-1] + 10 * (drift + rate * m)
    variance = 10 * (sigma**2 + rate * (m**2 + s**2))
    assert mean[9] == pytest.approx(expected, abs=5 * math.sqrt(variance / 1000))
    assert samples[:, 9].mean() == pytest.approx(expected, abs=5 * math.sqrt(variance / 1000))
    assert std[9] ** 2 == pytest.approx(variance, rel=0.2)
    np.testing.assert_array_equal(samples, model.sample(ahead, 1000, random_state=0))


def test_nested_parameters_clone_and_pickle():
    model = NeuralJumpDiffusion(jump_rate=MLP()).set_params(jump_rate__hidden_layer_sizes=(3,))
    assert clone(model).jump_rate.hidden_layer_sizes == (3,)
    X, y, _ = walk(60)
    fitted = quick().fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))


def test_a_plain_table():
    """Heavy tails of single rows, as samples and quantiles."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(300, 2))
    y = X[:, 0] + 0.1 * rng.normal(size=300) + 3.0 * (rng.random(300) < 0.08)
    model = quick(max_iter=70, learning_rate_init=0.03).fit(X, y)
    samples = model.sample(X, 500, random_state=0)
    assert samples.shape == (500, 300)
    mean, quantiles = model.predict(X, quantiles=[0.25, 0.5, 0.75])
    np.testing.assert_allclose(samples.mean(0), mean, atol=0.3)
    np.testing.assert_allclose(np.quantile(samples, [0.25, 0.5, 0.75], axis=0).T, quantiles, atol=0.2)
    assert np.isfinite(model.jump_probability(X, y)).all()


def test_series_of_unequal_length_by_fixed_steps():
    rng = np.random.default_rng(0)
    rows = pd.concat(
        pd.DataFrame({"series": k, "time": np.sort(rng.uniform(0.0, 1.0, n)), "y": rng.normal(size=n)})
        for k, n in enumerate(rng.integers(1, 15, 12))
    )
    X, y = rows[["series", "time"]], rows["y"]
    model = NeuralJumpDiffusion(
        series="series", time="time", solver="platen", dt=0.07, loss="mean", n_paths=8, jump_rate=2.0, max_iter=2,
        random_state=0,
    )  # fmt: skip
    assert np.isfinite(model.fit(X, y).predict(X)).all()
