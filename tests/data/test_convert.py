import numpy as np
import pandas as pd
import pytest

from skneuralde.data import to_rows

DAYS = pd.date_range("2020-01-01", periods=3, freq="D")


def test_an_array_of_series():
    values = np.arange(24.0).reshape(4, 3, 2)
    X, y = to_rows(values, [0.0, 0.5, 2.0])
    assert X.shape == (12, 0)
    assert X.index.names == ["series", "time"]
    assert X.index.equals(y.index)
    np.testing.assert_array_equal(y.to_numpy().reshape(4, 3, 2), values)
    np.testing.assert_array_equal(y.loc[2].index, [0.0, 0.5, 2.0])


def test_one_dimensional_series_give_a_series():
    _, y = to_rows(np.arange(6.0).reshape(2, 3), DAYS)
    assert isinstance(y, pd.Series)
    assert y.loc[(1, DAYS[2])] == 5.0


def test_ragged_series_with_times_of_their_own():
    X, y = to_rows([[1.0, 2.0], [3.0]], [[0.0, 1.0], [5.0]])
    assert X.index.tolist() == [(0, 0.0), (0, 1.0), (1, 5.0)]
    np.testing.assert_array_equal(y, [1.0, 2.0, 3.0])


def test_labels():
    X, y = to_rows({("a", 1): np.ones((2, 1)), ("b", 1): np.zeros((1, 1))}, {("b", 1): DAYS[:1], ("a", 1): DAYS[1:]})
    assert X.index.tolist() == [(("a", 1), DAYS[1]), (("a", 1), DAYS[2]), (("b", 1), DAYS[0])]
    np.testing.assert_array_equal(y[0], [1.0, 1.0, 0.0])


def test_padding_gives_no_rows():
    times = np.array([[0.0, 1.0, np.nan], [0.0, 1.0, 2.0]])
    X, y = to_rows(np.ones((2, 3, 1)), times)
    assert len(X) == len(y) == 5


@pytest.mark.parametrize(
    ("values", "times", "message"),
    [
        (np.ones((2, 3)), np.ones(4), "Series 0 has 3 values, but 4 times"),
        (np.ones((2, 3)), np.ones((3, 3)), "2 series, but times for 3"),
        (np.ones((2, 3, 1, 1)), np.ones(3), r"shape \(3, 1, 1\)"),
        (np.ones(3), np.ones(3), "one series"),
        ([np.ones((3, 1)), np.ones((3, 2))], np.ones(3), "same dimension"),
        ({"a": np.ones(3)}, {"b": np.ones(3)}, "no entry for series 'a'"),
        (np.ones((1, 3)), [0.0, np.nan, 1.0], "times of series 0, first in row 1"),
        ([], [0.0], "no series"),
    ],
)
def test_what_does_not_fit_is_refused(values, times, message):
    with pytest.raises(ValueError, match=message):
        to_rows(values, times)


def test_the_rows_are_read_as_they_were_meant(read):
    values = np.random.default_rng(0).normal(size=(3, 5, 2))
    panel = read(*to_rows(values, np.arange(5.0))).panel
    np.testing.assert_array_equal(panel.values.reshape(3, 5, 2), values)
    assert panel.labels == [0, 1, 2]
