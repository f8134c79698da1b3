"""The training loop: what it reports, where it stops, and what it leaves behind when something goes wrong."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from skneuralde.solvers import SolverError, Status
from skneuralde.training import LBFGS, Adam, History, StoppingRule, run_training
from tests.stubs import Point, ToldLoss

CENTRES = torch.linspace(-1, 2, 7, dtype=torch.float64)


def bowl(w, item):
    return (w[0] - CENTRES[item]) ** 2


def train(
    model, objective, *, max_iter=20, learning_rate=0.1, batch_size=100, optimizer=None, stopping=None, **options
):
    """Train with Adam, unless told otherwise; returns the history."""
    history = History()
    optimizer = optimizer or Adam(model, learning_rate=learning_rate, batch_size=batch_size)
    stopping = stopping or StoppingRule(max_iter=max_iter, tol=0, patience=None, cooldown=0)
    run_training(model, objective, optimizer, stopping, history=history, **options)
    return history


def position(model):
    return float(model.w[0].detach())


# The normal course.


@pytest.mark.parametrize("batch_size", [2, 100])
def test_adam_learns(batch_size):
    model = Point(5.0)
    stopping = StoppingRule(max_iter=150, tol=0, patience=None, cooldown=50)
    history = train(model, ToldLoss(bowl, [1.0] * 7), batch_size=batch_size, stopping=stopping)
    assert position(model) == pytest.approx(0.5, abs=0.1)
    assert history.n_iter == len(history.loss_curve) == 150
    assert history.stopped_by == "max_iter"
    assert history.best_loss == min(history.loss_curve)
    assert history.validation_curve == []
    assert history.rollbacks == 0


def test_lbfgs_learns():
    model = Point(5.0)
    stopping = StoppingRule(max_iter=50, tol=1e-10, patience=2, cooldown=0)
    history = train(model, ToldLoss(bowl, [1.0] * 7), optimizer=LBFGS(model), stopping=stopping)
    assert position(model) == pytest.approx(0.5, abs=1e-8)
    assert history.n_iter < 6
    assert history.stopped_by == "tol"


def test_progress():
    seen = []
    model = Point(5.0)
    history = train(model, ToldLoss(bowl, [1.0] * 7), max_iter=4, on_epoch=seen.append)
    assert [progress.epoch for progress in seen] == [1, 2, 3, 4]
    assert [progress.loss for progress in seen] == history.loss_curve
    assert all(progress.validation_loss is None for progress in seen)
    assert [progress.best_loss for progress in seen] == history.loss_curve
    seconds = [progress.seconds for progress in seen]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_callback_stops():
    model = Point(5.0)
    history = train(model, ToldLoss(bowl, [1.0] * 7), on_epoch=lambda progress: progress.epoch == 3)
    assert history.n_iter == 3
    assert history.stopped_by == "on_epoch"
    alike = Point(5.0)
    train(alike, ToldLoss(bowl, [1.0] * 7), max_iter=3)
    assert position(model) == position(alike)


def test_verbose(capsys):
    model, objective = Point(5.0), ToldLoss(bowl, [1.0] * 7)
    train(model, objective, max_iter=2)
    assert capsys.readouterr().out == ""
    train(model, objective, max_iter=2, verbose=True)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1/2: loss ")
    assert "validation" not in first
    train(model, objective, max_iter=2, verbose=True, validation=objective)
    assert ", validation " in capsys.readouterr().out
    assert second.startswith("epoch 2/2")


def test_exactly_reproducible():
    def noisy_run(seed):
        objective = ToldLoss(None, [1.0] * 7)

        def loss(w, item):
            generator = torch.Generator().manual_seed(objective.seeds[-1] + item)
            return (w[0] - torch.randn((), generator=generator, dtype=torch.float64)) ** 2

        objective.loss = loss
        model = Point(5.0)
        history = train(model, objective, batch_size=3, seed=seed)
        return position(model), history.loss_curve

    assert noisy_run(0) == noisy_run(0)
    assert noisy_run(0) != noisy_run(1)


def test_global_random_states_are_neither_read_nor_changed():
    def run():
        model = Point(5.0)
        train(model, ToldLoss(bowl, [1.0] * 7), batch_size=2)
        return position(model)

    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = run()
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert run() == first


# Validation.


def test_validation_keeps_the_best_weights():
    model = Point(5.0)
    passed = []
    validation = ToldLoss(lambda w, item: (w[0] - 3.0) ** 2, [1.0])
    history = train(
        model,
        ToldLoss(bowl, [1.0] * 7),
        max_iter=60,
        validation=validation,
        on_epoch=lambda progress: passed.append((progress.validation_loss, position(model))),
    )
    best_loss, best_position = min(passed)
    assert position(model) == best_position == pytest.approx(3.0, abs=0.06)
    assert passed[-1][1] < 2
    assert history.best_loss == best_loss == min(history.validation_curve)
    assert history.validation_curve == [loss for loss, _ in passed]
    assert validation.epochs == list(range(1, 61))
    assert set(validation.seeds) == {0}


def test_validation_stops_early():
    model = Point(5.0)
    history = train(
        model,
        ToldLoss(bowl, [1.0] * 7),
        stopping=StoppingRule(max_iter=500, tol=0, patience=4, cooldown=0),
        validation=ToldLoss(lambda w, item: (w[0] - 3.0) ** 2, [1.0]),
    )
    best = int(np.argmin(history.validation_curve))
    assert history.n_iter == best + 1 + 4
    assert history.stopped_by == "tol"


def test_without_validation_the_last_weights_are_kept():
    """Those that training has cooled down to, although a loss met on the way happened to be smaller."""
    objective = ToldLoss(None, [1.0])
    objective.loss = lambda w, item: w[0] - w[0].detach() + [3.0, 1.0, 2.0][objective.epochs[-1] - 1]
    model = Point(0.0)
    history = train(model, objective, max_iter=3)
    assert history.loss_curve == [3.0, 1.0, 2.0]
    assert position(model) == pytest.approx(-0.3)


# What goes wrong.

FAILURE = SolverError("no", status=Status.NON_FINITE, time=0.0, n_steps=1, smallest_step=0.1)


def wall(edge, centre=0.0):
    """A bowl around the centre, and no value at all below the edge."""
    return lambda w, item: torch.where(w[0] < edge, math.nan, (w[0] - centre) ** 2)


@pytest.mark.parametrize("batch_size", [1, 100])
def test_a_loss_that_is_not_finite_is_rolled_back(batch_size):
    model = Point(2.0)
    # Steps of 1.5 jump over the edge; those of 0.3 do not.
    history = train(
        model, ToldLoss(wall(0.4, centre=1.0), [1.0] * 2), learning_rate=1.5, batch_size=batch_size, max_iter=60
    )
    assert 1 <= history.rollbacks <= 3
    assert history.n_iter == 60
    assert all(map(math.isfinite, history.loss_curve))
    assert position(model) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("validated", [False, True])
def test_after_three_rollbacks_training_ends_with_weights_that_work(validated):
    model = Point(1.0)
    # Downhill leads over the edge, with any step: it comes nearer to the edge by a fifth at a time.
    loss = wall(0.9, centre=-5.0)
    objective = ToldLoss(loss, [1.0])
    with pytest.warns(ConvergenceWarning, match="was not finite, also after three attempts"):
        history = train(
            model, objective, learning_rate=1.0, max_iter=200, validation=ToldLoss(loss, [1.0]) if validated else None
        )
    assert history.rollbacks == 3
    assert history.stopped_by == "non_finite"
    assert 1 <= history.n_iter < 200
    assert math.isfinite(loss(model.w.detach(), 0))


def test_gradients_that_are_not_finite_are_rolled_back():
    model = Point(1.0)
    # The value stays finite at zero; the gradient of the root does not.
    loss = lambda w, item: (w[0] - 1.0).abs().sqrt() + (w[0] - 1.0)  # noqa: E731
    with pytest.raises(FloatingPointError):
        train(model, ToldLoss(loss, [1.0]))
    assert position(model) == 1.0


def test_a_failing_solver_is_rolled_back():
    model = Point(2.0)

    def loss(w, item):
        if w[0] < 0.4:
            raise FAILURE
        return (w[0] - 1.0) ** 2

    history = train(model, ToldLoss(loss, [1.0]), learning_rate=1.8, max_iter=60)
    assert 1 <= history.rollbacks <= 3
    assert position(model) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("failure", [None, FAILURE])
def test_a_loss_that_never_is_finite_is_an_error(failure):
    def loss(w, item):
        if failure is not None:
            raise failure
        return w[0] * math.nan

    model, history = Point(2.0), History()
    objective = ToldLoss(loss, [1.0])
    adam, stopping = Adam(model, learning_rate=0.1, batch_size=10), StoppingRule(5, 0, None, 0)
    with pytest.raises(FloatingPointError, match="not finite at the starting weights") as raised:
        run_training(model, objective, adam, stopping, history=history)
    assert raised.value.__cause__ is failure
    assert len(objective.asked) == 4
    assert position(model) == 2.0
    assert history.rollbacks == 3


def test_lbfgs_rolls_back_too():
    model = Point(6.0, 0.0)

    def loss(w, item):
        return torch.where(w[0] < 0.5, math.nan, (w[0] - 1) ** 2 + (w[0] - 1) ** 4 + w[1] ** 2)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        history = train(model, ToldLoss(loss, [1.0]), optimizer=LBFGS(model), max_iter=30)
    assert all(map(math.isfinite, history.loss_curve))
    assert math.isfinite(loss(model.w.detach(), 0))
    assert position(model) == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_interruption_leaves_the_best_weights(error):
    model, history = Point(5.0), History()
    trail = []

    def interrupt(progress):
        trail.append(position(model))
        if progress.epoch == 4:
            with torch.no_grad():
                model.w.fill_(99.0)
            raise error("enough")

    adam = Adam(model, learning_rate=0.1, batch_size=10)
    with pytest.raises(error):
        run_training(
            model, ToldLoss(bowl, [1.0] * 7), adam, StoppingRule(20, 0, None, 0), history=history, on_epoch=interrupt
        )
    assert position(model) == trail[-1]
    assert history.n_iter == 4


def test_an_interruption_within_an_epoch():
    model = Point(5.0)
    calls = []

    def loss(w, item):
        calls.append(item)
        if len(calls) == 17:  # in the third epoch of seven items
            raise KeyboardInterrupt
        return bowl(w, item)

    with pytest.raises(KeyboardInterrupt):
        train(model, ToldLoss(loss, [1.0] * 7), batch_size=1)
    twin = Point(5.0)
    train(twin, ToldLoss(bowl, [1.0] * 7), batch_size=1, max_iter=2)
    assert position(model) == position(twin)
