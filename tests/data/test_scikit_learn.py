"""The data layer inside a minimal estimator passes every check of scikit-learn."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
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
