"""Canonical order of rows, which depends on their content only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Multiplier of a 64-bit linear congruential generator with good spectral properties (Steele & Vigna 2021).
_MULTIPLIER = np.uint64(0xD1342543DE82EF95)
_HALF = np.uint64(32)


def content_order(keys: Sequence[np.ndarray], weight: np.ndarray) -> np.ndarray:
    """Return an order in which rows with equal keys, each ``(n,)``, are adjacent, sorted by weight.

    Rows are sorted by a hash, which is many times faster than by all keys. The keys themselves are compared only if
    hashes agree, as those of equal rows do.
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
    """Return whether each row, in this order, differs from the one before it; NaN equals NaN."""
    is_first = np.zeros(len(order), dtype=bool)
    is_first[:1] = True
    for key in keys:
        left, right = key[order[:-1]], key[order[1:]]
        is_first[1:] |= (left != right) & ~(np.isnan(left) & np.isnan(right))
    return is_first


def _hashes(keys: Sequence[np.ndarray]) -> np.ndarray:
    hashes = np.zeros(len(keys[0]), dtype=np.uint64)
    for key in keys:
        canonical = np.where(np.isnan(key), np.nan, key.astype(np.float64) + 0.0)  # one NaN, and no -0.0
        hashes = (hashes ^ canonical.view(np.uint64)) * _MULTIPLIER
        hashes ^= hashes >> _HALF
    return hashes
