"""The estimator inside scikit-learn's own tools, and in other processes."""

import io
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, TimeSeriesSplit, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skneuralde import MLP, NeuralSDERegressor


def test_grid_search_over_solver_tolerance_and_network(quick, driven):
    X, y = (rows.iloc[:24] for rows in driven)
    pipeline = Pipeline([("scale", StandardScaler()), ("sde", quick(drift=MLP((4,)), max_iter=1))]).set_output(
        transform="pandas"
    )
    grid = {
        "sde__rtol": [1e-1, 1e-3],
        "sde__solver": ["auto", "tsit5"],
        "sde__drift__hidden_layer_sizes": [(2,), (4,)],
    }
    search = GridSearchCV(pipeline, grid, cv=TimeSeriesSplit(2), error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    prediction = search.predict(X)
    assert isinstance(prediction, pd.Series)
    assert prediction.index.equals(X.index)


def test_a_nested_parameter_of_a_word_says_what_to_pass():
    with pytest.raises(ValueError, match=r"drift is 'mlp'. Pass drift=MLP\(\) first"):
        NeuralSDERegressor().set_params(drift__hidden_layer_sizes=(3,))
    changed = NeuralSDERegressor().set_params(drift=MLP(), drift__hidden_layer_sizes=(3,))
    assert changed.drift.hidden_layer_sizes == (3,)


class Decay(torch.nn.Module):
    """The drift -rate u^2, whose solution is u0 / (1 + rate u0 t)."""

    def __init__(self, rate=0.5):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor([rate]))

    def forward(self, t, u):
        return -self.rate * u * u


@pytest.mark.parametrize(
    "options",
    [
        {"diffusion": None, "solver": "bs3"},
        {"diffusion": 0.02, "solver": "bs3", "optimizer": "adam", "max_iter": 2, "learning_rate_init": 0.1},
        {"diffusion": 0.02},
    ],
    ids=["curve", "moments by bs3", "local linearisation"],
)
def test_learned_parameters_move_with_rtol_and_converge(options):
    t = np.arange(0.0, 9.0, 3.0)
    y = 2.0 / (1.0 + 2.0 * t) + 0.02 * np.cos(5.0 * t)

    def learned(rtol):
        model = NeuralSDERegressor(Decay(1.5), rtol=rtol, random_state=0, **options).fit(t[:, None], y)
        return model.drift_.function.rate.item()

    loose, tight, tighter = learned(1e-1), learned(1e-5), learned(1e-6)
    assert abs(loose - tighter) > 1e-6
    assert abs(tight - tighter) < 1e-5
    assert abs(tight - tighter) < 0.02 * abs(loose - tighter)


def test_cross_validation_by_folds_reaches_rows_before_the_origin(quick, daily):
    X, y = daily
    with pytest.warns(UserWarning, match="before the first observation"):
        predicted = cross_val_predict(quick(), X, y, cv=KFold(4))
    assert predicted.shape == (40,)
    assert np.isfinite(predicted).all()
    with pytest.warns(UserWarning, match="integrating backwards"):
        predicted = cross_val_predict(quick(diffusion=None, max_iter=1), X, y, cv=KFold(4))
    assert np.isfinite(predicted).all()


def test_cross_validation_by_series(quick, panel):
    X, y = panel
    scores = cross_val_score(
        quick(series="name", time="t"), X, y, groups=X["name"], cv=GroupKFold(4), error_score="raise"
    )
    assert np.isfinite(scores).all()


def test_clone_knows_parameters_and_nothing_else(quick, numbers):
    model = quick(drift=[MLP((3,)), -0.1], diffusion=Decay())
    copy = clone(model.fit(*numbers))
    assert not hasattr(copy, "problem_")
    assert copy.get_params()["rtol"] == model.rtol
    np.testing.assert_array_equal(copy.fit(*numbers).predict(numbers[0]), model.predict(numbers[0]))


def test_fitting_leaves_the_parameters_alone(quick, numbers):
    module = Decay()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model = quick(drift=module).fit(*numbers)
    assert model.drift is module
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert any(not torch.equal(p, q) for p, q in zip(module.parameters(), model.drift_.parameters(), strict=True))


def test_transformed_target(quick, daily):
    X, y = daily
    model = TransformedTargetRegressor(quick(), func=np.exp, inverse_func=np.log, check_inverse=False).fit(X, y)
    assert model.predict(X).shape == (40,)
    scaled = TransformedTargetRegressor(quick(), transformer=StandardScaler()).fit(X, y.to_numpy())
    np.testing.assert_allclose(scaled.predict(X), quick().fit(X, y.to_numpy()).predict(X), rtol=1e-6)


def test_a_scaler_that_drops_the_index_is_named(quick, driven):
    X, y = driven
    with pytest.raises(ValueError, match=r"set_output\(transform='pandas'\)"):
        make_pipeline(StandardScaler(), quick()).fit(X, y)


READ_AND_PREDICT = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    models, X = pickle.load(file)
answers = [(m.predict(X, return_std=True), m.sample(X, 5, random_state=4), m.predict(m.future(3))) for m in models]
with open(sys.argv[2], "wb") as file:
    pickle.dump(answers, file)
"""


def test_another_process_gives_the_same_predictions_and_samples(quick, daily, tmp_path):
    X, y = daily
    models = [quick().fit(X, y), quick(loss="mean", n_paths=4).fit(X, y), quick(diffusion=None, max_iter=1).fit(X, y)]
    (tmp_path / "models").write_bytes(pickle.dumps((models, X)))
    subprocess.run(
        [sys.executable, "-c", READ_AND_PREDICT, tmp_path / "models", tmp_path / "answers"], check=True, timeout=60
    )
    answers = pickle.loads((tmp_path / "answers").read_bytes())
    for model, (moments, samples, future) in zip(models, answers, strict=True):
        for there, here in zip(moments, model.predict(X, return_std=True), strict=True):
            pd.testing.assert_series_equal(there, here, check_exact=True, check_freq=False)
        np.testing.assert_array_equal(samples, model.sample(X, 5, random_state=4))
        np.testing.assert_array_equal(future, model.predict(model.future(3)))


def test_joblib_round_trip(quick, panel):
    X, y = panel
    model = quick(series="name", time="t").fit(X, y)
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = joblib.load(buffer)
    pd.testing.assert_series_equal(again.predict(X), model.predict(X), check_exact=True)
