"""Random walks, and an equation that describes them exactly and has nothing to learn."""

import numpy as np
import pandas as pd
import pytest

from skneuralde import MLP, NeuralSDERegressor

VOLATILITY = 0.3


@pytest.fixture
def walk_model():
    """Make the equation of a random walk with known coefficients."""

    def make(volatility=VOLATILITY, **parameters):
        return NeuralSDERegressor(
            0.0, volatility, **{"max_iter": 1, "time_unit": "auto", "random_state": 0, **parameters}
        )

    return make


@pytest.fixture
def tiny():
    """Make an estimator with a network of few parameters and two epochs."""

    def make(**parameters):
        few = {"optimizer": "adam", "max_iter": 2, "n_predict_paths": 20, "random_state": 0}
        return NeuralSDERegressor(MLP((2,)), 0.3, **{"time_unit": "D", **few, **parameters})

    return make


@pytest.fixture
def walk():
    """Sixty unit steps of a random walk, with numeric times."""
    rng = np.random.default_rng(0)
    return np.arange(60.0)[:, None], VOLATILITY * rng.normal(size=60).cumsum()


@pytest.fixture
def walks():
    """Four walks of twelve steps: columns name, t and size."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"name": np.repeat(list("abcd"), 12), "t": np.tile(np.arange(12.0), 4)})
    y = VOLATILITY * rng.normal(size=(4, 12)).cumsum(axis=1)
    return frame, pd.Series(y.ravel(), name="level")


@pytest.fixture
def daily():
    """Three ragged daily series with a control, in shuffled rows with a MultiIndex of (series, time)."""
    rng = np.random.default_rng(2)
    index = pd.MultiIndex.from_tuples(
        [
            (name, day)
            for name, first, length in (("a", 0, 40), ("b", 10, 30), ("c", 24, 12))
            for day in pd.date_range("2024-01-01", periods=40, freq="D", tz="Europe/Berlin")[first : first + length]
        ],
        names=["series", "time"],
    )
    order = rng.permutation(len(index))
    X = pd.DataFrame({"drive": rng.normal(size=len(index))}, index=index)
    y = pd.Series(0.3 * rng.normal(size=len(index)), index=index, name="level")
    return X.iloc[order], y.iloc[order]
