"""The methods that an estimator chooses, and how its answers depend on them."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

from skneuralde import NeuralJumpDiffusion, NeuralPDEField, NeuralSDERegressor
from skneuralde.solvers import PIController, get_solver

T = np.arange(24.0)[:, None]
MATRIX = np.array([[0.3, 0.1], [0.0, 0.2]])
#: An awkward choice of times: before, on and beyond the data, none of them a dyadic part of a gap.
ASKED = np.array([[31.7], [24.0], [80.3], [25.1]])


def reversion(t, u):
    return 1.0 - 0.5 * u


def proportional(t, u):
    return 0.3 * u


@pytest.fixture
def known(quick):
    """An equation without anything to learn, bound to a short series; keywords change the estimator."""

    def fit(**parameters):
        y = 2.0 + np.cos(T[:, 0])
        return quick(**{"drift": reversion, "diffusion": proportional, "loss": "mean", "n_paths": 4, **parameters}).fit(
            T, y
        )

    return fit


@pytest.mark.parametrize("loss", ["nll", "mean", "path_mse"])
@pytest.mark.parametrize(
    ("noise", "diffusion", "in_law", "path_by_path"),
    [
        ("additive", 0.3, "platen", "sosra"),
        ("diagonal", 0.3, "platen", "sosri2"),
        ("general", MATRIX, "euler", "euler"),
    ],
)
def test_auto_says_what_it_chose(quick, loss, noise, diffusion, in_law, path_by_path):
    y = np.stack([np.cos(T[:, 0]), np.sin(T[:, 0])], 1)
    model = quick(diffusion=diffusion, noise=noise, loss=loss, n_paths=4, max_iter=1).fit(T, y)
    stats = model.solver_stats_
    assert stats["paths"] == path_by_path
    expected = {"nll": None, "mean": in_law, "path_mse": path_by_path}[loss]
    assert stats.get("training") == expected
    assert stats["moments"] == "local_linearisation"


def test_general_noise_in_the_sense_of_stratonovich(quick):
    y = np.stack([np.cos(T[:, 0]), np.sin(T[:, 0])], 1)
    model = quick(diffusion=MATRIX, noise="general", calculus="stratonovich", loss="mean", n_paths=4, max_iter=1).fit(
        T, y
    )
    assert model.solver_stats_["training"] == model.solver_stats_["paths"] == "ees25"


def test_steps_per_gap_follow_the_order_and_dt_is_taken_as_given(known):
    assert known().solver_stats_["training_dt"] == pytest.approx(0.25)
    assert known(solver="euler").solver_stats_["training_dt"] == pytest.approx(0.1)
    assert known(solver="euler", dt=0.5).solver_stats_["training_dt"] == 0.5
    assert known().solver_stats_["dt"] is None


def test_platen_trains_but_never_samples(known):
    model = known(solver="platen")
    assert model.solver_stats_["training"] == "platen"
    assert model.solver_stats_["paths"] == "sosri2"
    np.testing.assert_array_equal(model.sample(ASKED, 5, random_state=1), known().sample(ASKED, 5, random_state=1))


@pytest.mark.parametrize("solver", ["sosri", "sosri2", "sriw1"])
def test_a_seed_means_the_same_paths_at_every_tolerance(known, solver):
    ahead = np.arange(24.0, 27.0)[:, None]

    def paths(rtol):
        return known(solver=solver, rtol=rtol).sample(ahead, 20, random_state=2)

    fine = paths(1e-4)
    errors = [np.sqrt(np.mean((paths(rtol) - fine) ** 2)) for rtol in (1e-1, 1e-2, 1e-3)]
    assert errors[0] < 0.5 * fine[:, -1].std()
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.5 * errors[0]


def test_other_seeds_are_other_paths(known):
    model = known()
    one, other = (model.sample(ASKED, 50, random_state=seed) for seed in (1, 2))
    assert abs(np.corrcoef(one[:, 0].ravel(), other[:, 0].ravel())[0, 1]) < 0.5


@pytest.mark.parametrize("rtol", [1e-1, 1e-2])
def test_an_adaptive_prediction_depends_on_no_other_row(known, rtol):
    model = known(solver="sosri2", rtol=rtol)
    together = model.predict(ASKED, return_std=True)
    for row, (mean, std) in enumerate(zip(*together, strict=True)):
        alone = model.predict(ASKED[row : row + 1], return_std=True)
        np.testing.assert_allclose([alone[0][0], alone[1][0]], [mean, std], rtol=1e-12)
    paths = model.sample(ASKED, 5, random_state=3)
    np.testing.assert_allclose(paths[:, 2:3], model.sample(ASKED[2:3], 5, random_state=3), rtol=1e-12)


def test_a_grid_search_over_rtol_compares_like_with_like():
    y = 2.0 * np.exp(-0.5 * T[:, 0]) + 2.0
    model = NeuralSDERegressor(
        reversion, proportional, loss="mean", n_paths=4, n_predict_paths=20, solver="sosri", random_state=0
    )
    grid = {"rtol": [1e-1, 1e-2, 1e-3, 1e-4]}
    search = GridSearchCV(model, grid, cv=TimeSeriesSplit(2), error_score="raise").fit(T, y)
    scores = search.cv_results_["mean_test_score"]
    change = np.abs(scores - scores[-1])
    assert change[0] > 0
    assert change[2] < change[0]


@pytest.mark.parametrize("kind", [NeuralSDERegressor, NeuralJumpDiffusion, NeuralPDEField])
def test_instances_of_solvers_and_controllers_survive_copies(kind):
    solver, controller = get_solver("tsit5"), PIController(safety=0.8)
    model = kind(solver=solver, controller=controller)
    assert model.get_params()["solver"] is solver
    assert model.set_params(controller=None).set_params(controller=controller).controller is controller
    for copied in (clone(model), pickle.loads(pickle.dumps(model))):
        assert type(copied.solver) is type(solver)
        assert copied.solver.name == "tsit5"
        assert copied.controller == controller


@pytest.mark.parametrize("loss", ["nll", "mean"])
def test_an_instance_is_as_good_as_a_name(known, loss):
    solver = "sosri" if loss == "mean" else "tsit5"
    by_name = known(loss=loss, solver=solver, controller="pi", max_iter=1)
    instance = known(loss=loss, solver=get_solver(solver), controller=PIController(), max_iter=1)
    instance = pickle.loads(pickle.dumps(instance))
    assert instance.solver_stats_ == by_name.solver_stats_
    asked = [[24.0], [25.1]]
    np.testing.assert_array_equal(instance.predict(asked), by_name.predict(asked))
    np.testing.assert_array_equal(instance.sample(asked, 3, random_state=0), by_name.sample(asked, 3, random_state=0))


def test_the_controller_decides_the_steps(known):
    """Of curves, and of moments: a controller that aims lower takes shorter steps, and its error is smaller."""
    for parameters in ({"diffusion": None, "loss": "least_squares"}, {"loss": "nll", "origin": "last"}):

        def answer(parameters=parameters, **options):
            return known(solver="bs3", max_iter=1, **parameters, **options).predict([[24.0], [24.9]])

        exact = answer(rtol=1e-6, atol=1e-8)
        errors = [np.abs(answer(rtol=1e-2, controller=c) - exact).max() for c in (None, PIController(safety=0.3))]
        assert 0 < errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("parameters", [{"solver": "euler"}, {"solver": "torchsde:srk", "noise": "diagonal"}])
def test_a_controller_without_effect_is_refused(known, parameters):
    with pytest.raises(ValueError, match="controller='pi' has no effect: solver"):
        known(controller="pi", **parameters)


def test_an_unknown_controller_is_refused(known):
    with pytest.raises(ValueError, match=r"unknown controller 'pid'.*did you mean 'pi'"):
        known(controller="pid")
