import warnings

import numpy as np
import pandas as pd
import pytest

from skneuralde.data import Roles

DAYS = pd.date_range("2020-01-01", periods=6, freq="D")


def daily(**columns):
    return pd.DataFrame(columns, index=DAYS)


def panel_frame():
    """Two series by MultiIndex; `x` varies within them, `size` does not, `flag` is the same everywhere."""
    index = pd.MultiIndex.from_product([["a", "b"], DAYS[:3]], names=["id", "day"])
    return pd.DataFrame({"x": np.arange(6.0), "size": [1, 1, 1, 2, 2, 2], "flag": 0.0}, index=index)


def roles_of(X, y=None, **parameters):
    roles = Roles.fit(X, y, **parameters)
    return {
        "time": str(roles.time),
        "series": [str(s) for s in roles.series],
        "context": roles.names_of(roles.context),
        "controls": roles.names_of(roles.controls),
        "initial": roles.names_of(roles.initial),
        "layout": roles.layout.name,
        "initial_state": roles.initial_state,
    }


def decided(time, layout, series=(), context=(), controls=(), initial=(), initial_state="first"):
    return {
        "time": time,
        "series": list(series),
        "context": list(context),
        "controls": list(controls),
        "initial": list(initial),
        "layout": layout,
        "initial_state": initial_state,
    }


@pytest.mark.parametrize(
    ("X", "parameters", "expected"),
    [
        (daily(x=range(6)), {}, decided("the index", "series", controls=["x"])),
        (daily(x=range(6)).to_period("D"), {}, decided("the index", "series", controls=["x"])),
        (daily(x=range(6)).rename_axis("day"), {}, decided("index level 'day'", "series", controls=["x"])),
        (DAYS, {}, decided("the index", "series")),
        (pd.DataFrame(index=DAYS), {}, decided("the index", "series")),
        (np.arange(6.0)[:, None], {}, decided("column 0", "series")),
        (pd.DataFrame({"t": [2.0, 1.0]}), {}, decided("column 't'", "series")),
        (
            pd.DataFrame({"x": [2.0, 1.0], "when": DAYS[:2]}),
            {},
            decided("column 'when'", "table", context=["x"], initial_state="context"),
        ),
        (
            pd.DataFrame({"x": [2.0, 1.0, 0.0]}, index=[0.0, 0.5, 0.7]),
            {"time": "index"},
            decided("the index", "series", controls=["x"]),
        ),
        (
            np.arange(12.0)[::-1].reshape(4, 3),
            {},
            decided("column 0", "table", context=[1, 2], initial_state="context"),
        ),
        (
            np.arange(12.0)[::-1].reshape(4, 3),
            {"time": -1},
            decided("column 2", "table", context=[0, 1], initial_state="context"),
        ),
    ],
)
def test_the_column_or_index_of_the_times(X, parameters, expected):
    assert roles_of(X, **parameters) == expected


@pytest.mark.parametrize(
    ("X", "parameters", "expected"),
    [
        (panel_frame(), {}, decided("index level 'day'", "series", ["index level 'id'"], ["size"], ["x", "flag"])),
        (
            panel_frame().swaplevel(),
            {},
            decided("index level 'day'", "series", ["index level 'id'"], ["size"], ["x", "flag"]),
        ),
        (
            panel_frame().reset_index(),
            {"series": "id"},
            decided("column 'day'", "series", ["column 'id'"], ["size"], ["x", "flag"]),
        ),
        (
            panel_frame().reset_index("id"),
            {"series": ["id"]},
            decided("index level 'day'", "series", ["column 'id'"], ["size"], ["x", "flag"]),
        ),
        (
            panel_frame().assign(t=[0.0, 1, 2, 0, 1, 2]),
            {"time": "t", "series": "id"},
            decided("column 't'", "series", ["index level 'id'"], ["size"], ["x", "flag"]),
        ),
        (
            np.array([[1, 0.0, 5], [1, 1.0, 5], [2, 0.0, 6]]),
            {"series": 0},
            decided("column 1", "series", ["column 0"], [2]),
        ),
        (
            pd.DataFrame({"x": [1.0, 2, 3]}, index=pd.MultiIndex.from_tuples([("a", 0), ("a", 1), ("b", 0)])),
            {},
            decided("index level 1", "series", ["the index"], [], ["x"]),
        ),
    ],
)
def test_the_rows_of_one_series(X, parameters, expected):
    assert roles_of(X, **parameters) == expected


