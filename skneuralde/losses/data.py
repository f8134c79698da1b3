"""The data that losses are bound to, as tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from skneuralde.inference.filtering.kalman import ObservationChains
from skneuralde.inference.jumps.splitting import JumpSplitting
from skneuralde.inference.model import Model
from skneuralde.inference.moments.propagator import MomentPropagator
from skneuralde.inference.paths import Curves, SolverSettings
from skneuralde.inference.transitions.from_series import LazyRows
from skneuralde.inference.transitions.segments import TransitionSource

#: Initial states of some series, from the model: ``start(model, series)`` is (series, dim).
Start = Callable[[Model, Tensor], Tensor]
#: Makes a propagator that is fine enough for the model's present coefficients.
Calibration = Callable[[Model], MomentPropagator | JumpSplitting]


def one_path(epoch: int) -> int:
    """A single path in every epoch."""
    return 1


@dataclass(frozen=True, kw_only=True)
class PathData:
    """Initial value problems, and how to solve them.

    Attributes
    ----------
    curves : Curves
    start : Callable
        ``start(model, series)`` gives the initial states (series, dim).
    settings : SolverSettings
    n_paths : Callable
        The number of simulated paths of each series as a function of the epoch, or `GrowingPaths`. Losses that
        simulate nothing ignore it.
    """

    curves: Curves
    start: Start
    settings: SolverSettings
    n_paths: Callable[[int], int] = one_path


@dataclass(frozen=True, kw_only=True)
class CurveData(PathData):
    """Observed curves, one for each series.

    Attributes
    ----------
    targets : Tensor of shape (series, time, dim)
        NaN where nothing was observed.
    row_weight : Tensor of shape (series, time)
    scale : Tensor of shape (dim,)
        The unit of residuals: the standard deviations of the data.
    """

    targets: Tensor
    row_weight: Tensor
    scale: Tensor


@dataclass(frozen=True, kw_only=True)
class SnapshotData(PathData):
    """Observed populations of different individuals.

    The curves start at the individuals of the earliest time and all have the same times.

    Attributes
    ----------
    start_weight : Tensor of shape (series,)
    targets : Tensor of shape (items, dim)
        Individuals that are observed later, complete.
    place : int64 Tensor of shape (items,)
        The position of each item's time among those of the curves.
    weight : Tensor of shape (items,)
    scale : Tensor of shape (dim,)
    """

    start_weight: Tensor
    targets: Tensor
    place: Tensor
    weight: Tensor
    scale: Tensor


@dataclass(frozen=True, kw_only=True)
class TransitionData:
    """Pairs of neighbouring observations.

    Attributes
    ----------
    transitions : Transitions or SeriesTransitions
    targets : Tensor or LazyRows of shape (items, dim)
        The observation at the end of each transition; NaN where nothing was observed.
    weight : Tensor of shape (items,)
    calibrate : Callable
        Gives the propagator for a model. It is called again now and then while the coefficients change.
    encode : bool
        Whether the transitions start at states that the model's encoder computes from their first inputs, as in a
        plain table.
    has_jumps : bool
        Whether the equation has jumps.
    """

    transitions: TransitionSource
    targets: Tensor | LazyRows
    weight: Tensor
    calibrate: Calibration
    encode: bool = False
    has_jumps: bool = False


@dataclass(frozen=True, kw_only=True)
class ChainData:
    """Noisy or partial observations that must be filtered.

    Attributes
    ----------
    chains : ObservationChains
    row_weight : Tensor of shape (n,)
        Weight of the observation at the end of each transition.
    calibrate : Callable
        Like in `TransitionData`.
    """

    chains: ObservationChains
    row_weight: Tensor
    calibrate: Calibration


class TrainingData(Protocol):
    """The training data of an estimator. A loss takes from it what it compares."""

    def curves(self) -> CurveData:
        """Each series as a curve from its initial state."""

    def snapshots(self) -> SnapshotData:
        """The population at each time."""

    def transitions(self) -> TransitionData:
        """Each observation with the one before it."""

    def chains(self) -> ChainData | None:
        """Observations to filter; None if every state is known exactly where a transition starts."""
