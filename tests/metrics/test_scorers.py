"""Scorers against closed forms, and inside scikit-learn's own tools."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, TimeSeriesSplit, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skneuralde import MLP, NeuralSDERegressor
from skneuralde.metrics import (
    CoverageScorer,
    CRPSScorer,
    EnergyScoreScorer,
    LogLikelihoodScorer,
    crps,
    energy_score,
    log_likelihood_scorer,
    neg_crps_scorer,
    neg_energy_score_scorer,
)

SCORERS = {
    "crps": neg_crps_scorer,
    "energy": neg_energy_score_scorer,
    "density": log_likelihood_scorer,
    "coverage": CoverageScorer(0.8),
}


def walk_crps(change, steps):
    """CRPS of each change of a random walk over a number of steps."""
    std = 0.3 * np.sqrt(steps)
    z = change / std
    return std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))


def test_crps_of_a_random_walk_is_that_of_its_gaussian_forecasts(walk_model, walk):
    t, y = walk
    model = walk_model().fit(t[:40], y[:40])
    expected = -walk_crps(y[40:] - y[39], np.arange(1, 21)).mean()
    scores = [CRPSScorer(400, random_state=seed)(model, t[40:], y[40:]) for seed in range(10)]
    assert abs(np.mean(scores) - expected) < 4 * np.std(scores, ddof=1) / np.sqrt(10)
    assert np.std(scores) < 0.05 * abs(expected)
    assert neg_energy_score_scorer(model, t[40:], y[40:]) == pytest.approx(neg_crps_scorer(model, t[40:], y[40:]))


def test_log_likelihood_is_the_mean_over_rows_that_have_one(walk_model, walk):
    t, y = walk
    model = walk_model().fit(t[:40], y[:40])
    densities = norm.logpdf(np.diff(y[39:]), scale=0.3)
    assert log_likelihood_scorer(model, t[40:], y[40:]) == pytest.approx(densities.mean())
    weight = np.linspace(0, 1, 20)
    expected = np.average(densities, weights=weight)
    assert log_likelihood_scorer(model, t[40:], y[40:], sample_weight=weight) == pytest.approx(expected)
    y[45] = np.nan
    densities = norm.logpdf(np.diff(y[39:][~np.isnan(y[39:])]), scale=0.3 * np.sqrt([1] * 5 + [2] + [1] * 13))
    assert log_likelihood_scorer(model, t[40:], y[40:]) == pytest.approx(densities.mean())


def test_coverage_is_how_far_the_share_is_from_its_level_on_either_side(walk_model):
    rng = np.random.default_rng(7)
    t, y = np.arange(400.0)[:, None], 0.3 * rng.normal(size=400).cumsum()
    scorer = CoverageScorer(0.8, n_samples=50)
    right, narrow, wide = (scorer(walk_model(v).fit(t, y), t[1:], y[1:]) for v in (0.3, 0.03, 3.0))
    assert right > -4 * np.sqrt(0.8 * 0.2 / 399)
    share = np.mean(np.abs(np.diff(y)) < norm.ppf(0.9) * 0.03)
    assert narrow == pytest.approx(share - 0.8, abs=0.02)
    assert wide == pytest.approx(-0.2, abs=0.01)


def test_an_output_that_is_too_wide_does_not_make_up_for_one_that_is_too_narrow(walk_model):
    rng = np.random.default_rng(7)
    t, y = np.arange(200.0)[:, None], 0.3 * rng.normal(size=(200, 2)).cumsum(axis=0)
    model = walk_model([1e-3, 30.0]).fit(t, y)
    assert CoverageScorer(0.5)(model, t[1:], y[1:]) == pytest.approx(-0.5, abs=0.01)


def test_intervals_of_few_samples_keep_their_level(walk_model):
    rng = np.random.default_rng(8)
    t, y = np.arange(2000.0)[:, None], 0.3 * rng.normal(size=2000).cumsum()
    model = walk_model().fit(t, y)
    assert CoverageScorer(0.5, n_samples=3)(model, t[1:], y[1:]) > -4 * np.sqrt(0.25 / 1999)


def test_the_wrong_volatility_scores_worse_everywhere(walk_model, walk):
    t, y = walk
    for scorer in (neg_crps_scorer, neg_energy_score_scorer, log_likelihood_scorer, CoverageScorer(0.5)):
        right, narrow, wide = (scorer(walk_model(v).fit(t, y), t[1:], y[1:]) for v in (0.3, 0.05, 2.0))
        assert right > max(narrow, wide)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_a_series_that_fit_did_not_see_starts_at_its_first_y(scorer, walk_model, walks):
    X, y = walks
    model = walk_model(series="name", time="t").fit(X[:36], y[:36])
    seen = clone(model).fit(X[:36], y[:36]).update_state(X[36:37], y[36:37])
    assert scorer(model, X[36:], y[36:]) == pytest.approx(scorer(seen, X[37:], y[37:]))
    assert model.series_ == ["a", "b", "c"]


def test_cross_validation_by_series_against_the_closed_form(walk_model, walks):
    X, y = walks
    model = walk_model(series="name", time="t")
    scores = cross_val_score(
        model, X, y, groups=X["name"], cv=GroupKFold(4), scoring=CRPSScorer(4000), error_score="raise"
    )
    values = y.to_numpy().reshape(4, 12)
    exact = [-walk_crps(series[1:] - series[0], np.arange(1, 12)).mean() for series in values]
    np.testing.assert_allclose(sorted(scores), sorted(exact), rtol=0.03)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_rows_before_the_first_y_of_an_unseen_series_and_series_without_any_do_not_count(scorer, walk_model, walks):
    X, y = walks
    model = walk_model(series="name", time="t").fit(X[:24], y[:24])
    expected = scorer(model, X[26:36], y[26:36])
    y[24:26] = np.nan
    y[36:] = np.nan
    assert scorer(model, X[24:], y[24:]) == pytest.approx(expected)
    assert np.isfinite(model.score(X[24:], y[24:]))
    assert scorer(model, X[24:], y[24:], sample_weight=np.ones(24)) == pytest.approx(expected)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_a_series_that_had_no_y_in_training_starts_at_its_first_y(scorer, walk_model, walks):
    X, y = walks
    before = X["t"] < 6
    model = walk_model(series="name", time="t").fit(X[before & (X["name"] != "d")], y[before & (X["name"] != "d")])
    expected = scorer(model, X[~before], y[~before])
    y[before & (X["name"] == "d")] = np.nan
    unseen_so_far = walk_model(series="name", time="t").fit(X[before], y[before])
    assert scorer(unseen_so_far, X[~before], y[~before]) == pytest.approx(expected)


def test_a_series_that_never_is_observed_in_all_outputs_is_named(walk_model, walks):
    X, y = walks
    both = np.column_stack([y, y])
    model = walk_model(series="name", time="t").fit(X[:36], both[:36])
    both[36:, 0] = np.nan
    with pytest.raises(ValueError, match="Series 'd' has no observed state"):
        neg_crps_scorer(model, X[24:], both[24:])


def test_several_outputs_with_unobserved_entries_and_weights(walk_model, walk):
    rng = np.random.default_rng(9)
    t, y = walk[0], 0.3 * rng.normal(size=(60, 2)).cumsum(axis=0)
    model = walk_model().fit(t[:40], y[:40])
    y[44, 0] = y[50] = np.nan
    samples = model.sample(t[40:], 30, random_state=5)
    weight = rng.uniform(size=20)
    given = {"sample_weight": weight}
    expected = -crps(y[40:], samples, **given, multioutput=[1, 3])
    assert CRPSScorer(30, random_state=5, multioutput=[1, 3])(model, t[40:], y[40:], **given) == pytest.approx(expected)
    expected = -energy_score(y[40:], samples, **given)
    assert EnergyScoreScorer(30, random_state=5)(model, t[40:], y[40:], **given) == pytest.approx(expected)


def test_grid_search_in_a_pipeline_in_two_processes_by_all_scorers(tiny, daily):
    X, y = daily
    pipeline = Pipeline([("scale", StandardScaler()), ("sde", tiny())]).set_output(transform="pandas")
    grid = [{"sde__rtol": [1e-1]}, {"sde__drift__hidden_layer_sizes": [(3,)]}]
    cv = GroupKFold(2)
    search = GridSearchCV(pipeline, grid, scoring=SCORERS, refit="crps", cv=cv, n_jobs=2, error_score="raise")
    groups = X.index.get_level_values("series")
    search.fit(X, y, groups=groups)
    train, test = next(cv.split(X, y, groups))
    here = clone(pipeline).set_params(**search.cv_results_["params"][1]).fit(X.iloc[train], y.iloc[train])
    for name, scorer in SCORERS.items():
        score = search.cv_results_[f"split0_test_{name}"][1]
        assert score == pytest.approx(scorer(here, X.iloc[test], y.iloc[test]))
    assert search.best_score_ == max(search.cv_results_["mean_test_crps"])
    assert neg_crps_scorer(search, X, y) == pytest.approx(neg_crps_scorer(search.best_estimator_, X, y))


def test_cross_validate_by_all_scorers_is_reproducible(tiny, walk):
    t, y = walk
    model = tiny(time_unit="auto")
    first, again = (
        cross_validate(
            model, t, y, scoring=SCORERS, cv=TimeSeriesSplit(3), error_score="raise", return_train_score=True
        )
        for _ in range(2)
    )
    for name in SCORERS:
        assert np.isfinite(first[f"test_{name}"]).all()
        np.testing.assert_array_equal(first[f"test_{name}"], again[f"test_{name}"])
        np.testing.assert_array_equal(first[f"train_{name}"], again[f"train_{name}"])


def test_a_pipeline_scores_what_its_last_step_makes_of_the_steps_before(walk_model, walk):
    t, y = walk
    model = make_pipeline(FunctionTransformer(np.negative), FunctionTransformer(np.negative), walk_model()).fit(t, y)
    for scorer in SCORERS.values():
        assert scorer(model, t, y) == pytest.approx(scorer(walk_model().fit(t, y), t, y))
        assert scorer(make_pipeline(walk_model()).fit(t, y), t, y) == scorer(model, t, y)


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_transformed_target_is_scored_in_its_own_units(outputs, walk_model, walk):
    t, logs = walk
    logs = logs if outputs == 1 else np.column_stack([logs, -logs])
    model = TransformedTargetRegressor(walk_model(), func=np.log, inverse_func=np.exp).fit(t[:40], np.exp(logs[:40]))
    samples = np.exp(walk_model().fit(t[:40], logs[:40]).sample(t[40:], 50, random_state=0))
    assert CRPSScorer(50)(model, t[40:], np.exp(logs[40:])) == pytest.approx(-crps(np.exp(logs[40:]), samples))
    inside = make_pipeline(FunctionTransformer(), model)
    nested = TransformedTargetRegressor(inside, func=np.sqrt, inverse_func=np.square).fit(t[:40], np.exp(2 * logs[:40]))
    expected = -crps(np.exp(2 * logs[40:]), samples**2)
    assert CRPSScorer(50)(nested, t[40:], np.exp(2 * logs[40:])) == pytest.approx(expected)


def test_a_transformed_target_starts_unseen_series_in_its_own_units(walk_model, walks):
    X, y = walks
    model = TransformedTargetRegressor(
        walk_model(series="name", time="t"), func=np.log, inverse_func=np.exp, check_inverse=False
    ).fit(X[:36], np.exp(y[:36]))
    plain = walk_model(series="name", time="t").fit(X[:36], y[:36]).update_state(X[36:37], y[36:37])
    expected = -crps(np.exp(y[37:]), np.exp(plain.sample(X[37:], 200, random_state=0)))
    assert neg_crps_scorer(model, X[36:], np.exp(y[36:])) == pytest.approx(expected)


def test_weights_are_routed_to_the_scorer(walk_model, walk):
    t, y = walk
    weight = np.where(np.arange(60) < 50, 1.0, 0.0)
    with config_context(enable_metadata_routing=True):
        scores = cross_validate(
            walk_model().set_fit_request(sample_weight=False),
            t,
            y,
            scoring={
                "weighted": CRPSScorer().set_score_request(sample_weight=True),
                "plain": CRPSScorer().set_score_request(sample_weight=False),
            },
            cv=[(np.arange(40), np.arange(40, 60))],
            params={"sample_weight": weight},
            error_score="raise",
        )
    model = walk_model().fit(t[:40], y[:40])
    assert scores["test_weighted"] == pytest.approx(neg_crps_scorer(model, t[40:50], y[40:50]))
    assert scores["test_plain"] == pytest.approx(neg_crps_scorer(model, t[40:], y[40:]))


def test_equations_without_noise_and_plain_tables_have_scores(tiny):
    rng = np.random.default_rng(10)
    t = np.arange(30.0)[:, None]
    decay = np.exp(-0.1 * t[:, 0]) + 0.01 * rng.normal(size=30)
    curve = NeuralSDERegressor(MLP((2,)), None, max_iter=3, random_state=0).fit(t[:20], decay[:20])
    table = np.column_stack([rng.uniform(0, 2, 30), rng.normal(size=30)])
    regressor = tiny(time_unit="auto").fit(table, table[:, 1])
    for scorer in SCORERS.values():
        assert np.isfinite(scorer(curve, t[20:], decay[20:]))
        assert np.isfinite(scorer(regressor, table, table[:, 1]))


def test_an_estimator_of_others_needs_only_the_method(walk):
    class Normal(Ridge):
        def sample(self, X, n_samples=100, *, random_state=None):
            return self.predict(X) + np.random.default_rng(random_state).normal(size=(n_samples, len(X)))

    t, y = walk
    model = Normal().fit(t, y)
    expected = -crps(y, model.sample(t, 200, random_state=0))
    assert neg_crps_scorer(model, t, y) == pytest.approx(expected)


def test_what_cannot_be_scored_names_what_is_missing(walk_model, walk, walks):
    t, y = walk
    ridge = Ridge().fit(t, y)
    with pytest.raises(
        TypeError, match=r"CRPSScorer needs an estimator with the method 'sample', which Ridge does not have\."
    ):
        neg_crps_scorer(make_pipeline(StandardScaler(), Ridge()).fit(t, y), t, y)
    with pytest.raises(TypeError, match="LogLikelihoodScorer needs an estimator with the method 'log_likelihood'"):
        log_likelihood_scorer(ridge, t, y)
    with pytest.raises(TypeError, match="the derivative of the transformation"):
        log_likelihood_scorer(TransformedTargetRegressor(walk_model()).fit(t, y), t, y)
    for unfitted in (walk_model(), make_pipeline(walk_model()), GridSearchCV(walk_model(), {})):
        with pytest.raises(NotFittedError):
            neg_crps_scorer(unfitted, t, y)
    model = walk_model().fit(t[20:], y[20:])
    with pytest.raises(ValueError, match="Row 0 lies before the first observation"):
        neg_crps_scorer(model, t[:10], y[:10])
    X, level = walks
    panel = walk_model(series="name", time="t").fit(X[:36], level[:36])
    with pytest.raises(ValueError, match="There is nothing to score"):
        neg_crps_scorer(panel, X[36:37], level[36:37])


def test_parameters_that_make_no_score_are_refused(walk_model, walk):
    t, y = walk
    model = walk_model().fit(t, y)
    with pytest.raises(ValueError, match="level must lie strictly between 0 and 1, got 95"):
        CoverageScorer(95)(model, t, y)
    with pytest.raises(ValueError, match=r"level 0\.99 needs at least 199 samples, got n_samples=100"):
        CoverageScorer(0.99, n_samples=100)(model, t, y)
    with pytest.raises(ValueError, match="gives no single score"):
        CRPSScorer(multioutput="raw_values")(model, t, y)
    with pytest.raises(ValueError, match="n_samples must be a positive integer"):
        CRPSScorer(0)(model, t, y)


@pytest.mark.parametrize(
    "scorer", [CRPSScorer(50), EnergyScoreScorer(random_state=3), CoverageScorer(0.5), LogLikelihoodScorer()]
)
def test_scorers_show_their_parameters_and_can_be_copied(scorer):
    for copy in (clone(scorer), pickle.loads(pickle.dumps(scorer))):
        assert copy is not scorer
        assert copy.get_params() == scorer.get_params()
        assert repr(copy) == repr(scorer)
    if not isinstance(scorer, LogLikelihoodScorer):
        assert "=" in repr(scorer)


def test_scoring_leaves_the_estimator_as_it_was(walk_model, walks):
    X, y = walks
    model = walk_model(series="name", time="t").fit(X[:36], y[:36])
    before = pd.Series(model.predict(X[:36]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scorer in SCORERS.values():
            scorer(model, X[36:], y[36:])
    pd.testing.assert_series_equal(before, model.predict(X[:36]), check_exact=True)
    with pytest.raises(ValueError, match="update_state"):
        model.predict(X[36:])
