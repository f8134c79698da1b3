"""Integer codes of the names of series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from skneuralde.data.positions import position_type


def encode(keys: Sequence[Any], where: Sequence[str]) -> tuple[np.ndarray, list[Any]]:
    """Return codes `(n_rows,)` of the rows' series, and the sorted labels of the series.

    The keys are the columns that name the series; with several, a label is a tuple. ``where`` names them for messages.
    """
    encoded = [_encode_one(key, place) for key, place in zip(keys, where, strict=True)]
    if len(encoded) == 1:
        return encoded[0]
    combined = encoded[0][0].astype(np.int64)
    for codes, labels in encoded[1:]:
        combined = combined * len(labels) + codes
    present, result = np.unique(combined, return_inverse=True)
    parts = []
    for _, labels in reversed(encoded):
        present, remainder = np.divmod(present, len(labels))
        parts.append([labels[i] for i in remainder])
    return result.astype(np.int64, copy=False), list(zip(*reversed(parts), strict=True))


def _encode_one(key: Any, where: str) -> tuple[np.ndarray, list[Any]]:
    codes, unique = pd.factorize(key)
    if (codes < 0).any():
        raise ValueError(
            f"Input X contains NaN as the name of a series: {where}, first in row {int(np.argmax(codes < 0))}. "
            "Every row belongs to a named series: drop those rows or name them."
        )
    labels = unique.tolist()
    order = sorted(range(len(labels)), key=_sort_key(labels))
    rank = np.empty(len(labels), dtype=position_type(len(labels)))
    rank[order] = np.arange(len(labels))
    return rank[codes], [labels[i] for i in order]


def _sort_key(labels: list[Any]) -> Any:
    """Sort key of labels: their own order if they have one, else type and text."""
    try:
        sorted(labels)
    except TypeError:
        return lambda i: (type(labels[i]).__name__, repr(labels[i]))
    return lambda i: labels[i]
