import numpy as np
import pandas as pd
import pytest

from skneuralde.data import future_rows

DAYS = pd.date_range("2020-01-01", periods=4, freq="D")


def ahead(read, X, steps=2, every=None, **parameters):
    here = read(X, np.arange(float(len(X))), **parameters)
    return future_rows(here.panel, here.roles, here.clock, steps, every), here


def test_after_a_daily_series(read):
    X = pd.DataFrame({"x": [1.0, 2.0, 3.0, np.nan]}, index=DAYS.rename("day"))
    rows, here = ahead(read, X)
    pd.testing.assert_frame_equal(
        rows, pd.DataFrame({"x": [3.0, 3.0]}, index=pd.DatetimeIndex(["2020-01-05", "2020-01-06"], name="day"))
    )
    np.testing.assert_array_equal(here.ask(rows).times, [4.0, 5.0])


def test_each_series_continues_at_its_own_pace(read):
    index = pd.MultiIndex.from_tuples(
        [("a", 0.0), ("a", 1.0), ("a", 2.0), ("a", 10.0), ("b", 5.0), ("c", 0.0), ("c", 4.0)], names=["id", "t"]
    )
    X = pd.DataFrame({"size": [1.0] * 4 + [2.0] + [3.0] * 2}, index=index)
    rows, here = ahead(read, X)
    expected = [("a", 11.0), ("a", 12.0), ("b", 7.5), ("b", 10.0), ("c", 8.0), ("c", 12.0)]
    assert rows.index.tolist() == expected
    np.testing.assert_array_equal(rows["size"], [1, 1, 2, 2, 3, 3])
    assert here.ask(rows).labels == ["a", "b", "c"]


def test_columns_come_back_in_their_places(read):
    X = pd.DataFrame({"x": [1.0, 2.0], "who": ["a", "a"], "when": DAYS[:2]})
    rows, here = ahead(read, X, series="who", time="when")
    assert list(rows.columns) == ["x", "who", "when"]
    assert rows["when"].tolist() == list(DAYS[2:])
    np.testing.assert_array_equal(here.ask(rows).times, [2.0, 3.0])


def test_several_levels(read):
    index = pd.MultiIndex.from_tuples([(DAYS[i], "s", k) for i in range(2) for k in (1, 2)], names=["t", "site", "run"])
    rows, here = ahead(read, pd.DataFrame(index=index), steps=1)
    assert rows.index.names == ["t", "site", "run"]
    assert rows.index.tolist() == [(DAYS[2], "s", 1), (DAYS[2], "s", 2)]
    assert here.ask(rows).labels == [("s", 1), ("s", 2)]


def test_a_bare_array(read):
    rows, here = ahead(read, np.array([[5.0, 0.0], [6.0, 0.5], [8.0, 1.0]]), time=1, controls=[0], every=2.0)
    np.testing.assert_array_equal(rows, [[8.0, 3.0], [8.0, 5.0]])
    np.testing.assert_array_equal(here.ask(rows).times, [3.0, 5.0])


def test_one_dimensional_datetimes(read):
    rows, _ = ahead(read, DAYS)
    assert rows.index.tolist() == [pd.Timestamp("2020-01-05"), pd.Timestamp("2020-01-06")]


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("h", ["2020-01-03 01:00", "2020-01-03 02:00"]),
        (pd.Timedelta("12h"), ["2020-01-03 12:00", "2020-01-04"]),
        ("B", ["2020-01-06", "2020-01-07"]),  # the third is a Friday
        (pd.offsets.MonthEnd(), ["2020-01-31", "2020-02-29"]),
        (None, ["2020-01-04", "2020-01-05"]),
    ],
)
def test_every(read, every, expected):
    rows, _ = ahead(read, pd.DataFrame(index=DAYS[:3]), every=every)
    assert rows.index.tolist() == [pd.Timestamp(t) for t in expected]


def test_calendar_days_follow_the_local_clock(read):
    local = pd.date_range("2020-03-25", periods=4, freq="D", tz="Europe/Paris")
    rows, _ = ahead(read, pd.DataFrame(index=local), every="D")
    assert rows.index.tolist() == list(pd.date_range("2020-03-29", periods=2, freq="D", tz="Europe/Paris"))


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (DAYS, {"steps": 0}, "steps must be a positive integer"),
        (DAYS, {"steps": 1.5}, "steps must be a positive integer"),
        (DAYS, {"every": 2.0}, "give a timedelta or a frequency"),
        (DAYS, {"every": "fortnight"}, "not a frequency"),
        (DAYS, {"every": "-1D"}, "forward"),
        (DAYS[:1], {}, "give every="),
        (np.arange(3.0)[:, None], {"every": "D"}, "give a number"),
        (np.arange(3.0)[:, None], {"every": -1.0}, "positive"),
        (np.ones((3, 2)), {}, "needs time series"),
    ],
)
def test_what_has_no_future(read, X, options, message):
    with pytest.raises(ValueError, match=message):
        ahead(read, X, **options)
