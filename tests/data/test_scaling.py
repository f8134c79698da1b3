import numpy as np
import pytest

from skneuralde.data import weighted_scaling


def test_mean_and_standard_deviation():
    values = np.random.default_rng(0).normal(3.0, 2.0, size=(100, 3))
    loc, scale = weighted_scaling(values)
    np.testing.assert_allclose(loc, values.mean(axis=0))
    np.testing.assert_allclose(scale, values.std(axis=0))


def test_weights_are_repetitions():
    values = np.random.default_rng(0).normal(size=(20, 2))
    weight = np.random.default_rng(1).integers(0, 4, size=20)
    for got, expected in zip(
        weighted_scaling(values, weight), weighted_scaling(values.repeat(weight, axis=0)), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_missing_values_are_left_out():
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    loc, scale = weighted_scaling(values)
    np.testing.assert_array_equal(loc, [2.0, 0.0])
    np.testing.assert_array_equal(scale, [1.0, 1.0])


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1.0, 1e200, 1e307])
def test_numbers_of_any_size(size):
    values = np.array([[1.0], [2.0], [4.0]])
    loc, scale = weighted_scaling(values * size)
    np.testing.assert_allclose(loc / size, values.mean())
    np.testing.assert_allclose(scale / size, values.std())


@pytest.mark.parametrize("value", [0.0, 0.1, -7e200, 1e-310, 123456.789])
def test_a_constant_column_has_scale_one(value):
    loc, scale = weighted_scaling(np.full((1001, 1), value), np.random.default_rng(0).uniform(size=1001))
    np.testing.assert_allclose(loc, value, rtol=1e-12)
    assert scale[0] == 1.0


def test_a_row_without_weight_does_not_count():
    loc, scale = weighted_scaling(np.array([[1.0], [3.0], [1e300]]), np.array([1.0, 1.0, 0.0]))
    assert (loc[0], scale[0]) == (2.0, 1.0)
