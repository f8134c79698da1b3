"""Warning of observations in single precision whose times are too large for it."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from skneuralde.data import Panel
from skneuralde.estimators.config.setup import Setup
from skneuralde.solvers.core.right_hand_side import ProblemLike
from skneuralde.solvers.core.time_precision import LARGEST_SHARE, sees_time, spacing


def warn_of_coarse_time(panel: Panel, problem: ProblemLike, setup: Setup) -> None:
    """Warn if coefficients see times rounded to more than a share of the usual time between rows."""
    if setup.dtype == torch.float64 or len(panel.times) < 2:
        return
    gaps = np.delete(np.diff(panel.times), panel.offsets[1:-1] - 1)
    step = float(np.median(gaps[gaps > 0])) if bool((gaps > 0).any()) else float(np.ptp(panel.times))
    largest = np.abs(panel.times).max()
    gap = float(spacing(torch.tensor(largest), setup.dtype))
    if not gap > LARGEST_SHARE * step > 0.0:
        return
    t, u = setup.tensor(np.zeros((1, 1))), setup.tensor(np.zeros((1, setup.n_states)))
    c = setup.tensor(np.zeros((1, panel.context.shape[1] + panel.controls.shape[1])))
    if sees_time(problem, t, u, c):
        warnings.warn(
            f"y is float32, and so is the time that coefficients see: it is rounded to {gap:.1e} at model time "
            f"{largest:.6g}, where rows are {step:.1e} apart. Give y as float64, or count time from a nearer origin.",
            UserWarning,
            stacklevel=5,
        )
