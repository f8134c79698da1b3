"""Small series and estimators that fit in a fraction of a second."""

import numpy as np
import pandas as pd
import pytest

from skneuralde import NeuralSDERegressor


@pytest.fixture
def quick():
    """Make an estimator with a small network and a few epochs."""

    def make(**parameters):
        few = {"hidden_layer_sizes": (4,), "optimizer": "adam", "max_iter": 3, "n_predict_paths": 50, "random_state": 0}
        return NeuralSDERegressor(**{**few, **parameters})

    return make


@pytest.fixture
def daily():
    """Forty daily values of a process that reverts to its mean."""
    rng = np.random.default_rng(3)
    values = [0.5]
    for shock in rng.normal(scale=0.3, size=39):
        values.append(0.8 * values[-1] + shock)
    index = pd.date_range("2024-01-01", periods=40, freq="D", name="date")
    return pd.DataFrame(index=index), pd.Series(values, index=index, name="level")


@pytest.fixture
def numbers(daily):
    """The same with numeric times."""
    return np.arange(40.0)[:, None], daily[1].to_numpy()


@pytest.fixture
def driven():
    """Sixty daily values that follow a control."""
    rng = np.random.default_rng(5)
    control = np.sin(np.arange(60) / 3.0)
    values = [0.0]
    for c, shock in zip(control[1:], rng.normal(scale=0.1, size=59), strict=True):
        values.append(0.7 * values[-1] + 0.5 * c + shock)
    index = pd.date_range("2024-01-01", periods=60, freq="D")
    return pd.DataFrame({"drive": control}, index=index), pd.Series(values, index=index, name="level")


@pytest.fixture
def panel():
    """Four decaying series with a static column, in long form: columns series, t and size."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"name": np.repeat(list("abcd"), 12), "t": np.tile(np.arange(12.0), 4)})
    frame["size"] = frame["name"].map({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})
    y = frame["size"] * np.exp(-0.2 * frame["t"]) + rng.normal(scale=0.05, size=48)
    return frame, y.rename("level")


@pytest.fixture
def two_outputs():
    """A noisy rotation with numeric times and named outputs."""
    rng = np.random.default_rng(11)
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]) * 0.97
    values = [np.array([1.0, 0.0])]
    for shock in rng.normal(scale=0.1, size=(49, 2)):
        values.append(turn @ values[-1] + shock)
    times = pd.DataFrame({"t": np.arange(50.0) * 0.5})
    return times, pd.DataFrame(np.array(values), columns=["x", "v"])
