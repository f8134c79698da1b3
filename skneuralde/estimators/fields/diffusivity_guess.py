"""Initial value of a learned diffusivity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from skneuralde.data import Panel
from skneuralde.estimators.fields.field_changes import neighbours
from skneuralde.inference.fields.denoising import denoise
from skneuralde.problems import FieldDrift, Laplacian, Problem

#: The most intervals that are used.
_MOST_INTERVALS = 64
#: The smallest damping of the roughest mode of the grid, as an exponent over all times.
_LEAST = 1e-2


@torch.no_grad()
def guess_diffusivity(panel: Panel, states: np.ndarray, state: Sequence[int], laplacian: Laplacian) -> np.ndarray:
    """A first guess of D for each field, ``(fields,)``: the median slope of its rate of change on its Laplacian.

    The slope in an interval is found by least squares, together with a reaction that is a polynomial of the fields,
    after the noise is filtered. It is too small if diffusion is fast compared with the interval.

    Parameters
    ----------
    panel : Panel
    states : ndarray of shape (n, n_outputs)
        Snapshots without gaps; empty rows are left out.
    state : tuple of int
        ``(*grid, fields)``.
    laplacian : Laplacian
        Of diffusivity 1.
    """
    known = ~np.isnan(states).any(axis=1)
    drift = Problem(None, operator=laplacian).flattened(state).drift
    assert isinstance(drift, FieldDrift)
    fields = np.empty((len(states), *state))
    fields[known] = denoise(drift, torch.as_tensor(states[known], dtype=torch.float64)).view(-1, *state).numpy()
    start, stop = neighbours(panel, known)
    chosen = np.unique(np.linspace(0, len(start) - 1, min(_MOST_INTERVALS, len(start))).astype(int))
    slopes = []
    for a, b in zip(start[chosen], stop[chosen], strict=True):
        mean = (fields[a] + fields[b]) / 2.0
        curvature = laplacian.second_differences(torch.as_tensor(mean)[None]).numpy()
        change = (fields[b] - fields[a]) / (panel.times[b] - panel.times[a])
        u, curvature, change = (x.reshape(-1, state[-1]) for x in (mean, curvature, change))
        reaction = np.column_stack([np.ones(len(u)), u, *(u[:, [k]] * u[:, k:] for k in range(state[-1]))])
        slopes.append([_first_slope(curvature[:, [k]], reaction, change[:, k]) for k in range(state[-1])])
    least = _LEAST / (float(laplacian.spectral_radius(torch.as_tensor(fields[:1]))) * (np.ptp(panel.times) or 1.0))
    return np.maximum(np.median(np.reshape(slopes, (-1, state[-1])), axis=0), least)


def _first_slope(first: np.ndarray, others: np.ndarray, y: np.ndarray) -> float:
    return float(np.linalg.lstsq(np.hstack([first, others]), y, rcond=None)[0][0])
