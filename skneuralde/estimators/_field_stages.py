"""The stages in which the law of a field is learned: at single points, over short times, over all of the time."""

from __future__ import annotations

import numpy as np
import torch

from skneuralde.data import Panel
from skneuralde.estimators._grids import neighbours
from skneuralde.estimators._objectives import input_path, series_keys, start_states
from skneuralde.estimators._setup import Setup
from skneuralde.estimators._states import infer_states, observed, origin_positions
from skneuralde.inference import Curves, Model
from skneuralde.inference.denoising import denoise
from skneuralde.losses import Collocation, Intervals, LeastSquares
from skneuralde.losses.collocation import drift_of
from skneuralde.terms import trainable

STAGES = ("collocation", "shooting", "path")
#: Values of states in the solutions of one step of training.
MOST_VALUES = 2_000_000


def is_local(model: Model) -> bool:
    """Whether all that is learned is a law of single points and the diffusivity, so that collocation tells it."""
    drift = drift_of(model)
    others = [*drift.reaction.sources, *(p for other in drift.operators.others for p in other.parameters())]
    return model.states is None and not any(p.requires_grad for p in others) and trainable(drift)


def collocation(
    model: Model, panel: Panel, rows: np.ndarray, setup: Setup, rate: np.ndarray, n_samples: int
) -> Collocation | None:
    """The objective of single points, between those rows that follow each other; None where none do."""
    states = infer_states(model, panel, setup, np.arange(len(panel.times)))
    start, stop = neighbours(panel, rows & states.known)
    if not len(start):
        return None
    seen = ~np.isnan(panel.values).reshape(len(panel.times), setup.n_points, -1).any(axis=2)
    intervals = Intervals(
        denoise(drift_of(model), setup.tensor(states.mean)),
        torch.as_tensor(seen, device=setup.device),
        setup.index(start),
        setup.index(stop),
        setup.times(panel.times[start]),
        setup.times(_equal_lengths(panel.times[stop] - panel.times[start])),
        setup.tensor(np.sqrt(panel.weight[start] * panel.weight[stop])),
        input_path(panel, panel.series_of[start], setup),
    )
    return Collocation(
        intervals,
        drift_of(model),
        setup.tensor(rate),
        resolution=setup.rtol,
        n_samples=n_samples,
        seed=setup.seed,
    )


def _equal_lengths(lengths: np.ndarray) -> np.ndarray:
    """Lengths of which those that differ by rounding only are the same number."""
    rounded = np.array([float(f"{length:.9g}") for length in lengths])
    _, first, which = np.unique(rounded, return_index=True, return_inverse=True)
    return lengths[first][which]


def curves(
    model: Model, panel: Panel, rows: np.ndarray, setup: Setup, scale: np.ndarray, length: int | None = None
) -> LeastSquares:
    """The squared distance of solutions to the snapshots.

    Parameters
    ----------
    rows : bool array of shape (n,)
        Which positions are targets.
    length : int, optional
        Solutions start anew at every ``length``-th snapshot, and are compared with those up to the next start. By
        default each series has one solution, from its initial state.
    """
    states = infer_states(model, panel, setup, np.arange(len(panel.times)))
    own = length is None and setup.initial_state != "first"
    pieces: list[np.ndarray] = []
    first = origin_positions(panel, setup)
    for series, (begin, end) in enumerate(zip(panel.offsets[:-1], panel.offsets[1:], strict=True)):
        if own:
            pieces.append(begin + np.flatnonzero((rows & observed(panel))[begin:end]))
            continue
        if first[series] < 0:
            raise ValueError(f"Series {panel.labels[series]!r} has no snapshot to start from.")
        there = begin + np.flatnonzero(states.known[begin:end])
        step = len(there) if length is None else length
        pieces.extend(there[k : k + step + 1] for k in range(0, max(1, len(there) - 1), step))
    width = max(len(piece) for piece in pieces) + own
    times = np.full((len(pieces), width), np.nan)
    targets = np.full((len(pieces), width, setup.n_states), np.nan, dtype=panel.values.dtype)
    weight = np.zeros((len(pieces), width))
    for k, piece in enumerate(pieces):
        at = slice(int(own), int(own) + len(piece))
        times[k, at], targets[k, at] = panel.times[piece], panel.values[piece]
        weight[k, at] = panel.weight[piece] * rows[piece]
        if own:
            times[k, 0] = setup.start_time
        else:
            weight[k, 0] = 0.0
    of = np.array([panel.series_of[piece[0]] for piece in pieces])
    begun = setup.tensor(states.mean[[piece[0] for piece in pieces]])
    inputs = input_path(panel, of, setup)
    beginnings = setup.times(times[:, 0])

    def start(model: Model, items: torch.Tensor) -> torch.Tensor:
        if not own:
            return begun[items]
        return start_states(model, setup, begun, inputs.context, beginnings, items)

    return LeastSquares(
        Curves(setup.times(times), inputs, series_keys(panel, of, None, setup)),
        setup.tensor(targets),
        setup.tensor(weight),
        setup.tensor(scale),
        start=start,
        method=setup.methods.training,
    )


def batch_of(setup: Setup, n_times: int) -> int:
    """How many solutions one step of training takes at most."""
    return max(1, MOST_VALUES // (setup.n_states * n_times))


def horizons(panel: Panel) -> list[int]:
    """Lengths of solutions, in snapshots, that grow up to half of the longest series."""
    longest = int(panel.lengths.max())
    return [2**k for k in range(max(1, (longest - 1).bit_length() - 1)) if 2**k < longest - 1]
