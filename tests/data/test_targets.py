import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from skneuralde.data import Roles, read_targets

DAYS = pd.date_range("2020-01-01", periods=3, freq="D")
X = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=DAYS)


def targets_of(y, X=X):
    return read_targets(y, len(X), roles=Roles.fit(X, y))


@pytest.mark.parametrize(
    "y", [[1, 2, 3], np.array([1, 2, 3]), pd.Series([1, 2, 3]), pl.Series([1, 2, 3]), pd.array([1, 2, 3])]
)
def test_one_dimensional(y):
    targets = targets_of(y)
    np.testing.assert_array_equal(targets.values, [[1.0], [2.0], [3.0]])
    assert targets.values.dtype == np.float64
    assert np.shape(targets.output.like(targets.values, X)) == (3,)


def test_missing_values_are_kept_as_nan():
    np.testing.assert_array_equal(targets_of(pd.Series([1, None, 3], dtype="Int64")).values[:, 0], [1, np.nan, 3])
    np.testing.assert_array_equal(targets_of([[1, np.nan], [np.nan, np.nan], [2, 3]]).values[1], [np.nan, np.nan])


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (None, ValueError, "requires y to be passed, but the target y is None"),
        ([np.nan] * 3, ValueError, "Input y contains NaN.*nothing was observed"),
        ([1.0, np.inf, 2.0], ValueError, "Input y contains infinity"),
        ([1.0, 2.0], ValueError, "inconsistent numbers of samples"),
        (np.ones((3, 2, 2)), ValueError, r"to_rows\(values, times\)"),
        (np.ones(3) + 1j, ValueError, "Complex data not supported"),
        (sparse.csr_array(np.ones((3, 1))), TypeError, "[Ss]parse"),
        (["a", "b", "c"], ValueError, "could not convert|not compatible"),
        (pd.Series(["a", "b", "c"], dtype="category"), ValueError, "categorical"),
        (pd.Series(DAYS), ValueError, "y holds datetime64"),
        (np.ones((3, 0)), ValueError, r"0 feature\(s\)"),
    ],
)
def test_what_is_no_state_is_refused(y, error, message):
    with pytest.raises(error, match=message):
        read_targets(y, 3, roles=Roles.fit(X))


def test_pandas_in_pandas_out():
    asked = X.iloc[[2, 0]]
    one = targets_of(pd.Series([1.0, 2, 3], index=DAYS, name="price")).output
    pd.testing.assert_series_equal(
        one.like(np.array([[5.0], [6.0]]), asked), pd.Series([5.0, 6.0], index=asked.index, name="price")
    )
    two = targets_of(pd.DataFrame({"a": [1.0, 2, 3], "b": 0.0}, index=DAYS)).output
    pd.testing.assert_frame_equal(
        two.like(np.eye(2), asked), pd.DataFrame(np.eye(2), index=asked.index, columns=["a", "b"])
    )


def test_quantiles_of_a_series_have_levels_as_columns():
    values, levels = np.arange(6.0).reshape(3, 1, 2), np.array([0.1, 0.9])
    frame = targets_of(pd.Series([1.0, 2, 3], index=DAYS)).output.quantiles_like(values, levels, X)
    pd.testing.assert_frame_equal(frame, pd.DataFrame(values[:, 0], index=DAYS, columns=[0.1, 0.9]))
    assert targets_of([1.0, 2, 3]).output.quantiles_like(values, levels, X).shape == (3, 2)
    assert targets_of(np.eye(3)).output.quantiles_like(np.zeros((3, 3, 2)), levels, X).shape == (3, 3, 2)


def test_later_targets_have_as_many_outputs():
    with pytest.raises(ValueError, match=r"y has 2 column\(s\), but 1 in fit"):
        read_targets(np.ones((3, 2)), 3, roles=Roles.fit(X, [1.0, 2.0, 3.0]))


def test_the_index_comes_from_what_is_asked():
    output = targets_of(pd.Series([1.0, 2, 3], index=DAYS)).output
    values = np.arange(3.0)[:, None]
    assert output.like(values, DAYS).index is DAYS
    assert output.like(values, pd.Series(DAYS, index=[7, 8, 9])).index.tolist() == [7, 8, 9]
    assert type(output.like(values, X.to_numpy())) is np.ndarray


def test_arrays_in_arrays_out():
    """TransformedTargetRegressor and others reshape what they get when y was an array, whatever X is."""
    assert type(targets_of(np.arange(3.0)).output.like(np.ones((3, 1)), X)) is np.ndarray
    assert targets_of(np.ones((3, 1))).output.like(np.ones((3, 1)), X).shape == (3, 1)


def test_polars_in_polars_out():
    frame = pl.DataFrame({"t": [2.0, 1.0, 0.0], "x": [1.0, 2.0, 3.0]})
    one = targets_of(pl.Series("u", [1.0, 2.0, 3.0]), frame).output.like(np.ones((3, 1)), frame)
    assert isinstance(one, pl.Series)
    assert one.name == "u"
    two = targets_of(pl.DataFrame({"u": [1.0, 2, 3], "v": [1.0, 2, 3]}), frame).output.like(np.eye(3)[:, :2], frame)
    assert isinstance(two, pl.DataFrame)
    np.testing.assert_array_equal(two.to_numpy(), np.eye(3)[:, :2])


def test_single_precision_comes_back():
    X = np.ones((3, 2), dtype=np.float32)
    output = targets_of(np.ones(3, dtype=np.float32), X).output
    assert output.like(np.ones((3, 1)), X).dtype == np.float32
    assert output.squeeze(np.ones((4, 3, 1))).shape == (4, 3)
    assert targets_of(np.ones(3), X).output.like(np.ones((3, 1), dtype=np.float32), X).dtype == np.float64
