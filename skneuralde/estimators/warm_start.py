"""Checks of a warm start."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse


def refuse_another_equation(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to continue the fit before with other parameters of the equation.

    Parameters
    ----------
    before, now : dict of str to Any
        The parameters by name.

    Raises
    ------
    ValueError
        Names the first parameter that has changed.
    """
    for name, value in now.items():
        if not _is_same(before[name], value):
            raise ValueError(
                f"warm_start=True continues with the equation of the fit before, but {name} has changed since: use "
                "warm_start=False."
            )


def _is_same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_is_same, a, b))
    if issparse(a) and issparse(b):
        return a.shape == b.shape and (a != b).nnz == 0
    return type(a) is type(b) and np.array_equal(a, b)
