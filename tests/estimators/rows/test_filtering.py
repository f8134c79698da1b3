"""Noisy and partial observations, through the estimator."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.base import clone

from skneuralde import NeuralSDERegressor


class Reversion(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, t, u):
        return -self.rate * u


class Noise(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.log_size = torch.nn.Parameter(torch.tensor(-0.5))

    def forward(self, t, u):
        return self.log_size.exp() * torch.ones_like(u)


def reverting(seed, n=300, spacing=0.3, noise=0.3):
    """An Ornstein-Uhlenbeck process of rate 1 and noise 1, seen through noise: times and values."""
    rng = np.random.default_rng(seed)
    decay = np.exp(-spacing)
    x = np.empty(n)
    x[0] = rng.normal(scale=np.sqrt(0.5))
    for i, shock in enumerate(rng.normal(scale=np.sqrt(0.5 * (1 - decay**2)), size=n - 1)):
        x[i + 1] = decay * x[i] + shock
    return spacing * np.arange(n), x + noise * rng.normal(size=n)


def kalman_loss(parameters, y, spacing):
    """Mean negative log density of all observations but the first, by the textbook's filter."""
    rate, log_size, log_noise, mean = parameters
    decay, noise = np.exp(-rate * spacing), np.exp(2 * log_noise)
    grown = np.exp(2 * log_size) * (1 - decay**2) / (2 * rate)
    variance, total = y.var(), 0.0
    gain = variance / (variance + noise)
    mean, variance = mean + gain * (y[0] - mean), (1 - gain) * variance
    for value in y[1:]:
        mean, variance = decay * mean, decay**2 * variance + grown
        spread = variance + noise
        total += 0.5 * ((value - mean) ** 2 / spread + np.log(2 * np.pi * spread))
        gain = variance / spread
        mean, variance = mean + gain * (value - mean), (1 - gain) * variance
    return total / (len(y) - 1)


@pytest.fixture(scope="module")
def learned_noise():
    """A fitted model, its data, and the maximum of the exact likelihood."""
    times, y = reverting(0)
    model = NeuralSDERegressor(
        Reversion(), Noise(), observation_noise="learn", uncertainty="laplace", random_state=0
    ).fit(times[:, None], y)
    return model, times, y, minimize(kalman_loss, [1, 0, -1, 0], args=(y, 0.3), method="BFGS")


def test_learned_noise_is_that_of_maximum_likelihood(learned_noise):
    model, times, y, exact = learned_noise
    learned = [model.drift_.function.rate, model.diffusion_.function.log_size, model.model_.log_noise]
    np.testing.assert_allclose([x.item() for x in learned], exact.x[:3], atol=1e-3)
    assert model.loss_ == pytest.approx(exact.fun, abs=1e-6)
    assert model.log_likelihood(times[:, None], y)[1:].mean() == pytest.approx(-model.loss_, abs=1e-9)
    assert np.isnan(model.log_likelihood(times[:, None], y)[0])


def test_standard_errors_are_those_of_the_exact_likelihood(learned_noise):
    model, _, y, exact = learned_noise
    exact = exact.x
    steps = 1e-3 * np.eye(4)
    curvature = np.array(
        [
            [
                sum(a * b * kalman_loss(exact + a * first + b * second, y, 0.3) for a in (-1, 1) for b in (-1, 1))
                / 4e-6
                for first in steps
            ]
            for second in steps
        ]
    )
    errors = np.sqrt(np.linalg.inv(299 * curvature).diagonal())
    assert model.drift_field([1.0], return_std=True)[1][0] == pytest.approx(errors[0], rel=1e-2)
    size, error = model.diffusion_field([0.0], return_std=True)
    assert error[0] / size[0] == pytest.approx(errors[1], rel=1e-2)


def known_equation(**parameters):
    """Rate 1, noise 1, observed with standard deviation 0.3: nothing but the first state is left to learn."""
    return NeuralSDERegressor(lambda t, u: -u, 1.0, observation_noise=0.3, max_iter=5, random_state=0, **parameters)


