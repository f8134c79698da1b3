"""Snapshots of fields as training data, and the objectives of the stages of training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from skneuralde.data import Panel
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.fields.field_changes import neighbours, typical_rates
from skneuralde.estimators.rows.curves import input_path, series_keys
from skneuralde.estimators.rows.states import States, infer_states, observed, origin_positions
from skneuralde.inference import Curves, Model
from skneuralde.inference.fields.denoising import denoise
from skneuralde.losses import Collocation, CurveData, CurveObjective, Intervals, LeastSquares
from skneuralde.losses.collocation import drift_of

#: The most values in the solutions of one step of training.
_MOST_VALUES = 2_000_000


@dataclass(frozen=True)
class Snapshots:
    """The snapshots that a model of fields is trained on.

    Attributes
    ----------
    panel : Panel
    rows : bool array of shape (n,)
        Which positions are targets.
    states : States
        All snapshots with their gaps filled.
    filtered : ndarray of shape (n, n_states)
        The filled snapshots without their noise: the ends of bridges and of short solutions.
    setup : Setup
    scale : ndarray of shape (n_states,)
        The unit of the residuals of solutions.
    """

    panel: Panel
    rows: np.ndarray
    states: States
    filtered: np.ndarray
    setup: Setup
    scale: np.ndarray

    @classmethod
    def of(cls, model: Model, panel: Panel, rows: np.ndarray, setup: Setup, scale: np.ndarray) -> Snapshots:
        """Fill the gaps of a panel's snapshots, and filter their noise."""
        states = infer_states(model, panel, setup, np.arange(len(panel.times)))
        filtered = states.mean.copy()  # the filled values may be the caller's y itself
        known = denoise(drift_of(model), setup.tensor(states.mean[states.known]))
        filtered[states.known] = known.cpu().numpy()
        return cls(panel, rows, states, filtered, setup, scale)

    def runs(self) -> Runs:
        """The objective of solutions from the initial states over all times."""
        if self.setup.initial_state == "first":
            return Runs(self, self._from_snapshots(None))
        looks = self.rows & observed(self.panel)
        bounds = zip(self.panel.offsets[:-1], self.panel.offsets[1:], strict=True)
        pieces = [begin + np.flatnonzero(looks[begin:end]) for begin, end in bounds]
        return Runs(self, [piece for piece in pieces if len(piece)], learned=True)

    def short_runs(self, length: int) -> Runs:
        """The objective of solutions that start at every ``length``-th snapshot and end at the next start."""
        return Runs(self, self._from_snapshots(length), filtered=True)

    def horizons(self) -> list[int]:
        """Growing lengths of short runs, up to half of the longest series."""
        longest = int(self.panel.lengths.max())
        return [2**k for k in range(max(1, (longest - 1).bit_length() - 1)) if 2**k < longest - 1]

    def points(self, model: Model, n_samples: int) -> Collocation | None:
        """The collocation at points observed in two neighbouring targets; None if there are no such points.

        Parameters
        ----------
        n_samples : int
            Approximate number of points per epoch.
        """
        panel, setup, known = self.panel, self.setup, self.states.known
        seen = ~np.isnan(panel.values).reshape(len(panel.times), setup.space.n_points, -1).any(axis=2)
        start, stop = neighbours(panel, self.rows & known)
        both = (seen[start] & seen[stop]).any(axis=1)
        start, stop = start[both], stop[both]
        if not len(start):
            return None
        rate = typical_rates(replace(panel, values=self.states.mean), setup.n_fields)
        intervals = Intervals(
            setup.tensor(self.filtered),
            torch.as_tensor(seen, device=setup.device),
            setup.index(start),
            setup.index(stop),
            setup.times(panel.times[start]),
            setup.times(_equal_lengths(panel.times[stop] - panel.times[start])),
            setup.tensor(np.sqrt(panel.weight[start] * panel.weight[stop])),
            input_path(panel, panel.series_of[start], setup),
        )
        return Collocation(
            intervals, drift_of(model), setup.tensor(rate), resolution=setup.rtol, n_samples=n_samples, seed=setup.seed
        )

    def _from_snapshots(self, length: int | None) -> list[np.ndarray]:
        """Positions of solutions that start at every ``length``-th snapshot; None is one solution per series."""
        origins = origin_positions(self.panel, self.setup)
        if (origins < 0).any():
            label = self.panel.labels[int(np.argmin(origins))]
            raise ValueError(f"Series {label!r} has no snapshot to start from, with every field observed somewhere.")
        pieces: list[np.ndarray] = []
        for first, end in zip(origins, self.panel.offsets[1:], strict=True):
            there = first + np.flatnonzero(self.states.known[first:end])
            step = len(there) if length is None else length
            pieces.extend(there[k : k + step + 1] for k in range(0, max(1, len(there) - 1), step))
        return pieces


