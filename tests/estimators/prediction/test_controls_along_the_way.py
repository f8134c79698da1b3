"""Controls between the origin of a prediction and its row, and after it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from skneuralde import NeuralJumpDiffusion, NeuralSDERegressor

RNG = np.random.default_rng(0)
CONTROL = RNG.normal(size=30)
X = np.column_stack([np.arange(30.0), CONTROL])
Y = np.concatenate([[0.0], np.cumsum(CONTROL[1:])])
N_FUTURE, PULSE = 20, 6


def fitted(**options):
    """A model whose drift is the control itself."""
    options = {
        "drift": lambda t, u, c: c,
        "diffusion": 0.1,
        "controls": [1],
        "max_iter": 1,
        "random_state": 0,
    } | options
    return NeuralSDERegressor(n_predict_paths=20, **options).fit(X, Y)


def future(later=0.0):
    """Rows whose control is 2 in the seventh, ``later`` in the last ten, and 0 else."""
    rows = np.column_stack([np.arange(30.0, 30.0 + N_FUTURE), np.zeros(N_FUTURE)])
    rows[PULSE, 1], rows[10:, 1] = 2.0, later
    return rows


@pytest.fixture(scope="module", params=["next", "previous", "linear"])
def interpolation(request):
    return request.param


@pytest.fixture(scope="module", params=[("last", "auto"), ("start", "auto"), ("last", "euler")])
def noisy(request, interpolation):
    origin, solver = request.param
    return fitted(control_interpolation=interpolation, origin=origin, solver=solver)


@pytest.fixture(scope="module", params=["auto", "torchdiffeq:rk4", "torchdiffeq:dopri5"])
def ordinary(request, interpolation):
    return fitted(control_interpolation=interpolation, diffusion=None, solver=request.param)


def test_a_pulse_is_not_stepped_over(noisy, interpolation):
    change = noisy.predict(future())
    area = change[PULSE + 2 :] - change[PULSE - 2]
    np.testing.assert_allclose(area, 2.0, atol=0.6 if noisy.origin == "start" else 0.3)
    paths = noisy.sample(future(), n_samples=20, random_state=0).reshape(20, -1)
    assert abs((paths[:, PULSE + 2] - paths[:, PULSE - 2]).mean() - 2.0) < 4.0 * 0.1 * (4.0 / 20.0) ** 0.5


def test_a_pulse_without_noise(ordinary):
    change = ordinary.predict(future())
    np.testing.assert_allclose(change[PULSE + 2 :] - change[PULSE - 2], 2.0, atol=1e-5)


def test_later_rows_never_change_earlier_answers(noisy, interpolation):
    # A slope of 1e7 would take many steps.
    first, later = (9, 50.0) if interpolation == "linear" else (10, 1e7)
    assert np.array_equal(noisy.predict(future())[:first], noisy.predict(future(later))[:first])
    samples = [noisy.sample(rows, n_samples=3, random_state=0)[:, :first] for rows in (future(), future(later))]
    assert np.array_equal(*samples)


def test_later_rows_never_change_earlier_answers_without_noise(ordinary, interpolation):
    first = 9 if interpolation == "linear" else 10
    np.testing.assert_allclose(ordinary.predict(future())[:first], ordinary.predict(future(1e7))[:first], rtol=1e-6)


@pytest.fixture(scope="module")
def one_model():
    return fitted(diffusion=None)


@settings(max_examples=10)
@given(
    st.lists(st.sampled_from([0.0, 1.0, -3.0, 1e7, np.nan]), min_size=8, max_size=8),
    st.integers(1, 7),
    st.sampled_from([1e7, np.nan, -5.0]),
)
def test_whatever_is_missing(one_model, levels, at, other):
    """A row's answer depends on no later row, also where no control of the call is known before it."""
    rows = np.column_stack([np.arange(30.0, 38.0), levels])
    changed = rows.copy()
    changed[at:, 1] = other
    before, after = one_model.predict(rows)[:at], one_model.predict(changed)[:at]
    np.testing.assert_allclose(before, after, rtol=1e-9)


@pytest.fixture(scope="module", params=["next", "previous"])
def of_series(request):
    """The same model for several series."""
    model = NeuralSDERegressor(
        drift=lambda t, u, c: c, diffusion=0.1, series=0, time=1, controls=[2], max_iter=1, random_state=0,
        control_interpolation=request.param,
    )  # fmt: skip
    return model.fit(np.column_stack([np.zeros(30), X]), Y)


def new_series(later=2.0, missing=(2, 3)):
    """Rows of a series that `fit` did not see, with controls ``later`` from the seventh on."""
    control = np.array([0.5, 1.0, 1.0, 1.0, 1.0, 1.0, *[later] * 3])
    control[list(missing)] = np.nan
    return np.column_stack([np.ones(9), np.arange(9.0), control])


def test_missing_controls_of_a_new_series_come_from_earlier_rows(of_series):
    """Also where these lie before the first y, from which the series starts."""
    y = np.concatenate([[np.nan] * 3, [0.0, 1.0, 2.5], [np.nan] * 3])
    score = [of_series.score(new_series(later), y) for later in (2.0, 1e7)]
    assert score[0] == score[1] > 0.5
    density = [of_series.log_likelihood(new_series(later), y)[:6] for later in (2.0, 1e7)]
    np.testing.assert_array_equal(*density)


@pytest.mark.parametrize("call", ["score", "log_likelihood", "fit"])
def test_no_missing_control_comes_from_a_later_row(of_series, call):
    message = "control 2 is missing in row 0, and series 1.0 has no value of it before"
    model = clone(of_series) if call == "fit" else of_series
    with pytest.raises(ValueError, match=message):
        getattr(model, call)(new_series(missing=(0, 1)), np.arange(9.0))


def test_jump_rates_follow_controls():
    """A rate that is 3 in one row of twenty and 0 else."""
    model = NeuralJumpDiffusion(
        drift=0.0, diffusion=0.01, jump_rate=lambda t, u, c: 3.0 * c[:, 0], jump_affect=lambda t, u: u + 1.0,
        controls=[1], loss="mean", max_iter=1, n_predict_paths=200, random_state=0,
    ).fit(np.column_stack([np.arange(10.0), np.zeros(10)]), np.linspace(0.0, 0.01, 10))  # fmt: skip
    rows = np.column_stack([np.arange(10.0, 30.0), np.zeros(20)])
    rows[12, 1] = 1.0
    samples = model.sample(rows, n_samples=200, random_state=0).reshape(200, -1)
    assert abs(samples[:, 11].mean()) < 0.1
    assert abs(samples[:, -1].mean() - 3.0) < 4.0 * (3.0 / 200) ** 0.5 + 0.05
