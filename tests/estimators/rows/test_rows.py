"""Rows are queries: what a row's answer depends on, and what it does not."""

import numpy as np
import pandas as pd
import pytest
import torch

from skneuralde import MLP, NeuralSDERegressor, to_rows

N = 60


@pytest.fixture(scope="module")
def data():
    """A series with dates, gaps and two controls, one of which drives it."""
    rng = np.random.default_rng(0)
    index = pd.date_range("2021-01-01", periods=N + 20, freq="D", tz="Europe/Berlin").delete(range(30, 50))
    X = pd.DataFrame({"a": rng.normal(size=N), "b": rng.normal(size=N)}, index=index)
    y = np.zeros(N)
    for i in range(1, N):
        y[i] = 0.8 * y[i - 1] + 0.3 * X["a"].iloc[i] + 0.2 * rng.normal()
    return X, pd.Series(y, index=index, name="level")


@pytest.fixture(scope="module")
def fitted(data):
    X, y = data
    return NeuralSDERegressor(max_iter=4, n_predict_paths=16, random_state=0).fit(X.iloc[:50], y.iloc[:50])


def test_later_rows_change_no_earlier_prediction_or_density(fitted, data):
    X, y = data
    short = fitted.predict(X.iloc[:20], return_std=True)
    whole = fitted.predict(X, return_std=True)
    for few, all_rows in zip(short, whole, strict=True):
        np.testing.assert_allclose(few, all_rows.iloc[:20], rtol=1e-12)
    density = fitted.log_likelihood(X, y)
    np.testing.assert_allclose(fitted.log_likelihood(X.iloc[:55], y.iloc[:55]), density[:55], rtol=1e-12)
    assert np.isnan(density[0])
    assert np.isfinite(density[1:]).all()


def test_a_forecast_depends_on_earlier_controls_only(fitted, data):
    X, _ = data
    ahead = X.iloc[50:]
    later = ahead.copy()
    later.iloc[5:] += 1.0
    np.testing.assert_allclose(fitted.predict(later).iloc[:5], fitted.predict(ahead).iloc[:5], rtol=1e-10)
    assert not np.allclose(fitted.predict(later).iloc[5:], fitted.predict(ahead).iloc[5:])


def test_the_order_of_rows_and_their_company_do_not_matter():
    rng = np.random.default_rng(1)
    t, y = np.arange(40.0)[:, None], rng.normal(size=40)
    shuffled = rng.permutation(40)
    models = [
        NeuralSDERegressor(max_iter=3, n_predict_paths=16, random_state=0).fit(t[order], y[order])
        for order in (np.arange(40), shuffled)
    ]
    asked = np.array([[41.0], [5.5], [60.0], [12.0]])
    answers = [model.predict(asked) for model in models]
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-9)
    alone = [models[0].predict(row[None])[0] for row in asked]
    np.testing.assert_allclose(answers[0], alone, rtol=1e-9)
    paths = models[0].sample(asked, 5, random_state=3)
    np.testing.assert_allclose(paths[:, :1], models[0].sample(asked[:1], 5, random_state=3), rtol=1e-9)


def test_output_mirrors_y_and_the_index_of_X(fitted, data):
    X, _ = data
    mean, std, quantiles = fitted.predict(X.iloc[45:], return_std=True, quantiles=[0.1, 0.9])
    assert mean.name == "level"
    assert mean.index.equals(X.index[45:])
    assert (std > 0).all()
    assert quantiles.shape == (15, 2)
    assert (quantiles.iloc[:, 0] < mean).all()
    assert fitted.sample(X.iloc[45:], 3, random_state=0).shape == (3, 15)


def test_single_precision_in_and_out():
    t, y = np.arange(30, dtype=np.float32)[:, None], np.sin(np.arange(30, dtype=np.float32))
    model = NeuralSDERegressor(max_iter=2, random_state=0).fit(t, y)
    assert model.predict(t).dtype == np.float32
    assert model.drift_(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1, 0)).dtype == torch.float32


def test_predictions_follow_the_scale_of_y():
    rng = np.random.default_rng(2)
    t, y = np.arange(50.0)[:, None], rng.normal(size=50).cumsum()
    small, large = (NeuralSDERegressor(max_iter=5, random_state=0).fit(t, scale * y) for scale in (1.0, 1e8))
    np.testing.assert_allclose(large.predict(t), 1e8 * small.predict(t), rtol=1e-6)
    shift = small.log_likelihood(t, y)[1:] - large.log_likelihood(t, 1e8 * y)[1:]
    np.testing.assert_allclose(shift, np.log(1e8), rtol=1e-6)


def test_new_observations_move_the_forecast_without_training(data):
    X, y = data
    model = NeuralSDERegressor(max_iter=4, random_state=0).fit(X.iloc[:40], y.iloc[:40])
    before = model.predict(X.iloc[45:46])
    model.update_state(X.iloc[40:45], y.iloc[40:45])
    reference = NeuralSDERegressor(max_iter=4, random_state=0).fit(X.iloc[:40], y.iloc[:40])
    reference.update_state(X.iloc[42:45], y.iloc[42:45]).update_state(X.iloc[40:42], y.iloc[40:42])
    assert not np.allclose(model.predict(X.iloc[45:46]), before)
    np.testing.assert_allclose(model.predict(X.iloc[45:46]), reference.predict(X.iloc[45:46]), rtol=1e-12)


