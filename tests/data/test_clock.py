import numpy as np
import pandas as pd
import pytest

from skneuralde.data.clock import Clock, read_times

DAY = pd.Timedelta(1, "D")


def dates(*texts, unit="ns", tz=None):
    return pd.DatetimeIndex(list(texts)).as_unit(unit).tz_localize(tz)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_model_time_does_not_depend_on_the_resolution(unit):
    index = dates("2020-01-01", "2020-01-02 12:00", "2020-01-05", unit=unit)
    clock = Clock.fit(index)
    assert clock.t_ref == pd.Timestamp("2020-01-01")
    assert clock.unit == DAY
    np.testing.assert_array_equal(clock.to_model(index), [0.0, 1.5, 4.0])
    np.testing.assert_array_equal(clock.to_model(index.as_unit("us")), [0.0, 1.5, 4.0])
    assert clock.to_user(np.array([0.0, 1.5, 4.0])).equals(index)


def test_time_zones_are_the_same_instants_and_come_back():
    local = pd.date_range("2020-03-28", periods=4, freq="D", tz="Europe/Paris")  # one of these days has 23 hours
    clock = Clock.fit(local)
    np.testing.assert_allclose(clock.to_model(local), [0.0, 1.0, 1.0 + 23 / 24, 2.0 + 23 / 24])
    np.testing.assert_array_equal(clock.to_model(local.tz_convert("Asia/Tokyo")), clock.to_model(local))
    assert clock.to_user(clock.to_model(local)).equals(local.as_unit(local.unit))


def test_naive_and_aware_times_do_not_mix():
    index = dates("2020-01-01", "2020-01-02")
    with pytest.raises(ValueError, match="times of X have a time zone and those of fit have none"):
        Clock.fit(index).to_model(index.tz_localize("UTC"))
    with pytest.raises(ValueError, match="times of fit have a time zone and those of X have none"):
        Clock.fit(index.tz_localize("UTC")).to_model(index)


@pytest.mark.parametrize(
    ("freq", "unit"),
    [("W", "1D"), ("D", "1D"), ("23h", "1h"), ("30min", "1min"), ("59s", "1s"), ("100ms", "1s"), ("B", "1D")],
)
def test_the_unit_is_the_largest_not_above_the_median_gap(freq, unit):
    assert Clock.fit(pd.date_range("2020-01-01", periods=30, freq=freq)).unit == pd.Timedelta(unit)


def test_gaps_are_measured_within_series():
    hourly = pd.date_range("2020-01-01", periods=5, freq="h")
    panel = hourly.append(hourly + pd.Timedelta("10s"))  # mixed together, the gaps would be seconds
    assert Clock.fit(panel, np.repeat([0, 1], 5)).unit == pd.Timedelta("1h")
    alone = Clock.fit(hourly, np.arange(5))  # a row per series: the spacing of all rows
    assert alone.unit == pd.Timedelta("1h")
    assert Clock.fit(hourly[:1]).unit == DAY


@pytest.mark.parametrize(
    ("given", "expected"),
    [("D", "1D"), ("hour", "1h"), ("15min", "15min"), ("365.25D", "365.25D"), (pd.Timedelta("2h"), "2h")],
)
def test_a_given_unit(given, expected):
    index = dates("2020-01-01", "2020-01-02")
    clock = Clock.fit(index, time_unit=given)
    assert clock.unit == pd.Timedelta(expected)
    assert clock.to_model(index)[1] == DAY / pd.Timedelta(expected)


@pytest.mark.parametrize("given", ["month", "Y", "-1D", "0s", 3, np.timedelta64("NaT"), None, ["D"]])
def test_what_is_no_length_of_time_is_refused(given):
    with pytest.raises(ValueError, match="time_unit="):
        Clock.fit(dates("2020-01-01", "2020-01-02"), time_unit=given)


def test_known_rates_need_a_unit_with_datetimes_only():
    with pytest.raises(ValueError, match=r"time_unit='auto'.*known.*time_unit='D'"):
        Clock.fit(dates("2020-01-01", "2020-01-02"), require_unit=True)
    assert Clock.fit(dates("2020-01-01", "2020-01-02"), time_unit="D", require_unit=True).unit == DAY
    assert Clock.fit(np.array([0.0, 1.0]), require_unit=True).unit is None


def test_numbers_are_model_time():
    clock = Clock.fit(np.array([3.0, 1.5]))
    assert (clock.t_ref, clock.unit, clock.start) == (0.0, None, 1.5)
    np.testing.assert_array_equal(clock.to_model(np.array([1e9 + 0.25])), [1e9 + 0.25])
    with pytest.raises(ValueError, match="times are numbers"):
        Clock.fit(np.array([0.0, 1.0]), time_unit="D")


def test_durations_count_from_zero():
    durations = pd.to_timedelta([1.0, 3.0], unit="h")
    clock = Clock.fit(durations)
    np.testing.assert_array_equal(clock.to_model(durations), [1.0, 3.0])
    assert clock.start == 1.0
    assert clock.to_user(np.array([1.0, 3.0])).equals(durations)


def test_kinds_do_not_mix():
    with pytest.raises(ValueError, match="fit saw datetimes as times, but here they are numbers"):
        Clock.fit(dates("2020-01-01", "2020-01-02")).to_model(np.array([0.0]))


def test_nanoseconds_survive_ten_years():
    index = pd.DatetimeIndex(["2020-01-01", "2030-01-01 00:00:00.000000001"]).as_unit("ns")
    clock = Clock.fit(index, time_unit="ns")
    assert clock.to_model(index)[1] == (index[1] - index[0]).value


def test_times_far_apart_do_not_overflow():
    index = pd.DatetimeIndex(["1700-01-01", "2200-01-01"]).as_unit("ns")
    far = pd.DatetimeIndex(["1700-01-01", "2500-01-01"]).as_unit("s")
    assert Clock.fit(index, time_unit="D").to_model(index)[1] == 182621.0
    assert Clock.fit(index, time_unit="D").to_model(far)[1] == 292194.0


def test_user_times_are_as_fine_as_they_need_to_be():
    clock = Clock.fit(dates("2020-01-01 00:00:00", "2020-01-01 00:00:01", unit="s"))
    assert clock.to_user(np.array([0.5]))[0] == pd.Timestamp("2020-01-01 00:00:00.5")
    assert clock.to_user(np.array([2.0])).unit == "s"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([0.0, np.nan]), "contains NaN as a time: column 't', first in row 1"),
        (np.array([0.0, 1.0, -np.inf]), "contains infinity as a time: column 't', first in row 2"),
        (pd.DatetimeIndex(["2020-01-01", None]), r"contains NaN as a time: column 't', first in row 1 \(NaT\)"),
        (pd.array([1, None], dtype="Int64"), "contains NaN as a time"),
        (pd.Series(["2020-01-01", "2020-01-02"], index=[5, 6]), "2020-01-01.*pandas.to_datetime"),
        (pd.Series(["yesterday"]), "expected to be numbers or datetimes"),
    ],
)
def test_times_that_are_missing_or_no_times(values, message):
    with pytest.raises(ValueError, match=message):
        read_times(values, "column 't'")


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-02")], dtype=object),
        pd.Series([pd.Timestamp("2020-01-01").date(), pd.Timestamp("2020-01-02").date()]),
        pd.Categorical(pd.to_datetime(["2020-01-01", "2020-01-02"])),
        pd.PeriodIndex(["2020-01-01", "2020-01-02"], freq="D"),
    ],
)
def test_datetimes_in_disguise(values):
    assert list(read_times(values, "column 't'")) == [pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-02")]
