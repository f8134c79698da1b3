"""`NeuralPDEField` on fields whose law is known."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skneuralde import Advection, Laplacian, NeuralPDEField, Problem, Stencil, solve
from skneuralde.datasets import make_abc_field
from skneuralde.datasets.abc_field import abc_law, abc_source

X = np.linspace(0, 1, 26)
TIMES = np.linspace(0, 5, 11)
STATES = np.linspace(0.05, 0.95, 19)[:, None]


def fisher(u):
    return u * (1 - u)


def simulate(start, times=TIMES, **options):
    truth = Problem(lambda t, u: fisher(u), operator=Laplacian(0.01, 0.04))
    return solve(truth, start[:, None], times, rtol=1e-8, **options).ys[0].numpy()


def estimator(**options):
    return NeuralPDEField(**{"diffusivity": 0.01, "spacing": 0.04, "random_state": 0, "max_iter": 6, **options})


def law_error(model, truth=fisher, states=STATES):
    return np.linalg.norm(model.reaction_field(states) - truth(states)) / np.linalg.norm(truth(states))


@pytest.fixture(scope="module")
def front():
    return simulate(np.exp(-((X - 0.2) ** 2) / 0.01))


@pytest.fixture(scope="module")
def fitted(front):
    return estimator().fit(TIMES[:, None], front)


def test_the_law_is_learned_to_a_few_thousandths(fitted):
    assert law_error(fitted) < 0.005
    assert fitted.stages_[0]["stage"] == "collocation"
    assert fitted.stages_[-1]["error"] < 0.005


def test_other_weights_find_the_same_law(front):
    assert law_error(estimator(random_state=1).fit(TIMES[:, None], front)) < 0.005


def test_diffusivity_and_law_together(front):
    model = estimator(diffusivity="learn").fit(TIMES[:, None], front)
    assert law_error(model) < 0.005
    assert model.diffusivity_ == pytest.approx([0.01], rel=0.005)


def test_a_module_of_the_users(front):
    class Logistic(nn.Module):
        def __init__(self):
            super().__init__()
            self.rate, self.most = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor(2.0))

        def forward(self, t, u):
            return self.rate * u * (1 - u / self.most)

    mine = Logistic()
    model = estimator(reaction=mine, diffusivity="learn").fit(TIMES[:, None], front)
    assert [float(p.detach()) for p in model.reaction_.parameters()] == pytest.approx([1.0, 1.0], rel=0.005)
    assert float(mine.rate.detach()) == pytest.approx(0.3)


def test_noise_in_the_snapshots(front):
    noisy = front + 0.01 * np.random.default_rng(0).normal(size=front.shape)
    given = noisy.copy()
    model = estimator(stages=("collocation",)).fit(TIMES[:, None], noisy)
    assert law_error(model) < 0.1
    assert np.array_equal(noisy, given)


def test_solutions_mend_what_collocation_leaves(front):
    """Shooting starts from nothing here: with no more than nine epochs the law is there."""
    model = estimator(stages=("shooting",), max_iter=9).fit(TIMES[:, None], front)
    assert {stage["stage"] for stage in model.stages_} == {"shooting"}
    assert [stage["horizon"] for stage in model.stages_] == [1, 2, 4]
    assert law_error(model) < 0.1


def test_missing_sensors(front):
    holes = front.copy()
    holes[np.random.default_rng(0).random(front.shape) < 0.1] = np.nan
    holes[:, 7] = np.nan
    model = estimator(stages=("collocation",)).fit(TIMES[:, None], holes)
    assert law_error(model) < 0.1
    predicted = model.predict(TIMES[:, None])
    assert np.isfinite(predicted).all()
    assert np.abs(predicted - front).max() < 0.1
    assert model.score(TIMES[:, None], holes) > 0.99


def test_a_new_run_starts_by_update_state(front):
    model = estimator(series=0, time=1).fit(np.c_[np.zeros(11), TIMES], front)
    other = simulate(0.8 * np.exp(-((X - 0.7) ** 2) / 0.02))
    rows = np.c_[np.ones(11), TIMES]
    with pytest.raises(ValueError, match="update_state"):
        model.predict(rows)
    model.update_state(rows[:1], other[:1])
    assert np.abs(model.predict(rows) - other).max() < 0.01


def test_flat_snapshots_and_frames_come_back_as_they_came(front, fitted):
    expected = fitted.predict(TIMES[:, None])
    flat = estimator(grid=26).fit(TIMES[:, None], front[..., 0])
    assert np.allclose(flat.predict(TIMES[:, None]), expected[..., 0])
    rows = pd.DataFrame({"t": TIMES})
    columns = [f"sensor {i}" for i in range(26)]
    frame = estimator(grid=(26,)).fit(rows, pd.DataFrame(front[..., 0], columns=columns))
    predicted = frame.predict(rows)
    assert list(predicted.columns) == columns
    assert np.allclose(predicted, expected[..., 0])


def test_uncertainty_and_shapes_of_everything(fitted, front):
    mean, std, quantiles = fitted.predict(TIMES[:, None], return_std=True, quantiles=[0.1, 0.9])
    assert mean.shape == std.shape == front.shape
    assert quantiles.shape == (*front.shape, 2)
    assert (quantiles[..., 0] <= mean).all()
    assert fitted.sample(TIMES[:, None], 3, random_state=0).shape == (3, *front.shape)
    density = fitted.log_likelihood(TIMES[:, None], front)
    assert np.isnan(density[0])
    assert np.isfinite(density[1:]).all()
    assert fitted.reaction_field(front).shape == front.shape
    assert fitted.grid_ == (26,)
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict(TIMES[:, None]), fitted.predict(TIMES[:, None]))


def test_the_learned_equation_can_be_solved(fitted, front):
    solution = solve(fitted.problem_, front[0], TIMES)
    assert np.allclose(solution.ys[0].detach().numpy(), fitted.predict(TIMES[:, None]), atol=1e-3)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_do_not_matter(front, fitted, scale):
    model = estimator().fit(TIMES[:, None], scale * front)
    assert np.allclose(model.reaction_field(scale * STATES) / scale, fitted.reaction_field(STATES), rtol=1e-4)
    slow = estimator(diffusivity=0.01 / scale).fit(scale * TIMES[:, None], front)
    assert np.allclose(slow.reaction_field(STATES) * scale, fitted.reaction_field(STATES), rtol=1e-4)


def test_an_ensemble_says_how_sure_it_is(front):
    model = estimator(uncertainty="ensemble", n_members=2, stages=("collocation",), max_iter=3)
    model.fit(TIMES[:, None], front)
    value, std = model.reaction_field(STATES, return_std=True)
    assert value.shape == std.shape == STATES.shape
    assert (std > 0).all()


def test_a_learned_operator_takes_solutions():
    """Transport at a speed that is learned: collocation, which is local, leaves it to the other stages."""
    speed = nn.Parameter(torch.tensor([0.05], dtype=torch.float64))
    truth = Problem(None, operator=[Laplacian(0.01, 0.04, "periodic"), Advection(0.2, 0.04, "periodic")])
    y = solve(truth, np.exp(-((X - 0.5) ** 2) / 0.02)[:, None], TIMES[:5] / 5, rtol=1e-8).ys[0].numpy()
    moving = Advection(speed, 0.04, "periodic")
    model = estimator(reaction=None, operator=moving, boundary="periodic").fit(TIMES[:5, None] / 5, y)
    assert float(model.problem_.operator.others[0].velocity.detach()) == pytest.approx(0.2, rel=0.01)
    assert float(speed.detach()) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="collocation"):
        estimator(reaction=None, operator=moving, boundary="periodic", stages=("collocation",)).fit(TIMES[:5, None], y)


class Porous(nn.Module):
    """Diffusion between walls whose coefficient grows with the field, by a factor that is learned."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, u):
        flux = self.factor * (u[:, 1:] + u[:, :-1]) / 2 * u.diff(dim=1) / 0.04**2
        return nn.functional.pad(flux, (0, 0, 1, 1)).diff(dim=1)


