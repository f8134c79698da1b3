"""Times given without rows: a number, a date or an array of either."""

from __future__ import annotations

from typing import Any

import numpy as np

from skneuralde.data.clock import Clock, is_timelike, read_times


def read_instants(t: Any, n: int, clock: Clock) -> np.ndarray:
    """Return the model times of n states, float64 ``(n,)``, from one time for all or one for each.

    Numbers are model times. Times must be present and finite, and dates are allowed only if fit had dates.
    """
    times = t if hasattr(t, "dtype") and getattr(t, "ndim", 0) == 1 else np.atleast_1d(np.asarray(t))
    if times.ndim != 1 or len(times) not in (1, n):
        raise ValueError(f"t has shape {times.shape}, but one time or {n}, one per row of U, are expected.")
    if is_timelike(times):
        times = clock.to_model(read_times(times, "t"))
    elif np.asarray(times).dtype.kind not in "fiu":
        raise TypeError(f"t must be numbers or datetimes, got {t!r}.")
    else:
        times = np.asarray(times, dtype=np.float64)
    if not np.isfinite(times).all():
        raise ValueError(f"t must be finite, got {t!r}.")
    return np.array(np.broadcast_to(times, (n,)))