def posterior(model, observed, y, asked):
    """Mean and standard deviation of the state at times ``asked`` given all observations, from the joint law."""
    times = np.concatenate([observed, asked])
    start, variance = float(model.model_.prior_mean.detach()), float((2 * model.model_.log_prior).exp().detach())
    early, late = np.minimum.outer(times, times), np.maximum.outer(times, times)
    cov = np.exp(-(late - early)) * (variance * np.exp(-2 * early) + 0.5 * (1 - np.exp(-2 * early)))
    n = len(observed)
    gain = np.linalg.solve(cov[:n, :n] + 0.09 * np.eye(n), cov[:n, n:]).T
    mean = start * np.exp(-times)
    spread = cov[n:, n:] - gain @ cov[:n, n:]
    return mean[n:] + gain @ (y - mean[:n]), np.sqrt(spread.diagonal())


def test_smoothing_is_conditioning_on_everything():
    times, y = reverting(1, n=40)
    model = known_equation(origin="smooth").fit(times[:, None], y)
    asked = np.sort(np.concatenate([times[3:30:4], times[:20] + 0.11, [times[-1] + 0.25]]))
    mean, std = model.predict_states(asked[:, None], return_std=True)
    expected, spread = posterior(model, times, y, asked)
    np.testing.assert_allclose(mean[:, 0], expected, atol=1e-8)
    np.testing.assert_allclose(std[:, 0], spread, atol=1e-8)
    mean, std = model.predict(asked[:, None], return_std=True)
    np.testing.assert_allclose(mean, expected, atol=1e-8)
    np.testing.assert_allclose(std**2, spread**2 + 0.09, atol=1e-8)
    with pytest.raises(ValueError, match="origin='smooth' looks back"):
        model.sample(asked[:, None])


def test_read_only_data_are_filtered_without_a_warning():
    times, y = reverting(1, n=20)
    y.flags.writeable = False
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The given NumPy array is not writable")
        known_equation().fit(times[:, None], y)


def test_prediction_is_conditioning_on_what_came_before():
    times, y = reverting(2, n=30)
    model = known_equation().fit(times[:, None], y)
    for row in (5, 17):
        mean, std = model.predict(times[row : row + 1, None], return_std=True)
        expected, spread = posterior(model, times[:row], y[:row], times[row : row + 1])
        np.testing.assert_allclose(mean, expected, atol=1e-8)
        np.testing.assert_allclose(std, np.sqrt(spread**2 + 0.09), atol=1e-8)


def test_far_forecasts_and_samples_start_from_an_uncertain_state():
    times, y = reverting(3, n=30)
    model = known_equation(n_predict_paths=20_000).fit(times[:, None], y)
    far = times[-1] + np.array([0.05, 1.0])
    expected, spread = posterior(model, times, y, far)
    samples = model.sample(far[:, None], 20_000, random_state=1)
    np.testing.assert_allclose(samples.mean(0), expected, atol=0.02)
    np.testing.assert_allclose(samples.std(0), np.sqrt(spread**2 + 0.09), rtol=0.03)
    mean, std, quantiles = model.predict(far[:, None], return_std=True, quantiles=[0.05, 0.95])
    np.testing.assert_allclose(mean, expected, atol=0.03)
    np.testing.assert_allclose(std, np.sqrt(spread**2 + 0.09), rtol=0.03)
    np.testing.assert_allclose(quantiles[:, 1] - quantiles[:, 0], 2 * 1.645 * std, rtol=0.05)


