"""`NeuralPDEField` in scikit-learn's pipelines and searches: snapshots with their grid, and flat ones."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skneuralde import Laplacian, NeuralPDEField, Problem, solve

POINTS, SPACING = 12, 0.1
TIMES = np.linspace(0.0, 2.0, 6)
CANDIDATES = {"field__rtol": [1e-2, 1e-4], "field__solver": ["rosenbrock", "rock2"]}


@pytest.fixture(scope="module")
def runs():
    """X with the columns run and time, y (18, 12, 1): three humps that spread and grow."""
    truth = Problem(lambda t, u: u * (1.0 - u), operator=Laplacian(0.02, SPACING, ndim=1))
    x = SPACING * np.arange(POINTS)
    starts = np.stack([np.exp(-((x - centre) ** 2) / 0.05) for centre in (0.2, 0.5, 0.9)])[..., None]
    y = solve(truth, starts, TIMES, rtol=1e-7).ys[0].numpy()
    X = np.column_stack([np.repeat(np.arange(3.0), len(TIMES)), np.tile(TIMES, 3)])
    return X, y.reshape(-1, POINTS, 1)


def search(cv, **settings):
    field = NeuralPDEField(
        "mlp",
        0.02,
        hidden_layer_sizes=(10,),
        spacing=SPACING,
        series=0,
        time=1,
        max_iter=4,
        stages=("collocation",),
        random_state=0,
    ).set_params(**settings)
    return GridSearchCV(Pipeline([("rows", FunctionTransformer()), ("field", field)]), CANDIDATES, cv=cv)


def test_search_over_tolerance_and_solver_by_runs(runs):
    X, y = runs
    found = search(PredefinedSplit(np.where(X[:, 0] == 1.0, 0, -1))).fit(X, y)
    scores = found.cv_results_["mean_test_score"]
    assert len(scores) == 4
    assert scores.min() > 0.99
    assert set(found.best_params_) == set(CANDIDATES)
    assert found.predict(X).shape == y.shape


def test_flat_snapshots_suit_scorers_of_scikit_learn(runs):
    X, y = runs
    flat, late = y.reshape(len(y), -1), X[:, 1] > 1.0
    found = search(PredefinedSplit(np.where(late, 0, -1)), grid=POINTS).set_params(
        scoring="neg_root_mean_squared_error"
    )
    found.fit(X, flat)
    assert found.predict(X).shape == flat.shape
    at_rest = np.sqrt(np.mean((flat[late] - np.repeat(flat[X[:, 1] == 0.8], late.sum() // 3, axis=0)) ** 2))
    assert -found.cv_results_["mean_test_score"].min() < 0.05 * at_rest


def test_flat_snapshots_give_the_same_model(runs):
    X, y = runs
    whole = search(None).estimator.fit(X, y)
    flat = search(None, grid=POINTS).estimator.fit(X, y.reshape(len(y), -1))
    np.testing.assert_allclose(flat.predict(X), whole.predict(X).reshape(len(y), -1), rtol=1e-6)
    assert flat.score(X, y.reshape(len(y), -1)) == pytest.approx(whole.score(X, y))
