"""Losses of the user's own, as estimators take them."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch.nn.functional import huber_loss

from skneuralde import NeuralJumpDiffusion, NeuralSDERegressor
from skneuralde.losses import (
    CurveLoss,
    LeastSquares,
    MeanMatching,
    NegativeLogLikelihood,
    PlainMeanMatching,
    RankedProbability,
    SimulatedLoss,
    TransitionLoss,
)
from tests.learnable_equations import Level, OrnsteinUhlenbeck

T = np.arange(30.0)[:, None]


class Huber(CurveLoss):
    name = "huber"

    def __init__(self, delta=1.0):
        self.delta = delta

    def penalty(self, residual, observed):
        return residual.mean(lambda x: huber_loss(x, torch.zeros_like(x), reduction="none", delta=self.delta))


class Score(SimulatedLoss):
    """Mean absolute error of the paths less half their mean difference, which all pairs of independent paths give."""

    name = "score"
    antithetic = False
    compares_paths = True
    min_paths = 3

    def penalty(self, residual, observed):
        paths = residual.paths
        apart = (paths[:, None] - paths).abs().sum((0, 1)) / (len(paths) * (len(paths) - 1))
        return residual.mean(torch.abs) - 0.5 * apart


class StepError(TransitionLoss):
    name = "step_error"

    def cost(self, predicted, target):
        return (target - predicted.mean).nan_to_num(0.0).square().sum(-1)


class Decay(torch.nn.Module):
    def __init__(self, rate=1.0):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(rate))

    def forward(self, t, u):
        return -self.rate * u


@pytest.fixture
def decaying():
    """A decay at the rate 0.2, seen through noise of 0.02, with two outliers."""
    y = 2.0 * np.exp(-0.2 * T[:, 0]) + 0.02 * np.random.default_rng(0).normal(size=30)
    y[0] = 2.0
    y[[9, 14]] += 1.0
    return y


@pytest.fixture
def reverting():
    """A mean-reverting walk around 1."""
    rng, y = np.random.default_rng(1), [1.5]
    for shock in rng.normal(scale=0.2, size=29):
        y.append(1.0 + 0.7 * (y[-1] - 1.0) + shock)
    return np.array(y)


def noisy(loss, **parameters):
    few = {"noise": "additive", "max_iter": 3, "n_paths": 4, "n_predict_paths": 20, "random_state": 0, **parameters}
    return NeuralSDERegressor(OrnsteinUhlenbeck(0.5, 0.5), Level(0.8), loss=loss, **few)


def test_a_deterministic_loss_gets_residual_noise(decaying):
    model = NeuralSDERegressor(Decay(), None, loss=Huber(0.02), max_iter=10, random_state=0).fit(T, decaying)
    assert model.loss_name_ == "huber"
    assert model.drift_.function.rate.item() == pytest.approx(0.2, rel=0.02)
    least = NeuralSDERegressor(Decay(), None, max_iter=10, random_state=0).fit(T, decaying)
    assert least.drift_.function.rate.item() < 0.18  # outliers move the squares
    mean, std = model.predict(T, return_std=True)
    spread = np.sqrt(np.mean((mean - decaying)[1:] ** 2))
    assert spread > 0.2
    np.testing.assert_allclose(std[1:], spread, rtol=1e-6)
    _, quantiles = model.predict(T[1:], quantiles=[0.1, 0.9])
    np.testing.assert_allclose(quantiles[:, 1] - quantiles[:, 0], 2 * 1.2816 * spread, rtol=1e-3)
    density = model.log_likelihood(T, decaying)[1:]
    z = (decaying - mean)[1:] / spread
    np.testing.assert_allclose(density, -0.5 * z**2 - np.log(spread * np.sqrt(2 * np.pi)), rtol=1e-5)


def test_a_simulated_loss_learns_the_noise(reverting):
    series = np.stack([reverting, reverting[::-1]])
    X, y = np.column_stack([np.tile(T[:8, 0], 2), np.repeat([0.0, 1.0], 8)]), series[:, :8].ravel()
    options = {"series": 1, "time": 0, "n_paths": 16, "max_iter": 20, "learning_rate_init": 0.05}
    model = noisy(Score(), **options).fit(X, y)
    assert model.loss_ < model.loss_curve_[0]
    (size,) = (p.exp().item() for p in model.diffusion_.parameters())
    assert size < 0.6
    assert model.solver_stats_["n_paths"] == 16
    assert (model.predict(X, return_std=True)[1][1:8] > 0).all()


def test_facts_choose_the_method_and_the_number_of_paths(reverting):
    class Weak(Score):
        compares_paths = False
        suits_weak_solvers = True

    class Single(Weak):
        suits_weak_solvers = False

    methods = [noisy(loss, max_iter=1).fit(T, reverting).solver_stats_ for loss in (Score(), Weak(), Single())]
    assert [stats["training"] for stats in methods] == ["sosra", "platen", "sosra"]
    assert [stats["training_dt"] is None for stats in methods] == [False, False, True]
    with pytest.raises(ValueError, match="n_paths must be an integer of at least 3"):
        noisy(Score(), n_paths=2).fit(T, reverting)


def test_a_loss_of_transitions_starts_at_each_observation(reverting):
    model = noisy(StepError(), max_iter=200).fit(T, reverting)
    predictions = model.predict(T)[1:]
    assert model.loss_ == pytest.approx(np.mean((predictions - reverting[1:]) ** 2), rel=1e-6)
    slope, intercept = np.polyfit(reverting[:-1], reverting[1:], 1)
    np.testing.assert_allclose(predictions, intercept + slope * reverting[:-1], atol=1e-3)
    with pytest.raises(ValueError, match="uncertainty='laplace' needs a likelihood, but the loss is 'step_error'"):
        noisy(StepError(), uncertainty="laplace").fit(T, reverting)
    with pytest.raises(ValueError, match="loss='step_error' takes observations for the state itself"):
        noisy(StepError(), observation_noise="learn").fit(T, reverting)


@pytest.mark.parametrize(
    ("name", "loss"), [("nll", NegativeLogLikelihood()), ("crps", RankedProbability()), ("mean", MeanMatching())]
)
def test_a_name_stands_for_an_instance(reverting, name, loss):
    named, given = noisy(name).fit(T, reverting), noisy(loss).fit(T, reverting)
    assert named.loss_curve_ == given.loss_curve_
    assert given.loss_name_ == name
    assert given.loss_reason_ == "the parameter loss asks for it"


def test_the_plain_variant_is_a_loss_by_itself(reverting):
    def curve(loss, **parameters):
        model = noisy(loss, **parameters).set_params(drift="mlp", hidden_layer_sizes=(4,))
        return model.fit(T[:9], reverting[:9]).loss_curve_

    with pytest.warns(UserWarning, match="smallest without any noise"):
        plain = curve("mean", debiased=False)
    with pytest.warns(UserWarning, match="smallest without any noise"):
        given = curve(PlainMeanMatching())
    assert plain == given != curve("mean")


def test_jumps_alone_are_enough_noise_for_a_loss_of_paths(reverting):
    settings = {"max_jump_rate": 2.0, "n_paths": 4, "max_iter": 2, "dt": 0.5, "random_state": 0}
    named, given = (
        NeuralJumpDiffusion(Decay(), None, 0.5, lambda t, u: u + 1.0, loss=loss, **settings).fit(T[:9], reverting[:9])
        for loss in ("mean", MeanMatching())
    )
    assert named.loss_curve_ == given.loss_curve_


def test_a_loss_that_does_not_fit_the_equation_is_refused(reverting):
    with pytest.raises(ValueError, match="loss='huber' does not fit an equation that has noise"):
        noisy(Huber()).fit(T, reverting)
    with pytest.raises(ValueError, match=r"loss='score' does not fit an equation that has no noise.*least_squares"):
        NeuralSDERegressor(Decay(), None, loss=Score()).fit(T, reverting)
    with pytest.raises(ValueError, match="loss='step_error' needs noise"):
        NeuralSDERegressor(Decay(), None, loss=StepError()).fit(T, reverting)


def test_a_loss_of_the_wrong_shape_is_refused(decaying, reverting):
    class PerPath(Huber):
        def penalty(self, residual, observed):
            return residual.paths.square()

    with pytest.raises(
        ValueError, match=r"penalty of loss=PerPath\(delta=1.0\) must return.*\(1, 30, 1\), got \(1, 1, 30, 1\)"
    ):
        NeuralSDERegressor(Decay(), None, loss=PerPath()).fit(T, decaying)

    class PerOutput(StepError):
        def cost(self, predicted, target):
            return (target - predicted.mean).square()

    with pytest.raises(
        ValueError, match=r"cost of loss=PerOutput\(\) must return a tensor of shape \(29,\), got \(29, 1\)"
    ):
        noisy(PerOutput()).fit(T, reverting)


def test_unknown_losses_are_refused_in_words(reverting):
    with pytest.raises(ValueError, match=r"unknown loss 'crsp'; did you mean 'crps'\? valid names are 'auto', 'crps'"):
        noisy("crsp").fit(T, reverting)
    for wrong in (Huber, 3, None):
        with pytest.raises(ValueError, match="The 'loss' parameter of NeuralSDERegressor must be"):
            noisy(wrong).fit(T, reverting)


def test_an_estimator_with_a_loss_is_cloned_and_searched_by_its_parameters():
    model = NeuralSDERegressor(Decay(), None, loss=Huber(0.3))
    assert model.get_params()["loss__delta"] == 0.3
    copied = clone(model)
    assert copied.loss is not model.loss
    assert copied.set_params(loss__delta=0.5).loss.delta == 0.5
    assert model.loss.delta == 0.3
    assert "loss=Huber(delta=0.3)" in repr(model)
    with pytest.raises(ValueError, match="'gamma'"):
        copied.set_params(loss__gamma=1.0)


def test_a_fitted_estimator_survives_copies(decaying):
    model = NeuralSDERegressor(Decay(), None, loss=Huber(0.3), max_iter=3, random_state=0).fit(T, decaying)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again.loss.delta == 0.3
        np.testing.assert_array_equal(again.predict(T, return_std=True), model.predict(T, return_std=True))
        assert again.fit(T, decaying).loss_curve_ == model.loss_curve_


@pytest.mark.parametrize("grid", [{"loss__delta": [0.02, 100.0]}, {"loss": [Huber(0.02), LeastSquares(), "auto"]}])
def test_losses_are_searched(decaying, grid):
    model = NeuralSDERegressor(Decay(), None, loss=Huber(), max_iter=5, random_state=0)
    decaying[20:] = 2.0 * np.exp(-0.2 * T[20:, 0])  # without noise for the comparison
    search = GridSearchCV(model, grid, cv=[(np.arange(20), np.arange(20, 30))]).fit(T, decaying)
    assert search.best_index_ == 0
    assert search.best_estimator_.loss_name_ == "huber"
    assert search.best_estimator_.loss.delta == 0.02
