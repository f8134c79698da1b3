import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.utils.estimator_checks import _NotAnArray

from skneuralde.data import as_table, take_rows

DAYS = pd.date_range("2020-01-01", periods=4, freq="D")


def frame():
    return pd.DataFrame({"t": [0.0, 1.0, 2.0], "x": [5.0, 6.0, 7.0]})


@pytest.mark.parametrize(
    "container",
    [
        lambda a: a,
        lambda a: a.tolist(),
        lambda a: [list(row) for row in a],
        lambda a: np.asfortranarray(a),
        lambda a: a.astype(object),
        lambda a: _NotAnArray(a),
        lambda a: pd.DataFrame(a),
        lambda a: pd.DataFrame(a).astype("Float64"),
        lambda a: pd.DataFrame(a).astype(object),
        lambda a: pl.DataFrame(a, schema=["t", "x", "z"]),
        lambda a: a.astype(np.int8),
        lambda a: a.astype(np.float32),
    ],
)
def test_every_container_gives_the_same_numbers(container):
    array = np.arange(12.0).reshape(4, 3)
    table = as_table(container(array))
    assert (table.n_rows, table.n_columns) == (4, 3)
    np.testing.assert_array_equal(table.numeric([2, 0], np.dtype(float)), array[:, [2, 0]])


def test_an_array_is_not_copied(tmp_path):
    array = np.arange(12.0).reshape(4, 3)
    assert np.shares_memory(as_table(array).numeric([1, 2], array.dtype), array)
    np.save(tmp_path / "x.npy", array)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert np.shares_memory(as_table(mapped).numeric([0, 1], array.dtype), mapped)


@pytest.mark.parametrize(
    "times",
    [
        DAYS,
        DAYS.tz_localize("Asia/Tokyo"),
        DAYS.to_numpy(),
        DAYS.to_numpy().astype("datetime64[s]"),
        pd.Series(DAYS, index=[3, 1, 2, 0]),
        list(DAYS),
        [d.date() for d in DAYS],
        DAYS.to_period("D"),
        pl.Series(DAYS.to_numpy()),
        DAYS - DAYS[0],
        [datetime.timedelta(days=i) for i in range(4)],
    ],
)
def test_one_dimensional_datetimes_are_an_index_of_time(times):
    table = as_table(times)
    assert (table.n_rows, table.n_columns) == (4, 0)
    assert len(table.index) == 4


@pytest.mark.parametrize("X", [np.arange(3.0), [1, 2, 3], pd.Series([1.0, 2.0]), pl.Series([1.0]), pd.Index([1, 2])])
def test_a_numeric_vector_is_told_to_reshape(X):
    with pytest.raises(ValueError, match="Reshape your data"):
        as_table(X)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (sparse.csr_array(np.eye(3)), TypeError, "[Ss]parse"),
        (sparse.dok_matrix(np.eye(3)), TypeError, "[Ss]parse"),
        (np.ones((3, 2), dtype=complex), ValueError, "Complex data not supported"),
        (np.empty((0, 3)), ValueError, r"0 sample\(s\)"),
        (np.empty((3, 0)), ValueError, r"0 feature\(s\)"),
        (frame().iloc[:0], ValueError, r"0 sample\(s\)"),
        (np.empty(0), ValueError, "Reshape your data"),
        ([], ValueError, "Reshape your data"),
        (3.0, ValueError, "Expected 2D array, got scalar"),
        (np.ones((2, 3, 4)), ValueError, r"dim 3.*to_rows\(values, times\)"),
        ([[[1.0], [2.0]], [[1.0]]], ValueError, r"to_rows\(values, times\)"),
        ({"a": np.ones(3)}, ValueError, r"to_rows\(values, times\)"),
        (["2020-01-01", "2020-01-02"], ValueError, "Reshape your data.*pandas.to_datetime"),
        (pl.LazyFrame({"t": [1.0]}), TypeError, r"X.collect\(\)"),
        (np.array([["a", "b"]]), ValueError, "not compatible with arrays of bytes/strings"),
    ],
)
def test_what_is_no_table_is_refused(X, error, message):
    with pytest.raises(error, match=message):
        as_table(X)


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        (pd.Categorical(["a", "b", "a"]), ValueError, "column 'bad'.*categorical.*OneHotEncoder"),
        (pd.Categorical([1, 2, 1]), ValueError, "column 'bad'.*categorical"),
        (["u", "v", "w"], ValueError, "column 'bad'.*not numeric.*'u'.*series="),
        (pd.array(["u", "v", None], dtype="string"), ValueError, "column 'bad'.*not numeric"),
        ([{"foo": 1}, 2, 3], TypeError, "argument must be .* string.* number"),
        (DAYS[:3], ValueError, "column 'bad'.*datetime64.*time="),
        (DAYS[:3] - DAYS[0], ValueError, "column 'bad'.*timedelta64.*time="),
        ([1.0, np.inf, 2.0], ValueError, "contains infinity.*column 'bad', first in row 1"),
        ([1 + 1j, 2, 3], ValueError, "Complex data not supported"),
        (pd.arrays.SparseArray([0.0, 0.0, 1.0]), TypeError, "Sparse data"),
    ],
)
def test_what_is_no_number_is_refused_by_name(column, error, message):
    table = as_table(frame().assign(bad=column))
    with pytest.raises(error, match=message):
        table.numeric([1, 2], np.dtype(float))


def test_missing_numbers_of_any_dtype_become_nan():
    table = as_table(
        pd.DataFrame(
            {
                "a": pd.array([1, None, 3], dtype="Int64"),
                "b": pd.array([True, None, False], dtype="boolean"),
                "c": [1.0, None, 2.0],
                "d": pd.Series([1, None, "2.5"], dtype=object),
            }
        )
    )
    expected = [[1, 1, 1, 1], [np.nan] * 4, [3, 0, 2, 2.5]]
    np.testing.assert_array_equal(table.numeric([0, 1, 2, 3], np.dtype(float)), expected)


def test_rows_of_text_and_numbers_in_a_list_keep_their_numbers():
    table = as_table([["a", 1.0, 2], ["b", 3.0, 4]])
    np.testing.assert_array_equal(table.numeric([1, 2], np.dtype(float)), [[1, 2], [3, 4]])


def test_polars_keeps_time_zones():
    aware = pl.DataFrame({"t": pl.Series(DAYS.to_numpy()).dt.replace_time_zone("Asia/Tokyo"), "x": np.ones(4)})
    assert list(as_table(aware).column(0)) == list(DAYS.tz_localize("Asia/Tokyo"))


@pytest.mark.parametrize(
    "X",
    [frame(), frame()["x"], pl.DataFrame({"x": [5.0, 6.0, 7.0]}), np.arange(3.0)[:, None], DAYS[:3], [[1], [2], [3]]],
)
def test_rows_are_taken_in_their_own_container(X):
    taken = take_rows(X, np.array([True, False, True]))
    assert type(taken) is type(X)
    assert len(taken) == 2
    np.testing.assert_array_equal(np.asarray(taken), np.asarray(X)[[0, 2]])
    assert take_rows(X, np.ones(3, dtype=bool)) is X
