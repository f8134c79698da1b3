"""Times as a caller gives them, read as numbers."""

from __future__ import annotations

import contextlib
import datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor

_DATES = (datetime.date, datetime.timedelta, np.datetime64, np.timedelta64)


def time_values(name: str, given: Any) -> Tensor:
    """Times as a float64 copy, with their derivatives.

    Raises
    ------
    ValueError
        If they are not numbers. Dates and durations have no number before a unit is chosen, which is that in which the
        coefficients are rates.
    """
    if isinstance(given, Tensor):
        if given.is_complex() or given.dtype == torch.bool:
            raise ValueError(f"{name} must be an array of times, real numbers, got a tensor of {given.dtype}")
        return given.to(torch.float64, copy=True)
    try:
        array = np.asarray(given)
    except ValueError:
        raise ValueError(f"{name} must be an array of times, got {given!r}") from None
    if _has_dates(array):
        raise ValueError(
            f"{name} holds dates or durations, {array.flat[0]!r} first: give numbers in the unit of time of the "
            "coefficients, such as (times - times[0]) / pandas.Timedelta(days=1) for days since the first one"
        )
    if array.dtype == object:
        with contextlib.suppress(TypeError, ValueError):
            array = array.astype(np.float64)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be an array of times, got {given!r}")
    return torch.from_numpy(array.astype(np.float64))


def _has_dates(array: np.ndarray) -> bool:
    """Whether an array holds dates, durations or periods, also those of pandas."""
    if array.dtype.kind in "mM":
        return True
    # Periods of pandas are no dates, but know their ordinal.
    return array.dtype == object and any(isinstance(x, _DATES) or hasattr(x, "ordinal") for x in array.flat)
