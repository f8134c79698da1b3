"""`NeuralPDEField` of xarray objects: what it does with arrays, plus coordinates."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

from skneuralde import Laplacian, NeuralPDEField, Problem, solve

xr = pytest.importorskip("xarray")

X_AXIS, TIMES = np.linspace(0, 1, 26), np.linspace(0, 5, 11)
QUICK = {"hidden_layer_sizes": (4,), "max_iter": 2, "stages": ("collocation",), "random_state": 0}


@pytest.fixture(scope="module")
def front():
    """Two fields that spread, (11, 26, 2): Fisher-KPP, and the same with a third of the rate."""
    runs = []
    for rate in (1.0, 1 / 3):
        truth = Problem(lambda t, u, rate=rate: rate * u * (1 - u), operator=Laplacian(0.01, 0.04))
        runs.append(solve(truth, np.exp(-((X_AXIS - 0.2) ** 2) / 0.01)[:, None], TIMES, rtol=1e-8).ys[0].numpy())
    return np.concatenate(runs, axis=-1)


@pytest.fixture(scope="module")
def labelled(front):
    return xr.DataArray(front, {"time": TIMES, "x": X_AXIS, "field": ["a", "b"]}, ("time", "x", "field"), "density")


@pytest.fixture(scope="module")
def fitted(labelled):
    return NeuralPDEField(**QUICK).fit(labelled.time, labelled)


def test_coordinates_change_no_number(fitted, labelled, front):
    plain = NeuralPDEField(spacing=0.04, **QUICK).fit(TIMES[:, None], front)
    np.testing.assert_allclose(fitted.diffusivity_, plain.diffusivity_, rtol=1e-9)
    forecast = fitted.predict(labelled.time)
    np.testing.assert_allclose(forecast, plain.predict(TIMES[:, None]), rtol=1e-6, atol=1e-9)
    assert fitted.score(labelled.time, labelled) == pytest.approx(plain.score(TIMES[:, None], front), abs=1e-6)


def test_predictions_have_the_coordinates(fitted, labelled):
    mean, std = fitted.predict(labelled.time[2:5], return_std=True)
    for answer in (mean, std):
        xr.testing.assert_identical(answer.coords.to_dataset(), labelled[2:5].coords.to_dataset())
        assert (answer.dims, answer.name) == (labelled.dims, "density")
    draws = fitted.sample(labelled.time[2:5], 3)
    assert type(draws) is np.ndarray
    assert draws.shape == (3, 3, 26, 2)


def test_one_field_needs_no_dimension(front):
    y = xr.DataArray(front[..., 0], {"time": TIMES, "x": X_AXIS}, ("time", "x"))
    model = NeuralPDEField(**QUICK).fit(y.time, y)
    assert model.grid_ == (26,)
    assert model.diffusivity_.shape == (1,)
    forecast = model.predict(y.time)
    xr.testing.assert_identical(forecast.coords.to_dataset(), y.coords.to_dataset())
    assert model.sample(y.time, 3).shape == (3, 11, 26)
    assert np.isfinite(model.score(y.time, y))


def test_a_dataset_of_two_axes_by_dates(front):
    when = pd.date_range("2024-01-01", periods=11, freq="12h")
    plane = np.repeat(front[:, ::5, None], 4, axis=2)
    z = [3.0, 2.0, 1.0, 0.0]
    y = xr.Dataset({k: (("time", "x", "z"), plane[..., i]) for i, k in enumerate("ab")},
                   {"time": when, "x": X_AXIS[::5], "z": z})  # fmt: skip
    model = NeuralPDEField(time_unit="D", **QUICK).fit(y.time, y)
    arrays = NeuralPDEField(time_unit="D", spacing=(0.2, 1.0), **QUICK).fit(when, plane)
    forecast = model.predict(y.time)
    assert list(forecast.data_vars) == ["a", "b"]
    xr.testing.assert_identical(forecast.coords.to_dataset(), y.coords.to_dataset())
    np.testing.assert_allclose(forecast.b, arrays.predict(when)[..., 1], rtol=1e-6, atol=1e-9)
    assert model.score(y.time, y) == pytest.approx(arrays.score(when, plane), abs=1e-6)
    later = model.predict(model.future(2))
    assert list(later.time.to_index()) == list(pd.date_range(when[-1], periods=3, freq="12h")[1:])


def test_sensors_may_be_missing(labelled):
    y = labelled.copy()
    y[4:, 3, 1] = np.nan
    gaps = NeuralPDEField(**QUICK).fit(y.time, y)
    arrays = NeuralPDEField(spacing=0.04, **QUICK).fit(TIMES[:, None], y.to_numpy())
    np.testing.assert_allclose(gaps.diffusivity_, arrays.diffusivity_, rtol=1e-9)
    assert np.isfinite(gaps.predict(y.time)).all()


def test_several_runs_and_a_new_one(labelled):
    X = pd.DataFrame({"run": np.repeat(["p", "q"], 11), "time": np.tile(TIMES, 2)})
    both = xr.concat([labelled, labelled * 0.9], "time").drop_vars("time")
    model = NeuralPDEField(series="run", time="time", **QUICK).fit(X, both)
    assert set(model.predict(X).coords) == {"x", "field"}
    indexed = X.set_index(["run", "time"])
    by_index = NeuralPDEField(series="run", time="time", **QUICK).fit(indexed, both).predict(indexed)
    assert by_index.run.to_numpy().tolist() == X.run.tolist()
    np.testing.assert_array_equal(by_index.time, X.time)
    new = pd.DataFrame({"run": ["r"], "time": [0.0]})
    model.update_state(new, both[:1] * 0.8)
    np.testing.assert_allclose(model.predict(new), both[:1] * 0.8, rtol=1e-12)
    with pytest.raises(ValueError, match="'x' differs"):
        model.update_state(new, both[:1].assign_coords(x=X_AXIS + 0.1))


def test_an_uneven_axis_needs_spacing(labelled):
    uneven = labelled.assign_coords(x=X_AXIS**2)
    with pytest.raises(ValueError, match=r"'x' is not uniform: .* from 0\.0 to 0\.0016 "):
        NeuralPDEField(**QUICK).fit(uneven.time, uneven)
    told = NeuralPDEField(spacing=0.04, **QUICK).fit(uneven.time, uneven)
    np.testing.assert_array_equal(told.predict(uneven.time).x, X_AXIS**2)


def test_other_coordinates_are_refused_when_scored(fitted, labelled):
    with pytest.raises(ValueError, match="'x' differs from that in fit"):
        fitted.score(labelled.time, labelled.assign_coords(x=X_AXIS * 2))
    assert np.isfinite(fitted.score(labelled.time, labelled.to_numpy()))


def test_pickles_do_not_need_xarray(fitted, labelled, tmp_path):
    file = tmp_path / "model.pickle"
    file.write_bytes(pickle.dumps(fitted))
    code = (
        f"import pickle, sys; sys.modules['xarray'] = None; model = pickle.load(open({str(file)!r}, 'rb')); "
        "print(model.reaction_field([[0.5, 0.5]]).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 2)", done.stderr
    again = pickle.loads(file.read_bytes())
    xr.testing.assert_identical(again.predict(labelled.time), fitted.predict(labelled.time))


def test_grid_search(labelled):
    search = GridSearchCV(NeuralPDEField(**QUICK), {"rtol": [1e-3]}, cv=TimeSeriesSplit(2), error_score="raise")
    search.fit(labelled.time, labelled)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(labelled.time).dims == labelled.dims
