"""Conversion between the user's times (datetimes, durations, numbers) and model time in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from sklearn.utils import check_array

RawTimes: TypeAlias = np.ndarray | pd.DatetimeIndex | pd.TimedeltaIndex
"""Times as read: float64 numbers, or pandas datetimes or durations."""

Kind = Literal["number", "datetime", "duration"]

_AUTO_UNITS = tuple(pd.Timedelta(1, unit) for unit in ("D", "h", "min", "s"))
_UNIT_WORDS = {
    "D": "D", "d": "D", "day": "D", "days": "D", "W": "W", "week": "W", "weeks": "W",
    "h": "h", "H": "h", "hour": "h", "hours": "h", "min": "min", "minute": "min", "minutes": "min",
    "s": "s", "S": "s", "second": "s", "seconds": "s", "ms": "ms", "us": "us", "ns": "ns",
}  # fmt: skip
_RESOLUTIONS = ("s", "ms", "us", "ns")
_TIMELIKE_OBJECTS = {"datetime", "datetime64", "date", "timedelta", "timedelta64", "period"}


@dataclass(frozen=True)
class Clock:
    """Model time: `(t - t_ref) / unit` for datetimes and durations, the number itself for numbers."""

    kind: Kind
    #: The user's time at model time 0: fit's earliest datetime (in UTC if it had a zone), or zero.
    t_ref: Any
    unit: pd.Timedelta | None  # length of one unit of model time; None for numbers
    tz: Any = None  # fit's time zone, which `to_user` restores
    resolution: str = "ns"  # fit's own, one of _RESOLUTIONS
    start: float = 0.0  # model time of fit's earliest row

    @classmethod
    def fit(
        cls, times: RawTimes, codes: np.ndarray | None = None, time_unit: Any = "auto", *, require_unit: bool = False
    ) -> Clock:
        """Choose reference and unit from the times of the rows, ``(n_rows,)``, and the codes of their series.

        "auto" takes the largest of day, hour, minute and second that is not above the median gap within series. With
        ``require_unit`` it is refused for datetimes and durations.
        """
        kind = kind_of(times)
        if kind == "number":
            if not _is_auto(time_unit):
                raise ValueError(
                    f"time_unit={time_unit!r} applies to datetimes and durations, but the times are numbers: these "
                    "keep their own unit. Leave time_unit='auto'."
                )
            return cls(kind, 0.0, None, start=float(np.min(times)))
        if require_unit and _is_auto(time_unit):
            raise ValueError(
                "time_unit='auto' cannot be used with datetimes when a coefficient is known (a number, array, callable "
                "or module), because its value depends on the unit of time. Give time_unit, for example time_unit='D' "
                "for rates per day."
            )
        assert isinstance(times, (pd.DatetimeIndex, pd.TimedeltaIndex))
        tz = times.tz if isinstance(times, pd.DatetimeIndex) else None
        instants = times if tz is None else times.tz_convert("UTC")
        unit = _auto_unit(instants, codes) if _is_auto(time_unit) else parse_unit(time_unit)
        t_ref = instants.min() if kind == "datetime" else pd.Timedelta(0)
        clock = cls(kind, t_ref, unit, tz, instants.unit)
        return cls(kind, t_ref, unit, tz, instants.unit, float(clock.to_model(times).min()))

    def to_model(self, times: RawTimes) -> np.ndarray:
        """Convert the user's times to model times, float64."""
        kind = kind_of(times)
        if kind != self.kind:
            raise ValueError(f"fit saw {self.kind}s as times, but here they are {kind}s ({times[0]!r} first).")
        if isinstance(times, np.ndarray):
            return times
        if isinstance(times, pd.DatetimeIndex):
            if (times.tz is None) != (self.tz is None):
                with_zone, without = ("fit", "X") if times.tz is None else ("X", "fit")
                raise ValueError(
                    f"The times of {with_zone} have a time zone and those of {without} have none. "
                    "Use .tz_localize(...) on the ones without."
                )
            times = times if times.tz is None else times.tz_convert("UTC")
        try:
            elapsed = times - self.t_ref
        except (OverflowError, pd.errors.OutOfBoundsDatetime, pd.errors.OutOfBoundsTimedelta):
            # Nanoseconds overflow after 292 years; microseconds do not.
            elapsed = times.as_unit("us") - self.t_ref.as_unit("us")
        return np.asarray(elapsed / self.unit, dtype=np.float64)

    def to_user(self, model_times: np.ndarray) -> RawTimes:
        """Convert model times to the user's, in fit's zone and resolution, or a finer one that avoids rounding."""
        model_times = np.asarray(model_times, dtype=np.float64)
        if self.unit is None:
            return model_times
        elapsed = _exact_timedeltas(model_times, self.unit, self.resolution)
        times = self.t_ref + elapsed
        return times if self.tz is None else times.tz_convert(self.tz)


def kind_of(times: RawTimes) -> Kind:
    """Kind of the times."""
    if isinstance(times, pd.DatetimeIndex):
        return "datetime"
    return "duration" if isinstance(times, pd.TimedeltaIndex) else "number"