class Runs(CurveObjective):
    """The squared distance of solutions to snapshots.

    Parameters
    ----------
    snapshots : Snapshots
    pieces : list of int array
        Positions of the snapshots of each solution, in order.
    learned : bool
        Whether solutions start at learned states, before their first snapshot; else at their first snapshot.
    filtered : bool
        Whether solutions start at snapshots without noise and are compared with such; else with the given ones.

    Attributes
    ----------
    snapshots : Snapshots
    fields : int
    most : int
        The most solutions in one step of training.
    """

    def __init__(
        self, snapshots: Snapshots, pieces: list[np.ndarray], *, learned: bool = False, filtered: bool = False
    ):
        panel, setup = snapshots.panel, snapshots.setup
        width = max(len(piece) for piece in pieces) + learned
        times = np.full((len(pieces), width), np.nan)
        targets = np.full((len(pieces), width, setup.n_states), np.nan, dtype=panel.values.dtype)
        weight = np.zeros((len(pieces), width))
        states = snapshots.filtered if filtered else snapshots.states.mean
        values = np.where(np.isnan(panel.values), np.nan, snapshots.filtered) if filtered else panel.values
        for k, piece in enumerate(pieces):
            at = slice(int(learned), int(learned) + len(piece))
            times[k, at], targets[k, at] = panel.times[piece], values[piece]
            weight[k, at] = panel.weight[piece] * snapshots.rows[piece]
        if learned:
            times[:, 0] = setup.start_time
        else:
            weight[:, 0] = 0.0
        first = np.array([piece[0] for piece in pieces])
        of = panel.series_of[first]
        begun, series = setup.tensor(states[first]), setup.index(of)

        def start(model: Model, items: torch.Tensor) -> torch.Tensor:
            return model.learned_states(series[items]) if learned else begun[items]

        data = CurveData(
            curves=Curves(setup.times(times), input_path(panel, of, setup), series_keys(panel, of, None, setup)),
            targets=setup.tensor(targets),
            row_weight=setup.tensor(weight),
            scale=setup.tensor(snapshots.scale),
            start=start,
            settings=setup.methods.training,
        )
        super().__init__(LeastSquares(), data)
        self.snapshots = snapshots
        self.fields = setup.n_fields
        self.most = max(1, _MOST_VALUES // (setup.n_states * width))

    @torch.no_grad()
    def sums(self, model: Model, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Sums over all solutions of weighted squared residuals, in units of the scale, and of weights; (fields,)."""
        squares = self.weight.new_zeros(self.fields)
        weights = self.weight.new_zeros(self.fields)
        for items in self.items.split(self.most):
            solution = self.simulate(model, items, seed=seed).paths[0]
            used = solution.shape[1]
            seen, weight = self.observed[items, :used], self.entry_weight[items, :used]
            residual = (solution - self.targets[items, :used]).where(seen, 0.0) / self.scale
            squares += (weight * residual.square()).view(-1, self.fields).sum(0)
            weights += weight.view(-1, self.fields).sum(0)
        return squares.cpu().numpy(), weights.cpu().numpy()


def _equal_lengths(lengths: np.ndarray) -> np.ndarray:
    """The lengths, made equal if they differ by rounding only."""
    rounded = np.array([float(f"{length:.9g}") for length in lengths])
    _, first, which = np.unique(rounded, return_index=True, return_inverse=True)
    return lengths[first][which]