def test_a_learned_operator_with_a_pattern():
    """A stiff one of the user's own, whose sparse Jacobian is found by colours."""
    start = np.exp(-((X - 0.5) ** 2) / 0.02)[:, None]
    truth = Problem(None, operator=Porous(0.05))
    y = solve(truth, start, TIMES[:5] / 2, solver="rock2", rtol=1e-8).ys[0].detach().numpy()
    model = clone(estimator(reaction=None, diffusivity=None, operator=Porous(0.02), sparsity=Stencil()))
    model.fit(TIMES[:5, None] / 2, y)
    assert float(model.problem_.operator.others[0].function.factor.detach()) == pytest.approx(0.05, rel=0.01)
    assert model.solver_stats_["training"] == "rosenbrock"
    predicted = model.predict(TIMES[:5, None] / 2)
    assert np.abs(predicted - y).max() < 0.01
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(TIMES[:5, None] / 2), predicted)


def test_several_fields_some_of_which_diffuse():
    """The classic problem, small: a law of three fields from two initial fields, with a known source."""
    times = np.concatenate([[0.0], np.geomspace(0.02, 4, 10)])
    x, y = make_abc_field(2, grid=(12, 14), diffusivity=2.0, times=times, random_state=0)
    model = NeuralPDEField(
        ["mlp", abc_source((12, 14))], [2.0, 0.0, 0.0], series=0, time=1, random_state=0, stages=("collocation",)
    ).fit(x, y)
    visited = y[x[:, 1] > 0].reshape(-1, 3)  # the diffusing field leaves its rough start before it can be seen
    truth = abc_law(None, torch.tensor(visited)).numpy()
    assert np.linalg.norm(model.reaction_field(visited) - truth) < 0.03 * np.linalg.norm(truth)
    assert np.array_equal(model.diffusivity_, [2.0, 0.0, 0.0])


