"""Paths as a pandas data frame."""

from __future__ import annotations

import math

import numpy as np
from pandas import DataFrame, MultiIndex
from torch import Tensor


def to_frame(ts: Tensor, ys: Tensor, state_ndim: int = 1) -> DataFrame:
    """One row per path, series and time; one column per component.

    Parameters
    ----------
    ts : Tensor of shape (n_times,) or (*batch, n_times)
    ys : Tensor of shape (n_paths, *batch, n_times, *state)
    state_ndim : int
        Number of axes of one state.

    Returns
    -------
    DataFrame
        Columns ``y0``, ``y1``, ...; those of a field have the levels ``x0``, ``x1``, ... and ``field``. Index levels
        ``path``, then ``series`` (``series_0``, ``series_1``, ... for a batch of several axes), then ``time``. Times
        that only pad are left out.
    """
    values = ys.detach().cpu().numpy()
    lead, state = values.shape[:-state_ndim], values.shape[-state_ndim:]
    times = np.broadcast_to(ts.cpu().numpy(), lead)
    axes = len(lead) - 2
    series = ["series"] if axes == 1 else [f"series_{axis}" for axis in range(axes)]
    positions = np.indices(lead)[:-1].reshape(axes + 1, -1)
    index = MultiIndex.from_arrays([*positions, times.ravel()], names=["path", *series, "time"])
    names = [f"y{i}" for i in range(state[-1])]
    columns = names
    if state_ndim > 1:
        levels = [*(f"x{axis}" for axis in range(state_ndim - 1)), "field"]
        columns = MultiIndex.from_product([*map(range, state[:-1]), names], names=levels)
    frame = DataFrame(values.reshape(-1, math.prod(state)), index=index, columns=columns)
    return frame[~np.isnan(times.ravel())]
