"""What was learned, and how well it is known."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from skneuralde import NeuralSDERegressor
from skneuralde.inference.parameter_uncertainty import parameter_vector

RATE, MEAN, VOLATILITY = 0.5, 1.0, 0.8


class Reversion(torch.nn.Module):
    """The drift rate (mean - u)."""

    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        self.mean = torch.nn.Parameter(torch.tensor(0.0, dtype=torch.float64))

    def forward(self, t, u):
        return self.rate * (self.mean - u)


class Volatility(torch.nn.Module):
    """A constant, which may get any sign."""

    def __init__(self, start=1.0):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self, t, u):
        return self.value.expand_as(u)


def ornstein_uhlenbeck(n, spacing, seed):
    """Exact steps from the mean."""
    memory = np.exp(-RATE * spacing)
    deviation = VOLATILITY * np.sqrt((1 - memory**2) / (2 * RATE))
    y = np.full(n, MEAN)
    for i, shock in enumerate(np.random.default_rng(seed).normal(scale=deviation, size=n - 1), 1):
        y[i] = MEAN + memory * (y[i - 1] - MEAN) + shock
    return spacing * np.arange(n)[:, None], y


def exact_standard_errors(n, spacing):
    """Of rate, mean and volatility, from the Fisher information of n transitions of the stationary process.

    With ``a = exp(-r h)`` a transition is normal with mean ``m + a (x - m)`` and variance
    ``v = s^2 (1 - a^2) / (2 r)``, and x has the variance ``s^2 / (2 r)`` about m.
    """
    a, h = np.exp(-RATE * spacing), spacing
    v, spread = VOLATILITY**2 * (1 - a**2) / (2 * RATE), VOLATILITY**2 / (2 * RATE)
    log_v = np.array([2 * h * a**2 / (1 - a**2) - 1 / RATE, 0.0, 2 / VOLATILITY])
    information = 0.5 * np.outer(log_v, log_v)
    information[0, 0] += (h * a) ** 2 * spread / v
    information[1, 1] += (1 - a) ** 2 / v
    return np.sqrt(np.diag(np.linalg.inv(n * information)))


def mechanistic(**parameters):
    return NeuralSDERegressor(Reversion(), Volatility(), random_state=0, **parameters)


# --- values -----------------------------------------------------------------------------------------------------------


def test_known_coefficients_come_back_in_the_callers_units(numbers):
    model = NeuralSDERegressor(lambda t, u: t - 2 * u, lambda t, u: 0.1 + 0.01 * u**2).fit(*numbers)
    states = np.array([-1.0, 0.0, 3.0])
    np.testing.assert_allclose(model.drift_field(states), -2 * states)
    np.testing.assert_allclose(model.drift_field(states, [1, 2, 3]), [1, 2, 3] - 2 * states)
    np.testing.assert_allclose(model.drift_field(states[:, None], 5.0), 5.0 - 2 * states[:, None])
    np.testing.assert_allclose(model.diffusion_field(list(states)), 0.1 + 0.01 * states**2)
    assert model.drift_field(np.float32([1.0])).dtype == np.float64


def test_dates_are_read_where_fit_saw_dates(daily):
    X, y = daily
    X.index = X.index.tz_localize("UTC")
    model = NeuralSDERegressor(lambda t, u: t + 0 * u, 0.3, time_unit="12h").fit(X, y.set_axis(X.index))
    when = pd.DatetimeIndex(["2024-01-02", "2024-01-01T12:00"], tz="UTC")
    for times in (when, list(when), when.to_series()):
        np.testing.assert_allclose(model.drift_field([0.0, 0.0], times), [2.0, 1.0])
    np.testing.assert_allclose(model.drift_field([0.0, 0.0], when[0]), [2.0, 2.0])
    np.testing.assert_allclose(model.drift_field([0.0, 0.0], 3.0), [3.0, 3.0])


def test_the_context_is_the_weighted_mean_of_fit_unless_it_is_given(driven):
    X, y = driven
    X = X.assign(size=2.0)
    weight = np.arange(1.0, 61.0)
    model = NeuralSDERegressor(lambda t, u, c: c[:, :1] + 10 * c[:, 1:] + 0 * u, 0.1, time_unit="D", controls=["drive"])
    model.fit(X, y, sample_weight=weight)
    expected = 2.0 + 10 * np.average(X["drive"], weights=weight)
    np.testing.assert_allclose(model.drift_field([0.0, 1.0]), [expected, expected])
    np.testing.assert_allclose(model.drift_field([0.0, 1.0], context=[1.0, 2.0]), [21.0, 21.0])
    np.testing.assert_allclose(model.drift_field([0.0, 1.0], context=[[1, 2], [3, 4]]), [21.0, 43.0])
    with pytest.raises(ValueError, match=r"context has shape \(3,\), but \(2,\) or \(2, 2\) .*'size', 'drive'"):
        model.drift_field([0.0, 1.0], context=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"fit's were \['size', 'drive'\], in this order"):
        model.drift_field([0.0, 1.0], context=X)


def test_every_kind_of_noise_has_its_shape(two_outputs, quick):
    X, y = two_outputs
    states = np.random.default_rng(0).normal(size=(7, 2))
    assert quick().fit(X, y).diffusion_field(states).shape == (7, 2)
    assert quick(noise="additive").fit(X, y).diffusion_field(states).shape == (7, 2)
    general = quick(noise="general", uncertainty="ensemble", n_members=2).fit(X, y)
    value, std = general.diffusion_field(states, return_std=True)
    assert value.shape == std.shape == (7, 2, 2)
    assert general.drift_field(states).shape == (7, 2)


def test_the_fields_are_those_of_the_learned_terms(quick, numbers):
    model = quick().fit(*numbers)
    states = np.linspace(-1, 1, 5)
    u, t, c = torch.tensor(states)[:, None], torch.zeros(5, 1).double(), torch.zeros(5, 0).double()
    np.testing.assert_array_equal(model.drift_field(states), model.drift_(t, u, c).detach().numpy()[:, 0])
    np.testing.assert_array_equal(model.diffusion_field(states), model.diffusion_(t, u, c).detach().numpy()[:, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 2.0]],), r"U has shape \(1, 2\), but \(n, 1\) or \(n,\)"),
        ((2.0,), r"U has shape \(\), but \(n, 1\)"),
        (([[[2.0]]],), r"U has shape \(1, 1, 1\), but"),
        (([np.nan],), "U contains NaN"),
        (([1.0, 2.0], [0.0, 1.0, 2.0]), r"t has shape \(3,\), but one time or 2"),
        (([1.0], np.inf), "t must be finite"),
        (([1.0], pd.Timestamp("2024-01-01")), "fit saw numbers as times, but here they are datetimes"),
        (([-1.0],), r"The drift is not finite in row 0 of U, at the state \[-1.\]"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_words(numbers, arguments, message):
    model = NeuralSDERegressor(lambda t, u: u.clamp_min(-0.9) / (u > -0.9), 0.3)
    model.fit(numbers[0], np.abs(numbers[1]))
    with pytest.raises(ValueError, match=message):
        model.drift_field(*arguments)


def test_words_for_wrong_outputs_times_and_absent_noise(two_outputs, numbers):
    model = NeuralSDERegressor(-1.0, None).fit(*two_outputs)
    with pytest.raises(ValueError, match=r"U has shape \(2,\), but \(n, 2\) is expected"):
        model.drift_field([1.0, 2.0])
    with pytest.raises(ValueError, match="There is no diffusion"):
        model.diffusion_field([[1.0, 2.0]])
    with pytest.raises(TypeError, match="t must be numbers or datetimes"):
        model.drift_field([[1.0, 2.0]], "soon")
    with pytest.raises(ValueError, match="Fit with uncertainty='laplace' or 'ensemble'"):
        NeuralSDERegressor(-1.0, 0.2).fit(*numbers).drift_field([1.0], return_std=True)


# --- Laplace ----------------------------------------------------------------------------------------------------------


def test_laplace_agrees_with_the_exact_fisher_information():
    model = mechanistic(uncertainty="laplace").fit(*ornstein_uhlenbeck(4000, 0.5, seed=0))
    errors = model._uncertainty.covariance.diagonal().sqrt().numpy()
    np.testing.assert_allclose(errors, exact_standard_errors(4000, 0.5), rtol=0.1)


def test_the_bands_are_the_delta_method():
    model = mechanistic(uncertainty="laplace").fit(*ornstein_uhlenbeck(300, 0.5, seed=1))
    rate, mean, volatility = parameter_vector(model.model_).numpy()
    covariance = model._uncertainty.covariance.numpy()
    states = np.array([-1.0, 1.0, 4.0])
    slope = np.stack([mean - states, np.full(3, rate), np.zeros(3)], 1)
    drift, std = model.drift_field(states, return_std=True)
    np.testing.assert_allclose(drift, rate * (mean - states))
    np.testing.assert_allclose(std, np.sqrt(np.einsum("np,pq,nq->n", slope, covariance, slope)))
    value, std = model.diffusion_field(states, return_std=True)
    np.testing.assert_allclose(value, volatility)
    np.testing.assert_allclose(std, np.sqrt(covariance[2, 2]))


def test_single_precision_and_weights_as_repetitions():
    X, y = ornstein_uhlenbeck(300, 0.5, seed=1)
    double = mechanistic(uncertainty="laplace").fit(X, y).drift_field([0.0], return_std=True)[1]
    twice = mechanistic(uncertainty="laplace").fit(X, y, sample_weight=np.full(300, 2.0))
    np.testing.assert_allclose(twice.drift_field([0.0], return_std=True)[1], double / np.sqrt(2), rtol=1e-4)
    single = NeuralSDERegressor(Reversion().float(), Volatility().float(), uncertainty="laplace", max_iter=20)
    value, std = single.fit(X.astype(np.float32), y.astype(np.float32)).drift_field([0.0], return_std=True)
    assert value.dtype == std.dtype == np.float32
    np.testing.assert_allclose(std, double, rtol=0.01)


def test_bands_cover_the_true_drift_at_their_rate():
    """Two standard deviations in at least 19 of 25 data sets; at a coverage of 95.4% fewer come once in 10,000."""
    states = np.array([0.0, MEAN, 2.5])
    covered = []
    for seed in range(25):
        model = mechanistic(uncertainty="laplace", rtol=1e-2).fit(*ornstein_uhlenbeck(300, 1.0, seed))
        drift, std = model.drift_field(states, return_std=True)
        covered.append(np.abs(drift - RATE * (MEAN - states)) < 2 * std)
        assert (std < 0.5).all()
    hits = np.sum(covered, axis=0)
    assert (hits >= 19).all()
    assert hits.sum() < 75


def test_nothing_to_learn_is_known_exactly(numbers):
    for uncertainty in ("laplace", "ensemble"):
        model = NeuralSDERegressor(-0.2, 0.3, uncertainty=uncertainty).fit(*numbers)
        np.testing.assert_array_equal(model.drift_field([1.0], return_std=True), [[-0.2], [0.0]])


def test_laplace_refuses_before_training_what_it_cannot_do(numbers):
    with pytest.raises(ValueError, match="at most 64 parameters, but 302 are trained"):
        NeuralSDERegressor(uncertainty="laplace").fit(*numbers)
    with pytest.raises(ValueError, match="needs a likelihood, but the loss is 'least_squares'"):
        NeuralSDERegressor(Reversion(), None, uncertainty="laplace").fit(*numbers)


def test_laplace_away_from_a_maximum_warns_and_leaves_no_standard_errors():
    X, y = ornstein_uhlenbeck(300, 0.5, seed=1)
    unfinished = mechanistic(uncertainty="laplace", optimizer="adam", max_iter=2)
    with pytest.warns(UserWarning, match="There are no standard errors"):
        unfinished.fit(X, y)
    with pytest.raises(ValueError, match="which fit did not leave"):
        unfinished.drift_field(y[:3], return_std=True)


# --- ensemble ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ensemble():
    return NeuralSDERegressor(uncertainty="ensemble", max_iter=60, learning_rate_init=5e-3, random_state=0).fit(
        *ornstein_uhlenbeck(400, 0.5, seed=0)
    )


def test_ensemble_bands_grow_where_there_are_no_data(ensemble):
    inside, below, above = np.linspace(MEAN - 0.6, MEAN + 0.6, 9), np.linspace(-8.0, -5.0, 4), np.linspace(7.0, 10.0, 4)
    for field in (ensemble.drift_field, ensemble.diffusion_field):
        spread = field(inside, return_std=True)[1]
        assert (spread > 0).all()
        # Few members differ by chance at single states.
        assert field(below, return_std=True)[1].mean() > 2 * np.median(spread)
        assert field(above, return_std=True)[1].mean() > 1.3 * np.median(spread)


def test_an_ensemble_changes_no_prediction_and_survives_a_file(ensemble):
    X, y = ornstein_uhlenbeck(400, 0.5, seed=0)
    alone = NeuralSDERegressor(max_iter=60, learning_rate_init=5e-3, random_state=0).fit(X, y)
    np.testing.assert_array_equal(ensemble.predict(X), alone.predict(X))
    again = pickle.loads(pickle.dumps(ensemble))
    np.testing.assert_array_equal(
        again.drift_field([0.0], return_std=True), ensemble.drift_field([0.0], return_std=True)
    )


def test_an_ensemble_and_laplace_agree_on_a_mechanistic_equation():
    """Also where a member learns the volatility with the other sign. A deviation of 12 members is known to 21%."""
    X, y = ornstein_uhlenbeck(400, 0.5, seed=0)
    laplace = mechanistic(uncertainty="laplace").fit(X, y)
    members = mechanistic(uncertainty="ensemble", n_members=12).fit(X, y)
    assert members._uncertainty.members.shape == (12, 3)
    for state in (0.0, 1.0, 3.0):
        for name in ("drift_field", "diffusion_field"):
            _, expected = getattr(laplace, name)([state], return_std=True)
            _, std = getattr(members, name)([state], return_std=True)
            np.testing.assert_allclose(std, expected, rtol=0.6)


def test_members_are_told_apart_by_sign_of_the_noise_only():
    X, y = ornstein_uhlenbeck(400, 0.5, seed=0)
    model = mechanistic(uncertainty="ensemble", n_members=2).fit(X, y)
    _, std = model.diffusion_field([0.0], return_std=True)
    model._uncertainty.members[0, 2] *= -1.0
    np.testing.assert_allclose(model.diffusion_field([0.0], return_std=True)[1], std)


def test_whole_series_are_drawn_where_there_are_many(quick):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": np.repeat(np.arange(12), 5), "t": np.tile(np.arange(5.0), 12)})
    y = rng.normal(size=60)
    model = quick(series="id", time="t", uncertainty="ensemble", n_members=2).fit(frame, y)
    assert model.drift_field([0.0], return_std=True)[1][0] > 0


def test_an_ensemble_warns_once_of_a_loss_that_shrinks_the_noise_and_is_seen_by_no_callback(quick, numbers):
    epochs = []
    model = quick(
        loss="path_mse",
        n_paths=4,
        uncertainty="ensemble",
        n_members=2,
        on_epoch=lambda state: epochs.append(state.epoch),
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(*numbers)
    assert sum("smallest without any noise" in str(w.message) for w in caught) == 1
    assert epochs == [1, 2, 3]


def test_a_warm_start_goes_on_from_the_members(quick, numbers):
    model = quick(uncertainty="ensemble", n_members=2, warm_start=True).fit(*numbers)
    before = model._uncertainty.members.clone()
    after = model.fit(*numbers)._uncertainty.members
    fresh = quick(uncertainty="ensemble", n_members=2, max_iter=3).fit(*numbers)._uncertainty.members
    assert torch.equal(before, fresh)
    step = (after - before).norm(dim=1)
    assert (step > 0).all()
    assert (step < 0.5 * (before[0] - before[1]).norm()).all()


def test_plain_tables_have_fields_too():
    X = np.random.default_rng(0).uniform(size=(80, 2))
    model = NeuralSDERegressor(
        hidden_layer_sizes=(3,), uncertainty="ensemble", n_members=2, max_iter=3, random_state=0
    ).fit(X, X.sum(1))
    value, std = model.drift_field([0.5, 1.0], t=0.5, context=[0.2], return_std=True)
    assert np.isfinite(value).all()
    assert (std > 0).all()