@pytest.mark.parametrize(
    ("X", "parameters", "expected"),
    [
        # controls by hand
        (
            np.arange(12.0).reshape(4, 3),
            {"controls": [1, 2]},
            decided("column 0", "series", controls=[1, 2]),
        ),
        (panel_frame(), {"controls": ["x"], "series": None}, decided(
            "index level 'day'", "series", ["index level 'id'"], ["size", "flag"], ["x"]
        )),
        (daily(x=np.ones(6)), {"controls": ()}, decided("the index", "series", context=["x"])),
        # initial states
        (
            np.arange(12.0).reshape(4, 3),
            {"initial_state": [1, 2]},
            decided("column 0", "flow", initial=[1, 2], initial_state="columns"),
        ),
        (
            pd.DataFrame({"u0": [1.0], "lag": pd.to_timedelta([1], unit="h"), "p": [0.5]}),
            {"initial_state": "u0"},
            decided("column 'lag'", "flow", initial=["u0"], context=["p"], initial_state="columns"),
        ),
        (
            np.arange(12.0)[::-1].reshape(4, 3),
            {"initial_state": "learn"},
            decided("column 0", "table", context=[1, 2], initial_state="learn"),
        ),
        (
            panel_frame(),
            {"initial_state": "context"},
            decided("index level 'day'", "series", ["index level 'id'"], ["size"], ["x", "flag"], (), "context"),
        ),
    ],
)  # fmt: skip
def test_controls_and_initial_states(X, parameters, expected):
    assert roles_of(X, **parameters) == expected


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        (daily(x=range(6)), {"time": "t"}, r"time='t' is not a column.*\['x'\]"),
        (daily(x=range(6)), {"series": "id"}, "series='id' is not a column.*Index levels"),
        (daily(x=range(6)), {"controls": ["y"]}, "controls='y' is not a column"),
        (np.ones((3, 2)), {"controls": [2]}, "controls=2 is not a column of X, which has 2 columns without names"),
        (np.ones((3, 2)), {"controls": "x"}, "controls='x' is not a column"),
        (np.ones((3, 2)), {"time": "index"}, "time='index', but X has no index"),
        (np.ones((3, 2)), {"time": 1, "controls": [1]}, "Column 1 has two roles"),
        (np.ones((3, 1)), {"series": 0}, "No column of X is left for the time"),
        (np.ones((3, 2)), {"initial_state": 0.5}, "initial_state=0.5 is not understood"),
        (np.ones((3, 2)), {"initial_state": [0.5, 1.0]}, "initial_state=.* is not understood"),
        (np.ones((3, 2)), {"initial_state": "last"}, "initial_state='last' is not a column"),
        (np.ones((3, 2)), {"initial_state": []}, "is not understood"),
        (np.ones((3, 2)), {"initial_state": "first"}, "'first' needs series"),
        (np.ones((3, 3)), {"initial_state": [1], "controls": [2]}, "controls= and series= have no meaning"),
        (daily(u0=range(6)), {"initial_state": "u0"}, "the time since that state.*datetimes"),
        (daily(x=range(6)), {"initial_state": "context"}, "needs columns of context"),
        (panel_frame().assign(t=1.0), {"time": "t"}, "MultiIndex.*series="),
        (panel_frame(), {"series": ["id", "day"]}, "index level 'day' is the time"),
        (pd.DataFrame(np.ones((2, 2)), columns=["x", "x"]), {"time": "x"}, "2 columns of that name"),
        (pd.DataFrame({"a": DAYS, "b": DAYS, "c": 1.0}), {"controls": ["c"]}, "column 'b'.*datetime64.*no role"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused(X, parameters, message):
    with pytest.raises(ValueError, match=message):
        Roles.fit(X, **parameters).read(X)


@pytest.mark.parametrize("index", [DAYS, pd.MultiIndex.from_product([["a", "b"], DAYS[:3]])])
def test_a_pipeline_step_that_drops_the_index_is_named(index):
    y = pd.Series(np.arange(6.0), index=index)
    with pytest.raises(ValueError, match=r"\.set_output\(transform='pandas'\)"):
        Roles.fit(np.ones((6, 2)), y)
    assert Roles.fit(np.ones((6, 2)), y, time=0).layout.name == "table"
    assert Roles.fit(np.ones((6, 2)), pd.Series(np.arange(6.0))).layout.name == "table"


def test_a_table_in_the_order_of_time_warns_once():
    X = np.column_stack([np.arange(5.0), np.ones(5)])
    with pytest.warns(UserWarning, match="controls=") as caught:
        roles = Roles.fit(X)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        roles.read(X)
        Roles.fit(X[::-1])
        Roles.fit(X, controls=[1])


def test_controls_are_decided_in_fit():
    X = panel_frame()
    roles = Roles.fit(X)
    still = X.assign(x=[0, 0, 0, 1, 1, 1])
    assert roles.read(still).controls.shape == (6, 2)


def test_missing_values_do_not_make_a_control():
    X = panel_frame().assign(size=[1, np.nan, 1, np.nan, 2, 2])
    assert roles_of(X)["context"] == ["size"]


def test_labels_are_sorted_whatever_the_order_of_rows():
    X = panel_frame()
    roles = Roles.fit(X)
    rows = roles.read(X.iloc[::-1])
    assert rows.labels == ["a", "b"]
    np.testing.assert_array_equal(rows.codes, [1, 1, 1, 0, 0, 0])
    assert roles.read(X.iloc[3:]).labels == ["b"]


@pytest.mark.parametrize(
    ("ids", "labels"),
    [
        ([3, 1, 1], [1, 3]),
        (["z", 1, 1], [1, "z"]),
        ([2.5, 1.0, 1.0], [1.0, 2.5]),
        ([DAYS[1], DAYS[0], DAYS[0]], [DAYS[0], DAYS[1]]),
        (pd.Categorical(["u", "b", "b"], categories=["u", "c", "b"]), ["b", "u"]),
        ([True, False, False], [False, True]),
    ],
)
def test_names_of_series_of_any_type(ids, labels):
    X = pd.DataFrame({"id": ids, "t": [0.0, 0.0, 1.0]})
    rows = Roles.fit(X, series="id", time="t").read(X)
    assert rows.labels == labels
    np.testing.assert_array_equal(rows.codes, [1, 0, 0])


def test_several_columns_name_a_series_together():
    X = pd.DataFrame({"t": [0.0, 0, 1, 0], "site": ["s", "r", "s", "s"], "run": [2, 1, 2, 1]})
    rows = Roles.fit(X, series=["site", "run"]).read(X)
    assert rows.labels == [("r", 1), ("s", 1), ("s", 2)]
    np.testing.assert_array_equal(rows.codes, [2, 0, 2, 1])


def test_a_row_without_the_name_of_its_series_is_refused():
    X = pd.DataFrame({"id": ["a", None], "t": [0.0, 1.0]})
    with pytest.raises(ValueError, match="name of a series: column 'id', first in row 1"):
        Roles.fit(X, series="id").read(X)


@pytest.mark.parametrize(
    ("x_dtype", "y_dtype", "expected"),
    [(np.float32, np.float32, np.float32), (np.float64, np.float32, np.float64), (np.float32, np.float64, np.float64)],
)
def test_single_precision_if_all_is_single(x_dtype, y_dtype, expected):
    y = np.arange(6, dtype=y_dtype)
    X = daily(x=np.arange(6, dtype=x_dtype))
    roles = Roles.fit(X, pd.Series(y, index=DAYS))
    assert roles.dtype == expected
    assert roles.read(X).controls.dtype == expected
    assert Roles.fit(np.ones((6, 2), dtype=x_dtype), y).dtype == expected


def test_the_time_has_no_say_in_the_precision():
    X = pd.DataFrame({"t": np.arange(3.0), "x": np.ones(3, dtype=np.float32)})
    roles = Roles.fit(X[::-1], np.ones(3, dtype=np.float32))
    assert roles.dtype == np.float32
    assert roles.read(X).times.dtype == np.float64
    assert Roles.fit(DAYS[:3], np.ones(3, dtype=np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("fitted", "asked", "message"),
    [
        (daily(x=range(6)), np.ones((2, 1)), "In fit X had an index.*set_output"),
        (panel_frame(), panel_frame().reset_index("id", drop=True), "MultiIndex"),
        (daily(x=range(6)), daily(x=range(6), z=range(6)), "X has 2 features, but 1"),
    ],
)
def test_rows_that_lost_what_fit_saw(fitted, asked, message):
    with pytest.raises(ValueError, match=message):
        Roles.fit(fitted).read(asked)


def test_levels_are_found_by_name():
    X = panel_frame()
    roles = Roles.fit(X)
    np.testing.assert_array_equal(roles.read(X.swaplevel()).codes, roles.read(X).codes)
