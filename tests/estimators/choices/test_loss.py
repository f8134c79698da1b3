"""Losses as the estimator offers them: what it chose and says, weights, snapshots, and numbers of paths."""

import numpy as np
import pandas as pd
import pytest

from skneuralde import NeuralSDERegressor, to_rows
from tests.learnable_equations import Level, OrnsteinUhlenbeck

TIMES = np.array([0.0, 0.5, 1.5])
OF_PATHS = ["mean", "moments", "crps", "energy"]


def reversion(n, seed=0, level=1.0):
    """Series of an Ornstein-Uhlenbeck process of rate 1 and volatility 0.5, ``(n, n_times)``."""
    rng = np.random.default_rng(seed)
    paths = [0.3 * rng.normal(size=n)]
    for gap in np.diff(TIMES):
        decay = np.exp(-gap)
        paths.append(level + decay * (paths[-1] - level) + 0.5 * np.sqrt((1 - decay**2) / 2) * rng.normal(size=n))
    return np.stack(paths, 1)


@pytest.fixture
def repeated():
    return to_rows(reversion(6)[:, :, None], TIMES)


@pytest.fixture
def cells():
    """Forty individuals at each of three times, none of them seen twice."""
    y = np.concatenate([reversion(40, seed=k)[:, k] for k in range(3)])
    return pd.DataFrame({"t": np.repeat(TIMES, 40), "cell": np.arange(120)}), y


def learnable(loss, **parameters):
    few = {"noise": "additive", "n_paths": 12, "max_iter": 2, "n_predict_paths": 20, "random_state": 0, **parameters}
    return NeuralSDERegressor(OrnsteinUhlenbeck(1.5, 0.5), Level(0.8), loss=loss, **few)


@pytest.mark.parametrize("loss", OF_PATHS)
def test_losses_of_paths_learn(repeated, loss):
    X, y = repeated
    model = learnable(loss, max_iter=10, learning_rate_init=0.05).fit(X, y)
    assert model.loss_name_ == loss
    assert np.isfinite(model.loss_curve_).all()
    assert model.loss_ < model.loss_curve_[0]
    if loss != "mean":  # which says next to nothing of the noise
        (log_value,) = (p.item() for p in model.diffusion_.parameters())
        assert 0.4 < np.exp(log_value) < 0.75  # on its way from where it started to the truth
    assert model.solver_stats_["n_paths"] == 12
    assert model.solver_stats_["training"] == ("platen" if loss in ("mean", "moments") else "sosra")
    assert np.isfinite(np.asarray(model.predict(X))).all()


@pytest.mark.parametrize("loss", OF_PATHS)
def test_a_weight_is_a_repetition_of_the_row(repeated, loss):
    X, y = repeated
    weight = np.where(np.arange(len(y)) % 4 == 2, 2.0, 1.0)
    twice = np.repeat(np.arange(len(y)), weight.astype(int))
    weighted = learnable(loss).fit(X, y, sample_weight=weight)
    rows = learnable(loss).fit(X.iloc[twice], np.asarray(y)[twice])
    np.testing.assert_allclose(weighted.loss_curve_, rows.loss_curve_, rtol=1e-9)
    assert not np.allclose(weighted.loss_curve_, learnable(loss).fit(X, y).loss_curve_)


@pytest.mark.parametrize(("loss", "least"), [("mean", 4), ("moments", 12), ("crps", 4), ("energy", 4)])
def test_too_few_paths_are_refused(repeated, loss, least):
    with pytest.raises(ValueError, match=f"n_paths must be an integer of at least {least}"):
        learnable(loss, n_paths=least - 1).fit(*repeated)


@pytest.mark.parametrize("loss", OF_PATHS)
def test_losses_of_paths_need_noise(repeated, loss):
    with pytest.raises(ValueError, match="least_squares"):
        NeuralSDERegressor(diffusion=None, loss=loss).fit(*repeated)


@pytest.mark.parametrize(
    ("parameters", "name", "reason"),
    [
        ({}, "nll", "the equation has noise"),
        ({"diffusion": None}, "least_squares", "the equation has no noise"),
        ({"loss": "crps", "n_paths": 4}, "crps", "the parameter loss asks for it"),
    ],
)
def test_it_says_what_it_minimises_and_why(quick, numbers, capsys, parameters, name, reason):
    model = quick(max_iter=1, verbose=True, **parameters).fit(*numbers)
    assert model.loss_name_ == name
    assert reason in model.loss_reason_
    assert f"loss {name!r}: {model.loss_reason_}" in capsys.readouterr().out