def test_snapshots_at_rest_are_warned_of():
    x, y = make_abc_field(grid=(8, 8), times=np.arange(0.0, 51.0, 5.0), random_state=0)
    model = NeuralPDEField(["mlp", abc_source((8, 8))], [100.0, 0, 0], max_iter=1, stages=("collocation",))
    with pytest.warns(UserWarning, match="nearly all at rest"):
        model.fit(x, y)


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"grid": (5, 5)}, (11, 26, 1), "grid="),
        ({"grid": 7}, (11, 26), "multiple"),
        ({"grid": (1, 26)}, (11, 26), "at least 2"),
        ({}, (11, 26), "needs a grid"),
        ({"stages": ("path", "collocation")}, (11, 26, 1), "in this order"),
        ({"stages": ("walk",)}, (11, 26, 1), "stages must be"),
        ({"diffusivity": "lern"}, (11, 26, 1), "learn"),
        ({"diffusivity": [1.0, 2.0]}, (11, 26, 1), "2 values"),
        ({"diffusivity": -1.0}, (11, 26, 1), "at least 0"),
        ({"boundary": "open"}, (11, 26, 1), "boundary"),
        ({"spacing": (1.0, 1.0)}, (11, 26, 1), "axes"),
        ({"operator": Laplacian(1.0)}, (11, 26, 1), "diffusivity=None"),
        ({"sparsity": np.eye(25)}, (11, 26, 1), "sparsity is for 25 components, but the state has the shape"),
        ({"sparsity": Stencil(0)}, (11, 26, 1), "field 0 at point .* does not depend on field 0 at point"),
        ({"sparsity": Stencil(), "spacing": None, "diffusivity": None}, (11, 26), "sparsity=.* needs a grid"),
        ({"reaction": np.ones((25, 1))}, (11, 26, 1), "shape of one state"),
        ({"reaction": lambda t, u: u[:, :0]}, (11, 26, 1), "reaction"),
    ],
)
def test_what_makes_no_sense_is_refused(options, shape, message):
    with pytest.raises(ValueError, match=message):
        estimator(**options).fit(TIMES[:, None], np.random.default_rng(0).random(shape))


def test_rows_that_cannot_be_answered(fitted, front):
    with pytest.raises(ValueError, match="cannot be run backwards"):
        fitted.predict([[-1.0]])
    with pytest.raises(ValueError, match="the field has the shape"):
        fitted.update_state([[9.0]], front[:1, :5])
    with pytest.raises(ValueError, match="fields last"):
        fitted.reaction_field([0.5])
    with pytest.raises(ValueError, match="series="):
        estimator().fit(np.c_[np.arange(11) % 3, TIMES], front)


def test_many_parameters_and_modules_that_cannot_be_split_take_quasi_newton_steps(front):
    class Branching(nn.Module):
        """A law that asks for a number, which torch.func does not give."""

        def __init__(self):
            super().__init__()
            self.rate = nn.Parameter(torch.tensor(0.3))

        def forward(self, t, u):
            return self.rate * u * (1 - u) if float(u.max()) < 1e9 else u

    for options in ({"reaction": Branching()}, {"hidden_layer_sizes": (48, 48)}):
        model = estimator(stages=("collocation",), **options).fit(TIMES[:, None], front)
        assert model.stages_[0]["optimizer"] == "LBFGS"
        assert law_error(model) < 0.005


def test_the_score_is_that_of_components_at_all_points():
    times = np.array([0.0, 0.1, 0.3])
    x, y = make_abc_field(grid=(6, 7), diffusivity=1.0, times=times, random_state=0)
    model = NeuralPDEField([lambda t, u: 0.5 - u, abc_source((6, 7))], [1.0, 0, 0]).fit(x, y)
    truth, predicted = y[1:].reshape(-1, 3), model.predict(x)[1:].reshape(-1, 3)
    expected = 1 - ((truth - predicted) ** 2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0)
    later = NeuralPDEField([lambda t, u: 0.5 - u, abc_source((6, 7))], [1.0, 0, 0], series=0, time=1)
    later.fit(np.c_[np.zeros(3), x], y)
    assert later.score(np.c_[np.ones(3), x], y) == pytest.approx(expected.mean())