def test_outputs_that_are_missing_are_filled_in_by_what_they_go_with():
    """Two correlated Brownian motions, the second seen rarely: the likelihood is the joint law's."""
    rng = np.random.default_rng(4)
    g = np.array([[1.0, 0.0], [0.9, 0.3]])
    times = np.arange(30.0)
    y = np.cumsum(np.concatenate([np.zeros((1, 2)), rng.normal(size=(29, 2)) @ g.T]), axis=0)
    y[np.arange(30) % 4 != 0, 1] = np.nan
    model = NeuralSDERegressor(0.0, torch.nn.Identity(), random_state=0)
    model.set_params(drift=0.0, diffusion=lambda t, u: torch.as_tensor(g).expand(len(u), 2, 2), noise="general")
    model.fit(times[:, None], y)
    density = model.log_likelihood(times[:, None], y)
    cov = np.kron(np.minimum.outer(times[1:], times[1:]), g @ g.T)
    flat = y[1:].ravel()
    seen = ~np.isnan(flat)
    joint = multivariate_normal(np.zeros(seen.sum()), cov[np.ix_(seen, seen)]).logpdf(flat[seen])
    assert density[1:].sum() == pytest.approx(joint, abs=1e-8)
    assert model.loss_ == pytest.approx(-joint / 29, abs=1e-8)


class Restoring(torch.nn.Module):
    """Angle and velocity of a pendulum whose force and friction are to be found."""

    def __init__(self):
        super().__init__()
        self.force = torch.nn.Parameter(torch.tensor(2.0))
        self.friction = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, t, u):
        angle, velocity = u.unbind(-1)
        return torch.stack([velocity, -self.force * angle.sin() - self.friction * velocity], -1)


def pendulum(seed, n=400, spacing=0.1, noise=0.1):
    """Times, angles seen through noise, and velocities; force 4, friction 0.2, kicks of 0.5."""
    rng = np.random.default_rng(seed)
    fine, state, states = 50, np.array([1.0, 0.0]), []
    for _ in range(n):
        states.append(state.copy())
        for _ in range(fine):
            h = spacing / fine
            angle, velocity = state
            kick = 0.5 * np.sqrt(h) * rng.normal()
            state = state + h * np.array([velocity, -4 * np.sin(angle) - 0.2 * velocity]) + np.array([0.0, kick])
    states = np.array(states)
    return spacing * np.arange(n), states[:, 0] + noise * rng.normal(size=n), states[:, 1]


def test_a_pendulum_that_is_seen_in_angle_only():
    times, y, velocity = pendulum(0)
    model = NeuralSDERegressor(
        Restoring(),
        lambda t, u: torch.tensor([0.0, 0.5], dtype=u.dtype).expand_as(u),
        n_states=2,
        observation_noise="learn",
        origin="smooth",
        random_state=0,
    ).fit(times[:, None], y)
    force, friction = (p.item() for p in model.drift_.function.parameters())
    assert force == pytest.approx(4, abs=0.4)
    assert friction == pytest.approx(0.2, abs=0.15)
    assert model.model_.noise_std.item() == pytest.approx(0.1, rel=0.1)
    np.testing.assert_allclose(model.drift_field([[np.pi / 2, 1.0]]), [[1.0, -force - friction]])
    np.testing.assert_allclose(model.diffusion_field([[0.3, 1.0]]), [[0.0, 0.5]])
    mean, std = model.predict_states(times[:, None], return_std=True)
    assert mean.shape == (400, 2)
    score = (mean[:, 1] - velocity) / std[:, 1]
    assert np.mean((mean[:, 1] - velocity) ** 2) < 0.05 * np.var(velocity)
    assert 0.7 < np.sqrt(np.mean(score**2)) < 1.3


def test_noise_of_an_observation_at_time_zero_is_not_that_of_the_path():
    times, y = reverting(6, n=30)
    model = NeuralSDERegressor(0.0, 1.0, observation_noise=0.5, origin="start", max_iter=1, random_state=0)
    model.fit(times[:, None], y)
    first, near, far = model.sample(np.array([[0.0], [0.3], [4.8]]), 5000, random_state=1).T
    variance = first.var() - 0.25  # of the state where it starts, which all share
    assert np.cov(first, near)[0, 1] == pytest.approx(variance, abs=0.06)
    assert np.cov(first, far)[0, 1] == pytest.approx(variance, abs=0.12)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_units_of_y_do_not_change_what_is_learned(scale):
    times, y = reverting(7, n=40)
    model = NeuralSDERegressor(observation_noise="learn", max_iter=20, optimizer="adam", random_state=0)
    expected = clone(model).fit(times[:, None], y)
    model.fit(times[:, None], scale * y)
    assert model.loss_ - np.log(scale) == pytest.approx(expected.loss_, abs=0.01)
    mean = model.predict(times[:, None]) / scale
    np.testing.assert_allclose(mean, expected.predict(times[:, None]), atol=0.02)


