"""Snapshots with gaps."""

import numpy as np
import pytest

from skneuralde.data import Panel
from skneuralde.data.inpaint import fill_fields


def panel(values, times):
    n = len(times)
    empty = np.empty((n, 0))
    return Panel(
        np.asarray(times, dtype=float),
        np.asarray(values, dtype=float).reshape(n, -1),
        np.ones(n),
        empty,
        empty,
        empty,
        np.array([0, n]),
        [None],
        np.arange(n),
    )


def ramp(times, shape):
    """A field that is linear in space and time."""
    place = np.add.reduce(np.indices(shape) * np.arange(1, len(shape) + 1).reshape(-1, *[1] * len(shape)))
    return np.stack([place + 10.0 * t for t in times])


@pytest.mark.parametrize("shape", [(9,), (5, 6), (4, 5, 3)])
def test_gaps_inside_a_linear_field_are_filled_exactly(shape):
    times = [0.0, 1.0, 3.0, 4.0]
    truth = ramp(times, shape).reshape(4, -1)
    holes = truth.copy()
    rng = np.random.default_rng(0)
    inner = rng.choice(truth.shape[1], max(1, truth.shape[1] // 8), replace=False)
    holes[1:3, inner] = np.nan  # seen before and after
    middle = np.ravel_multi_index([n // 2 for n in shape], shape)
    holes[:, middle] = np.nan  # never seen
    filled = fill_fields(panel(holes, times), shape)
    assert np.allclose(filled, truth)
    assert np.isnan(holes[1, inner]).all()


def test_rows_without_any_observation_stay_empty():
    values = ramp([0.0, 1.0, 2.0], (4,))
    values[1] = np.nan
    values[2, 1] = np.nan
    filled = fill_fields(panel(values, [0.0, 1.0, 2.0]), (4,))
    assert np.isnan(filled[1]).all()
    assert np.isfinite(filled[[0, 2]]).all()


def test_outside_the_sensors_the_nearest_one_counts():
    values = np.full((1, 3, 3), np.nan)
    values[0, 1, 1] = 7.0
    assert np.array_equal(fill_fields(panel(values, [0.0]), (3, 3)), np.full((1, 9), 7.0))


def test_complete_fields_are_not_copied():
    whole = panel(ramp([0.0, 1.0], (4,)), [0.0, 1.0])
    assert fill_fields(whole, (4,)) is whole.values