def test_noise_sends_training_on_to_solutions(front):
    """Solutions are not within a hundredth of a deviation after collocation, so that the other stages follow."""
    noisy = front[:5] + 0.05 * np.random.default_rng(0).normal(size=(5, *front.shape[1:]))
    model = estimator(max_iter=16, tol=1e-2, hidden_layer_sizes=(4,)).fit(TIMES[:5, None], noisy)
    assert [stage["stage"] for stage in model.stages_] == ["collocation", "shooting", "shooting", "path"]
    assert min(stage["error"] for stage in model.stages_) > 0.01
    assert model.n_iter_ == sum(stage["epochs"] for stage in model.stages_) == len(model.loss_curve_)


@pytest.mark.parametrize("most", [1, 7])
def test_all_stages_together_take_no_more_than_max_iter(front, most):
    """Later stages solve the equation many times: a small max_iter may not start each of them anew."""
    noisy, seen = front[:3] + 0.05 * np.random.default_rng(0).normal(size=(3, *front.shape[1:])), []
    model = estimator(max_iter=most, hidden_layer_sizes=(4,), on_epoch=lambda state: seen.append(state.epoch))
    model.fit(TIMES[:3, None], noisy)
    assert model.n_iter_ == most
    # Epochs are counted on over the stages.
    assert seen == list(range(1, most + 1))


def test_held_out_snapshots_that_nobody_looks_at_are_told():
    """Runs over the same few times: the last one is held out, and no epoch is left for the stage that looks at it."""
    runs = [simulate(np.exp(-((X - at) ** 2) / 0.01), TIMES[:6]) for at in (0.2, 0.5, 0.8)]
    rows, y = np.column_stack([np.repeat(range(3), 6), np.tile(TIMES[:6], 3)]), np.concatenate(runs)
    model = estimator(series=0, time=1, early_stopping=True, max_iter=1, hidden_layer_sizes=(4,))
    with pytest.warns(ConvergenceWarning, match="held snapshots out for nothing"):
        model.fit(rows, y)
    model.set_params(stages=("path",)).fit(rows, y)
    assert len(model.validation_scores_) == 1


def test_solutions_say_how_far_they_are_from_the_data(front):
    """The snapshots that runs start from are no prediction; fit solves the runs once, and remembers what is left."""
    noisy = front + 0.02 * np.random.default_rng(0).normal(size=front.shape)
    # At a small tolerance the solvers of training and of forecasts agree.
    model = estimator(max_iter=3, rtol=1e-6).fit(TIMES[:, None], noisy)
    left = np.sqrt(np.mean((model.predict(TIMES[:, None]) - noisy)[1:] ** 2))
    _, std = model.predict(TIMES[1:, None], return_std=True)
    assert std == pytest.approx(np.full(std.shape, left), rel=1e-3)


def test_the_error_of_the_solutions_is_that_of_the_forecasts(front):
    model = estimator(max_iter=1, rtol=1e-6).fit(TIMES[:, None], front)
    left = np.sqrt(np.mean((model.predict(TIMES[:, None]) - front)[1:] ** 2))
    assert model.stages_[-1]["error"] == pytest.approx(left / np.std(front), rel=1e-3)
    _, std = model.predict(TIMES[1:, None], return_std=True)
    assert std == pytest.approx(np.full(std.shape, left), rel=1e-3)


def test_the_law_between_snapshots_that_are_far_apart(front):
    """Curves between snapshots must follow the law: those that know the diffusion only miss it by 2%."""
    model = estimator(stages=("collocation",), max_iter=20).fit(TIMES[::2, None], front[::2])
    assert law_error(model) < 0.008


def test_points_that_nobody_saw_teach_nothing():
    """Every point decays by a law of its own rough value; what half of them do is made up from their neighbours."""
    times = np.linspace(0, 1, 6)
    start = np.random.default_rng(0).uniform(0.1, 1.0, size=26)
    y = (start / (start + (1 - start) * np.exp(-2 * times[:, None])))[..., None]
    holes = y.copy()
    holes[:, 1::2] = np.nan
    model = estimator(diffusivity=0.0, stages=("collocation",), max_iter=10).fit(times[:, None], holes)
    assert law_error(model, lambda u: 2 * u * (1 - u), np.linspace(0.2, 0.95, 16)[:, None]) < 0.002


def test_snapshots_without_weight_and_held_out_ones_teach_nothing(front):
    """The second run obeys another law, and the last times of the first are wrong."""
    other = 0.5 + 0 * front
    other[1::2] = 0.1
    rows = np.c_[np.repeat([0.0, 1.0], 11), np.tile(TIMES, 2)]
    light = np.repeat([1.0, 1e-9], 11)
    options = {"series": 0, "time": 1, "stages": ("collocation",)}
    model = estimator(**options).fit(rows, np.concatenate([front, other]), sample_weight=light)
    assert law_error(model) < 0.01
    wrong = front.copy()
    wrong[-2:] = 0.0
    held = estimator(stages=("collocation",), early_stopping=True, validation_fraction=0.2)
    assert law_error(held.fit(TIMES[:, None], wrong)) < 0.01
