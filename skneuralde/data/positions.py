"""Integer positions of rows, as int32 if there are fewer than 2**31 rows."""

from __future__ import annotations

import numpy as np


def position_type(n: int) -> np.dtype:
    """Return the integer type for positions in ``n`` rows, and -1."""
    return np.dtype(np.int32 if n < 2**31 else np.int64)


def where(mask: np.ndarray) -> np.ndarray:
    """Return the positions at which a mask ``(n,)`` is true."""
    return np.flatnonzero(mask).astype(position_type(len(mask)), copy=False)
