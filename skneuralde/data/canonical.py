"""An order of rows that depends on what they hold, never on how they came."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The multiplier of a 64-bit linear congruential generator with good spectral properties (Steele & Vigna 2021).
_MULTIPLIER = np.uint64(0xD1342543DE82EF95)
_HALF = np.uint64(32)


def content_order(keys: Sequence[np.ndarray], weight: np.ndarray) -> np.ndarray:
    """Order in which rows with equal keys are neighbours, by weight.

    Parameters
    ----------
    keys : sequence of float arrays of shape (n,)
    weight : array of shape (n,)

    Notes
    -----
    By a hash of each row, which is many times faster than by all keys; only where hashes agree, as those of equal rows
    do, are the keys themselves compared.
    """
    hashes = _hashes(keys)
    order = np.argsort(hashes, kind="stable")
    same = np.diff(hashes[order]) == 0
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    rows = order[tied]
    by_content = np.lexsort((weight[rows], *(key[rows] for key in keys), hashes[rows]))
    order[tied] = rows[by_content]
    return order


def changes(keys: Sequence[np.ndarray], order: np.ndarray) -> np.ndarray:
    """Whether a row, in this order, differs from the one before it; NaN equals NaN."""
    fresh = np.zeros(len(order), dtype=bool)
    fresh[:1] = True
    for key in keys:
        left, right = key[order[:-1]], key[order[1:]]
        fresh[1:] |= (left != right) & ~(np.isnan(left) & np.isnan(right))
    return fresh


def _hashes(keys: Sequence[np.ndarray]) -> np.ndarray:
    hashes = np.zeros(len(keys[0]), dtype=np.uint64)
    for key in keys:
        canonical = np.where(np.isnan(key), np.nan, key.astype(np.float64) + 0.0)  # one NaN, and no -0.0
        hashes = (hashes ^ canonical.view(np.uint64)) * _MULTIPLIER
        hashes ^= hashes >> _HALF
    return hashes
