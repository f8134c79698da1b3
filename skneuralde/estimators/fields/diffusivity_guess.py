"""Where learning a diffusivity starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from skneuralde.data import Panel
from skneuralde.estimators.fields.field_changes import neighbours
from skneuralde.inference.fields.denoising import denoise
from skneuralde.problems import FieldDrift, Laplacian, Problem

#: Intervals that are looked at, at most.
_MOST_INTERVALS = 64
#: The least that D may do to the roughest mode of the grid in all of the time.
_LEAST = 1e-2


@torch.no_grad()
def guess_diffusivity(panel: Panel, states: np.ndarray, state: Sequence[int], laplacian: Laplacian) -> np.ndarray:
    """A first guess of D for each field, (fields,): the usual slope of its change on its Laplacian.

    In each interval by least squares, next to a law that is a polynomial of the fields, after the noise is filtered.
    Where diffusion is faster than the interval it is too small; training goes on from there.

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
        law = np.column_stack([np.ones(len(u)), u, *(u[:, [k]] * u[:, k:] for k in range(state[-1]))])
        slopes.append([_first_slope(curvature[:, [k]], law, change[:, k]) for k in range(state[-1])])
    least = _LEAST / (float(laplacian.spectral_radius(torch.as_tensor(fields[:1]))) * (np.ptp(panel.times) or 1.0))
    return np.maximum(np.median(np.reshape(slopes, (-1, state[-1])), axis=0), least)


def _first_slope(first: np.ndarray, others: np.ndarray, y: np.ndarray) -> float:
    return float(np.linalg.lstsq(np.hstack([first, others]), y, rcond=None)[0][0])
