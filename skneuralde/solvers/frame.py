"""Paths as a pandas data frame."""

from __future__ import annotations

import numpy as np
from pandas import DataFrame, MultiIndex
from torch import Tensor


def to_frame(ts: Tensor, ys: Tensor) -> DataFrame:
    """One row per path, series and time; one column per component.

    Parameters
    ----------
    ts : Tensor of shape (n_times,) or (*batch, n_times)
    ys : Tensor of shape (n_paths, *batch, n_times, dim)

    Returns
    -------
    DataFrame
        Columns ``y0``, ``y1``, ...; index levels ``path``, then ``series`` (``series_0``, ``series_1``, ... for a batch
        of several axes), then ``time``. Times that only pad are left out.
    """
    values = ys.detach().cpu().numpy()
    lead, dim = values.shape[:-1], values.shape[-1]
    times = np.broadcast_to(ts.cpu().numpy(), lead)
    axes = len(lead) - 2
    series = ["series"] if axes == 1 else [f"series_{axis}" for axis in range(axes)]
    positions = np.indices(lead)[:-1].reshape(axes + 1, -1)
    index = MultiIndex.from_arrays([*positions, times.ravel()], names=["path", *series, "time"])
    frame = DataFrame(values.reshape(-1, dim), index=index, columns=[f"y{i}" for i in range(dim)])
    return frame[~np.isnan(times.ravel())]
