"""Warnings of what data cannot tell, and silence where they can."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.estimator_checks import check_estimator

from skneuralde import NeuralSDERegressor, to_rows
from skneuralde.estimators.diagnostics import identifiability

TIMES = np.arange(2000.0)
WORDS = "never change|uncorrelated within|smooth curve"


def autoregression(coefficient, n=2000, seed=0):
    values = np.zeros(n)
    for i, shock in enumerate(np.random.default_rng(seed).normal(size=n - 1), 1):
        values[i] = coefficient * values[i - 1] + shock
    return values


def short_fit(X, y, **parameters):
    quick = {"hidden_layer_sizes": (2,), "optimizer": "adam", "max_iter": 1, "random_state": 0}
    return NeuralSDERegressor(**{**quick, **parameters}).fit(X, y)


def warned_of(X, y, **parameters):
    """Which of the three warnings a fit gives, as many times as it gives them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        short_fit(X, y, **parameters)
    return [str(w.message) for w in caught if pd.Series(str(w.message)).str.contains(WORDS).item()]


def test_an_output_that_never_moves_is_named_once():
    y = pd.DataFrame({"walk": np.cumsum(autoregression(0.0, 80)), "level": 3.3})
    (message,) = warned_of(TIMES[:80, None], y)
    assert message.startswith("The observations of 'level' never change")
    (message,) = warned_of(TIMES[:80, None], np.full(80, 0.1), diffusion=None)
    assert message.startswith("The observations of y never change")


def test_a_panel_at_its_steady_states_warns_although_the_series_differ():
    X, y = to_rows(np.broadcast_to(np.arange(5.0)[:, None, None], (5, 10, 1)), np.arange(10.0))
    assert len(warned_of(X, y)) == 1


def test_one_snapshot_per_series_is_refused():
    X = pd.DataFrame({"id": np.arange(20), "t": np.arange(20.0)})
    with pytest.raises(ValueError, match="no observation follows another one in any series"):
        short_fit(X, np.random.default_rng(0).normal(size=20), series="id", time="t")


def test_observations_without_memory_of_each_other_are_too_coarse():
    (message,) = warned_of(TIMES[:, None], autoregression(0.0))
    assert "Consecutive observations of y are uncorrelated within the error" in message
    assert "Observe more often" in message
    assert not warned_of(TIMES[:, None], autoregression(0.0), drift=lambda t, u: -u)


def test_outputs_that_remember_only_each_other_are_not_too_coarse():
    """A quarter of a turn per observation: every output is uncorrelated with its own past."""
    values = np.zeros((2000, 2))
    for i, shock in enumerate(np.random.default_rng(0).normal(size=(1999, 2)), 1):
        values[i] = 0.9 * np.array([-values[i - 1, 1], values[i - 1, 0]]) + shock
    own = np.corrcoef(values[1:, 0], values[:-1, 0])[0, 1]
    assert abs(own) < 0.1
    assert not warned_of(TIMES[:, None], values)


def test_a_smooth_curve_has_no_noise():
    t = np.sort(np.random.default_rng(0).uniform(0, 20, 150))
    y = np.stack([np.cos(t), autoregression(0.9, 150)], 1)
    (message,) = warned_of(t[:, None], y)
    assert message.startswith("The observations of column 0 of y follow a smooth curve")
    assert "diffusion=None" in message
    assert not warned_of(t[:, None], np.cos(t), diffusion=0.1)
    assert not warned_of(t[:, None], np.cos(t), diffusion=None)


@pytest.mark.parametrize("n", [60, 2000])
@pytest.mark.parametrize("seed", range(3))
def test_random_walks_and_geometric_brownian_motion_are_silent(n, seed):
    walk = np.cumsum(autoregression(0.0, n, seed))
    assert not warned_of(TIMES[:n, None], walk)
    assert not warned_of(TIMES[:n, None], np.exp(0.2 * walk - 0.02 * TIMES[:n]))
    irregular = np.cumsum(np.random.default_rng(seed).exponential(size=n) ** 2 + 1e-3)
    shocks = np.random.default_rng(seed).normal(size=n) * np.sqrt(np.diff(irregular, prepend=0.0))
    assert not warned_of(irregular[:, None], np.cumsum(shocks))


@pytest.mark.parametrize("seed", range(5))
def test_weak_memory_in_a_long_series_is_silent(seed):
    assert not warned_of(TIMES[:, None], autoregression(0.2, seed=seed))


@pytest.mark.parametrize("kicks", [1, 2], ids=["velocity", "acceleration"])
def test_smooth_paths_driven_by_noise_are_not_taken_for_curves(kicks):
    values = autoregression(0.0, 300)
    for _ in range(kicks + 1):
        values = np.cumsum(values)
    assert not warned_of(TIMES[:300, None], values)


def test_means_of_a_noisy_spiral_are_silent_under_their_own_loss():
    t = np.linspace(0.0, 1.0, 60)
    y = np.stack([np.cos(6 * t), np.sin(6 * t)], 1) * np.exp(-t)[:, None]
    assert not warned_of(t[:, None], y, loss="mean", n_paths=4)


def test_plain_tables_are_silent():
    X = np.random.default_rng(0).normal(size=(200, 3))
    assert not warned_of(X, X[:, 0])
    assert not warned_of(X, np.ones(200))


def test_the_data_of_scikit_learns_checks_are_silent(monkeypatch):
    """Most checks switch warnings off, so the one place that gives them is watched; one epoch fails on score alone."""
    given, looked = [], []
    look = identifiability.is_uncorrelated
    monkeypatch.setattr(identifiability, "_warn", lambda *message: given.append(message))
    monkeypatch.setattr(identifiability, "is_uncorrelated", lambda *at: looked.append(at) or look(*at))
    results = check_estimator(NeuralSDERegressor(max_iter=1, hidden_layer_sizes=(2,)), on_skip=None, on_fail=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    assert failed <= {"check_regressors_train"}
    assert looked
    assert not given