def is_timelike(values: Any) -> bool:
    """Whether a column, index or 1-D array holds datetimes, dates, periods or durations."""
    dtype = values.dtype
    if pd.api.types.is_object_dtype(dtype):
        return pd.api.types.infer_dtype(values, skipna=True) in _TIMELIKE_OBJECTS
    if isinstance(dtype, pd.CategoricalDtype):
        return is_timelike(dtype.categories)
    return (
        pd.api.types.is_datetime64_any_dtype(dtype)
        or pd.api.types.is_timedelta64_dtype(dtype)
        or isinstance(dtype, pd.PeriodDtype)
    )


def read_times(values: Any, where: str) -> RawTimes:
    """Read the times of a column or index level, all present and finite; ``where`` is its name for messages."""
    times = _convert(values, where)
    missing = ~np.isfinite(times) if isinstance(times, np.ndarray) else times.isna()
    if missing.any():
        row = int(np.argmax(missing))
        what = "NaN" if pd.isna(times[row]) else "infinity"
        raise ValueError(
            f"Input X contains {what} as a time: {where}, first in row {row} ({times[row]}). Every row needs its time: "
            "drop those rows or give their times."
        )
    return times


def _convert(values: Any, where: str) -> RawTimes:
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.dtype.categories.dtype)
    if is_timelike(values):
        index = pd.Index(values)
        if index.dtype == object:
            index = _from_objects(index, where)
        index = index.to_timestamp() if isinstance(index, pd.PeriodIndex) else index
        return (
            pd.DatetimeIndex(index) if isinstance(index.dtype, pd.DatetimeTZDtype) or index.dtype.kind == "M" else index
        )
    if pd.api.types.is_numeric_dtype(values.dtype) and not isinstance(values.dtype, np.dtype):
        return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    try:
        array = check_array(np.asarray(values).reshape(-1, 1), ensure_all_finite=False, input_name="X")
    except ValueError as error:
        raise ValueError(
            f"Times are expected to be numbers or datetimes, but {where} holds {np.asarray(values)[0]!r} "
            f"({error}). Turn text into datetimes with pandas.to_datetime, or name the right column in time=."
        ) from error
    return array[:, 0].astype(np.float64, copy=False)


def _from_objects(index: pd.Index, where: str) -> pd.Index:
    inferred = pd.api.types.infer_dtype(index, skipna=True)
    try:
        if inferred == "period":
            return pd.PeriodIndex(index)
        return pd.TimedeltaIndex(index) if inferred.startswith("timedelta") else pd.DatetimeIndex(index)
    except (ValueError, TypeError) as error:
        raise ValueError(f"The times in {where} cannot be read as datetimes: {error}") from error


def _is_auto(time_unit: Any) -> bool:
    return isinstance(time_unit, str) and time_unit == "auto"


def parse_unit(time_unit: Any, parameter: str = "time_unit") -> pd.Timedelta:
    """Read a fixed length of time from a word ("D", "hour"), a timedelta or text such as "15min" or "365.25D"."""
    try:
        word = _UNIT_WORDS.get(time_unit) if isinstance(time_unit, str) else None
        unit = pd.Timedelta(1, word) if word else pd.Timedelta(time_unit)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{parameter}={time_unit!r} is not a length of time. Give 'D', 'h', 'min', 's', a timedelta, or a multiple "
            "such as '15min' or '365.25D' (months and years have no fixed length)."
        ) from error
    if isinstance(time_unit, (int, float)) or pd.isna(unit) or unit <= pd.Timedelta(0):
        raise ValueError(f"{parameter}={time_unit!r} must be a positive length of time such as 'D' or '15min'.")
    return unit


def _auto_unit(times: pd.DatetimeIndex | pd.TimedeltaIndex, codes: np.ndarray | None) -> pd.Timedelta:
    ticks = times.asi8
    codes = np.zeros(len(ticks), dtype=np.int64) if codes is None else codes
    order = np.lexsort((ticks, codes))
    gaps = np.diff(ticks[order])[np.diff(codes[order]) == 0]
    gaps = gaps[gaps > 0]
    if not len(gaps):  # one row per series: use the gaps between all rows
        gaps = np.diff(np.unique(ticks))
    if not len(gaps):
        return _AUTO_UNITS[0]
    median = float(np.median(gaps)) / (pd.Timedelta(1, "s") / pd.Timedelta(1, times.unit))
    return next((unit for unit in _AUTO_UNITS if unit.total_seconds() <= median), _AUTO_UNITS[-1])


def _exact_timedeltas(model_times: np.ndarray, unit: pd.Timedelta, resolution: str) -> pd.TimedeltaIndex:
    """Durations in the coarsest resolution, at least the given one, that represents them without rounding."""
    for finer in _RESOLUTIONS[_RESOLUTIONS.index(resolution) :]:
        ticks = model_times * (unit / pd.Timedelta(1, finer))
        whole = np.rint(ticks)
        # The error of model times is a few machine epsilons, relative to them.
        if finer == "ns" or np.all(np.abs(ticks - whole) <= 1e-3 + 4 * np.finfo(float).eps * np.abs(ticks)):
            break
    return pd.TimedeltaIndex(whole.astype(np.int64).astype(f"timedelta64[{finer}]"))