def test_future_rows_continue_each_series():
    X, y = to_rows({"p": np.arange(6.0), "q": np.arange(4.0)}, {"p": np.arange(6.0), "q": 0.5 * np.arange(4.0)})
    model = NeuralSDERegressor(max_iter=2, n_predict_paths=8, random_state=0).fit(X, y)
    ahead = model.future(2)
    assert ahead.index.tolist() == [("p", 6.0), ("p", 7.0), ("q", 2.0), ("q", 2.5)]
    assert np.isfinite(model.predict(ahead)).to_numpy().all()


def test_an_unseen_series_needs_its_first_observations():
    X, y = to_rows(np.random.default_rng(3).normal(size=(3, 8, 1)), np.arange(8.0))
    known, new = X.index.get_level_values(0) < 2, X.index.get_level_values(0) == 2
    model = NeuralSDERegressor(max_iter=2, random_state=0).fit(X[known], y[known])
    with pytest.raises(ValueError, match="update_state"):
        model.predict(X[new])
    assert np.isfinite(model.score(X[new], y[new]))
    model.update_state(X[new][:1], y[new][:1])
    assert np.isfinite(np.asarray(model.predict(X[new]))).all()


def test_noisy_paths_do_not_run_backwards():
    model = NeuralSDERegressor(max_iter=2, random_state=0).fit(np.arange(20.0)[:, None], np.zeros(20))
    with pytest.warns(UserWarning, match="equal lag"):
        model.predict([[-1.0]])
    with pytest.raises(ValueError, match="backwards"):
        model.sample([[-1.0]])


def test_missing_values_of_y_bridge_the_gap():
    t, y = np.arange(40.0)[:, None], np.sin(np.arange(40.0) / 3)
    holes = y.copy()
    holes[10:13] = np.nan
    model = NeuralSDERegressor(max_iter=3, random_state=0).fit(t, holes)
    seen = ~np.isnan(holes)
    same = NeuralSDERegressor(max_iter=3, random_state=0).fit(t[seen], y[seen])
    np.testing.assert_allclose(model.predict(t), same.predict(t), rtol=1e-9)


def test_two_outputs_with_correlated_noise():
    rng = np.random.default_rng(4)
    y = rng.multivariate_normal([0, 0], [[1.0, 0.8], [0.8, 1.0]], size=300).cumsum(axis=0)
    t = np.arange(300.0)[:, None]
    model = NeuralSDERegressor(drift=None, noise="general", inputs=(), random_state=0).fit(t, y)
    g = model.diffusion_(torch.zeros(1, 1).double(), torch.zeros(1, 2).double(), torch.zeros(1, 0).double())[0]
    covariance = (g @ g.T).detach().numpy()
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) == pytest.approx(
        0.8, abs=0.07
    )  # three standard errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "dopri6"}, "dopri5"),
        ({"rtol": 1e-20}, "machine epsilons"),
        ({"loss": "nll", "diffusion": None}, "least_squares"),
        ({"loss": "least_squares"}, "noise"),
        ({"drift": lambda t, u: u[:, 0]}, "shape"),
        ({"drift": lambda t, u: u / 0.0}, "drift returned"),
        ({"inputs": ("sate",)}, "sate"),
        ({"n_paths": 1, "loss": "mean"}, "n_paths"),
        ({"device": "cuda:99"}, "not available"),
        ({"origin": "last", "initial_state": "learn", "loss": "mean"}, "origin"),
    ],
)
def test_nonsense_is_refused_in_words(options, message):
    t, y = np.arange(10.0)[:, None], np.arange(10.0)
    with pytest.raises(ValueError, match=message):
        NeuralSDERegressor(**options).fit(t, y)


def test_known_rates_need_a_unit_of_time():
    index = pd.date_range("2020-01-01", periods=10)
    with pytest.raises(ValueError, match="time_unit"):
        NeuralSDERegressor(drift=[lambda t, u: -u, MLP()]).fit(index, np.arange(10.0))


def test_a_callback_predicts_and_stops():
    epochs = []

    def on_epoch(state):
        epochs.append((state.epoch, state.loss, state.predict([[3.0]])[0]))
        return state.epoch == 2

    t, y = np.arange(20.0)[:, None], np.sin(np.arange(20.0))
    model = NeuralSDERegressor(max_iter=9, on_epoch=on_epoch, random_state=0).fit(t, y)
    assert [epoch for epoch, *_ in epochs] == [1, 2]
    assert model.n_iter_ == 2
    assert np.isfinite(epochs).all()


def test_an_interruption_leaves_a_model_that_works():
    def on_epoch(state):
        if state.epoch == 3:
            raise KeyboardInterrupt

    t, y = np.arange(20.0)[:, None], np.sin(np.arange(20.0))
    model = NeuralSDERegressor(on_epoch=on_epoch, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(t, y)
    assert model.n_iter_ == 3
    assert np.isfinite(model.predict(t)).all()


def test_fitting_leaves_global_random_states_alone():
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 (it is the legacy state that must not move)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    t, y = np.arange(20.0)[:, None], np.sin(np.arange(20.0))
    model = NeuralSDERegressor(max_iter=2).fit(t, y)
    model.sample(t, 2)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
