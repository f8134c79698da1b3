"""The data layer inside a minimal estimator passes every check of scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

from skneuralde.data import Clock, Roles, as_panel, check_features, read_targets, weighted_scaling


class LinearInPanel(RegressorMixin, BaseEstimator):
    """Weighted least squares on what the data layer hands over: times, context and controls."""

    def __init__(self, time="auto", series=None, controls="auto", initial_state="auto"):
        self.time = time
        self.series = series
        self.controls = controls
        self.initial_state = initial_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.allow_nan = False
        return tags

    def fit(self, X, y, sample_weight=None):
        table = check_features(self, X, reset=True)
        roles = Roles.fit(
            table, y, time=self.time, series=self.series, controls=self.controls, initial_state=self.initial_state
        )
        rows = roles.read(table)
        targets = read_targets(y, rows, roles=roles)
        clock = Clock.fit(rows.times, rows.codes)
        panel = as_panel(rows, targets.values, clock=clock, roles=roles, sample_weight=sample_weight)
        self.roles_, self.clock_, self.output_ = roles, clock, targets.output
        features = self._features(panel)
        self.scaling_ = weighted_scaling(features, panel.weight)
        design = np.column_stack([np.ones(len(features)), (features - self.scaling_.loc) / self.scaling_.scale])
        root = np.sqrt(panel.weight)[:, None]
        self.coef_ = np.linalg.lstsq(design * root, np.nan_to_num(panel.values) * root, rcond=None)[0]
        return self

    def predict(self, X):
        check_is_fitted(self)
        table = check_features(self, X, reset=False)
        panel = as_panel(self.roles_.read(table), clock=self.clock_, roles=self.roles_)
        design = (self._features(panel) - self.scaling_.loc) / self.scaling_.scale
        # not a matrix product: its rounding depends on how many rows are asked for
        values = self.coef_[0] + (design[:, :, None] * self.coef_[1:]).sum(axis=1)
        return self.output_.like(values[panel.rows], X)

    def _features(self, panel):
        return np.column_stack([panel.times, panel.context, panel.controls]).astype(float)


def test_check_estimator():
    check_estimator(LinearInPanel())


DAYS = pd.date_range("2020-01-01", periods=60, freq="D")


def daily():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=60), "z": rng.normal(size=60)}, index=DAYS)
    return X, (2 * X["x"] + 0.1 * np.arange(60)).rename("y")


def test_a_scaler_in_a_pipeline():
    X, y = daily()
    with pytest.raises(ValueError, match=r"set_output\(transform='pandas'\)"):
        make_pipeline(StandardScaler(), LinearInPanel()).fit(X, y)
    model = make_pipeline(StandardScaler(), LinearInPanel()).set_output(transform="pandas").fit(X, y)
    pd.testing.assert_series_equal(model.predict(X), y, check_freq=False)


def test_predictions_of_arrays_where_scikit_learn_reshapes_them():
    X, y = daily()
    model = TransformedTargetRegressor(LinearInPanel(), transformer=StandardScaler()).fit(X, y)
    np.testing.assert_allclose(np.ravel(model.predict(X)), y)


@pytest.mark.parametrize("cv", [TimeSeriesSplit(3), KFold(3), KFold(3, shuffle=True, random_state=0)])
def test_cross_validation(cv):
    X, y = daily()
    search = GridSearchCV(LinearInPanel(), {"controls": ["auto", ["x"]]}, cv=cv, error_score="raise")
    with pytest.raises(ValueError, match="'z' varies within the series"):
        search.fit(X, y)
    assert search.set_params(param_grid={"controls": ["auto", ["x", "z"]]}).fit(X, y).best_score_ > 0.99


def test_cross_val_predict():
    X, y = daily()
    np.testing.assert_allclose(cross_val_predict(LinearInPanel(), X, y, cv=KFold(4)), y, atol=1e-9)


def test_group_k_fold_leaves_series_out():
    X, y = daily()
    X = X.set_index(pd.Index(np.repeat(["a", "b", "c"], 20), name="id"), append=True)
    scores = cross_val_score(LinearInPanel(), X, y, cv=GroupKFold(3), groups=X.index.get_level_values("id"))
    assert scores.min() > 0.99


def test_fitted_state_is_forgotten_in_a_new_fit():
    X, y = daily()
    model = LinearInPanel().fit(X, y)
    model.fit(np.random.default_rng(0).normal(size=(20, 3)), np.arange(20.0))
    assert not hasattr(model, "feature_names_in_")
    assert model.n_features_in_ == 3
    assert model.roles_.layout.name == "table"