def test_it_says_so_anew_when_it_goes_on_with_another_loss(repeated):
    model = learnable("crps", warm_start=True).fit(*repeated)
    assert model.set_params(loss="auto").fit(*repeated).loss_name_ == "nll"
    assert "the equation has noise" in model.loss_reason_


def test_a_plain_table_has_a_reason_of_its_own(quick):
    X = np.random.default_rng(0).normal(size=(12, 3))
    assert "plain table" in quick(max_iter=1).fit(X, X[:, 1]).loss_reason_


def test_paths_grow_by_themselves_and_are_reported(repeated):
    X, y = repeated
    model = learnable("crps", n_paths="auto", max_iter=12).fit(X, y)
    assert 16 <= model.solver_stats_["n_paths"] <= 256
    grown = learnable("crps", n_paths="auto", max_iter=40, learning_rate_init=0.2).fit(X, y)
    assert grown.solver_stats_["n_paths"] > 16
    kept = learnable("crps", n_paths="auto", optimizer="lbfgs", max_iter=3).fit(X, y)
    assert kept.solver_stats_["n_paths"] == 256
    held = learnable("energy", n_paths="auto", early_stopping=True, validation_fraction=0.4).fit(X, y)
    assert len(held.validation_scores_) == 2
    assert "n_paths" not in NeuralSDERegressor(max_iter=1).fit(X, y).solver_stats_


def test_least_squares_solves_each_curve_once(quick, numbers):
    """The number of paths is no business of an equation without noise."""
    sizes = set()

    def drift(t, u):
        sizes.add(len(u))
        return -u

    quick(drift=[drift, "mlp"], diffusion=None, n_paths=50, max_iter=1).fit(*numbers)
    assert max(sizes) < 50


def test_moments_need_series_at_common_times(repeated):
    X, y = repeated
    apart = X.reset_index()
    apart["time"] = apart["time"] + 0.01 * apart["series"]
    with pytest.raises(ValueError, match="common times"):
        learnable("moments", series="series", time="time").fit(apart, y)


def test_snapshots_are_told_by_the_data(cells):
    X, y = cells
    with pytest.warns(UserWarning, match="do not identify the dynamics"):
        model = learnable("energy", series="cell", max_iter=30, learning_rate_init=0.05).fit(X, y)
    assert "every series has a single observation" in model.loss_reason_
    assert model.loss_ < 0.3 * model.loss_curve_[0]
    # What was learned predicts an individual onwards, and has densities.
    later = pd.DataFrame({"t": [1.5, 1.5], "cell": [0, 1]})
    mean, std = model.predict(later, return_std=True)
    assert np.isfinite(mean).all()
    assert (std > 0).all()
    assert np.isfinite(model.log_likelihood(later, [0.5, 1.0])).all()


@pytest.mark.filterwarnings("ignore:Every series has a single")
def test_snapshots_hold_out_individuals_and_count_weights(cells):
    X, y = cells
    model = learnable("energy", series="cell", early_stopping=True).fit(X, y)
    assert np.isfinite(model.validation_scores_).all()
    one, other = (learnable("energy", series="cell").fit(X, y, sample_weight=np.full(120, w)) for w in (1.0, 2.0))
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_)
    half = np.arange(120) % 2 == 0
    part = learnable("energy", series="cell").fit(X[half], y[half])
    left_out = learnable("energy", series="cell").fit(X, y, sample_weight=half.astype(float))
    np.testing.assert_allclose(part.loss_curve_, left_out.loss_curve_)


@pytest.mark.filterwarnings("ignore:Every series has a single")
def test_snapshots_refuse_what_they_cannot_use(cells):
    X, y = cells
    two = np.stack([y, y], 1)
    two[5, 1] = np.nan
    with pytest.raises(ValueError, match="need all outputs"):
        learnable("energy", series="cell").fit(X, two)
    with pytest.raises(ValueError, match="cannot have controls"):
        NeuralSDERegressor(loss="energy", series="cell", controls=["dose"]).fit(X.assign(dose=np.arange(120.0)), y)
    with pytest.raises(ValueError, match="nothing to learn from"):
        learnable("energy", series="cell").fit(X.assign(t=1.0), y)
    with pytest.raises(ValueError, match="loss='energy' for snapshots"):
        learnable("nll", series="cell").fit(X, y)


def test_a_hidden_state_is_a_reason_to_filter(numbers):
    X, y = numbers
    model = NeuralSDERegressor(lambda t, u: -u, None, observation_noise=0.5, loss="auto", max_iter=1).fit(X, y)
    assert model.loss_name_ == "nll"
    assert "filtered" in model.loss_reason_
    with pytest.raises(ValueError, match="loss='crps' takes observations for the state itself"):
        learnable("crps", observation_noise="learn").fit(X, y)