def test_warm_starts_take_the_noise_that_is_asked_for_now():
    times, y = reverting(8, n=20)
    model = known_equation(warm_start=True).fit(times[:, None], y)
    model.set_params(observation_noise=0.5).fit(times[:, None], y)
    assert model.model_.noise_std.item() == pytest.approx(0.5)
    model.set_params(observation_noise="learn").fit(times[:, None], y)
    assert model.model_.noise_std.item() != pytest.approx(0.5, abs=1e-3)
    with pytest.raises(ValueError, match="must stay as they were"):
        model.set_params(observation_noise="none").fit(times[:, None], y)
    with pytest.raises(ValueError, match="must stay as they were"):
        model.set_params(observation_noise=0.3, n_states=2).fit(times[:, None], y)


def test_what_is_shown_may_be_a_function_of_the_state():
    times, y = reverting(5, n=150, noise=0.05)
    loud = NeuralSDERegressor(
        lambda t, u: -u, Noise(), n_states=1, observation=lambda u: torch.exp(u), observation_noise=0.05, random_state=0
    ).fit(times[:, None], np.exp(y))
    assert float(loud.diffusion_.function.log_size.exp().detach()) == pytest.approx(1.0, abs=0.2)
    assert np.corrcoef(loud.predict_states(times[1:, None])[:, 0], y[1:])[0, 1] > 0.6
    assert loud.score(times[:, None], np.exp(y)) > 0.2


def test_panels_pickles_new_series_and_other_sklearn_customs():
    frames = []
    for seed in range(4):
        times, y = reverting(seed, n=12)
        frames.append(pd.DataFrame({"y": y}, index=pd.MultiIndex.from_product([[f"s{seed}"], times])))
    data = pd.concat(frames).rename_axis(["series", "time"])
    model = clone(NeuralSDERegressor(observation_noise="learn", max_iter=1, random_state=0))
    X, y = data[[]], data["y"]
    model.fit(X.loc[:"s2"], y.loc[:"s2"])
    mean = model.predict(X.loc[:"s2"])
    pd.testing.assert_series_equal(pickle.loads(pickle.dumps(model)).predict(X.loc[:"s2"]), mean)
    # In any order, and one row at a time.
    shuffled = X.loc[:"s2"].sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(model.predict(shuffled), mean.loc[shuffled.index])
    pd.testing.assert_series_equal(model.predict(X.iloc[7:8]), mean.iloc[7:8])
    with pytest.raises(ValueError, match="no observed state"):
        model.predict(X.loc["s3":])
    assert np.isfinite(model.score(X.loc["s3":], y.loc["s3":]))
    model.update_state(X.loc["s3":].iloc[:5], y.loc["s3":].iloc[:5])
    assert np.isfinite(model.predict(X.loc["s3":])).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_states": 2, "loss": "mean"}, "need loss='nll'"),
        ({"observation_noise": -1.0}, "observation_noise"),
        ({"observation_noise": [0.1, 0.2]}, "one or one for each of the 1 columns"),
        ({"observation": [1]}, "must name one state"),
        ({"origin": "smooth", "loss": "mean"}, "origin='smooth' needs loss='nll'"),
        ({"n_states": 2, "observation": lambda u: u}, "one column for each of the 1 columns of y"),
    ],
)
def test_what_makes_no_sense_is_refused(parameters, message):
    times, y = reverting(0, n=20)
    with pytest.raises(ValueError, match=message):
        NeuralSDERegressor(**parameters).fit(times[:, None], y)


def test_tables_have_no_states_to_filter():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.permutation(40) % 7.0, rng.normal(size=(40, 2))])
    with pytest.raises(ValueError, match="are for series"):
        NeuralSDERegressor(n_states=3).fit(X, X[:, 1])
