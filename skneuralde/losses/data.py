"""The data that losses are bound to, as tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from skneuralde.inference import JumpSplitting, LazyRows, Model, MomentPropagator, ObservationChains, TransitionSource
from skneuralde.inference.paths import Curves, SolverSettings

#: Makes a propagator that is fine enough for the model's present coefficients; called again while they change.
Calibration = Callable[[Model], MomentPropagator | JumpSplitting]


def one_path(epoch: int) -> int:
    """A single path in every epoch."""
    return 1


@dataclass(frozen=True, kw_only=True)
class PathData:
    """Initial value problems, and how to solve them.

    The initial states of some series, (series, dim), are ``start(model, series)``. The number of simulated paths of
    each series is a function of the epoch, or `GrowingPaths`; losses that simulate nothing ignore it.
    """

    curves: Curves
    start: Callable[[Model, Tensor], Tensor]
    settings: SolverSettings
    n_paths: Callable[[int], int] = one_path


@dataclass(frozen=True, kw_only=True)
class CurveData(PathData):
    """Observed curves, one for each series."""

    targets: Tensor  #: (series, time, dim); NaN where nothing was observed
    row_weight: Tensor  #: (series, time)
    scale: Tensor  #: (dim,); the unit of residuals: the standard deviations of the data


@dataclass(frozen=True, kw_only=True)
class SnapshotData(PathData):
    """Observed populations of different individuals.

    The curves start at the individuals of the earliest time and all have the same times. Items are the individuals
    that are observed later.
    """

    start_weight: Tensor  #: (series,)
    targets: Tensor  #: (items, dim), complete
    place: Tensor  #: int64 (items,); the position of each item's time among those of the curves
    weight: Tensor  #: (items,)
    scale: Tensor  #: (dim,)


@dataclass(frozen=True, kw_only=True)
class TransitionData:
    """Pairs of neighbouring observations.

    With ``encode`` the transitions start at states that the model's encoder computes from their first inputs, as in a
    plain table.
    """

    transitions: TransitionSource
    targets: Tensor | LazyRows  #: (items, dim); the end of each transition, NaN where nothing was observed
    weight: Tensor  #: (items,)
    calibrate: Calibration
    encode: bool = False
    has_jumps: bool = False  #: whether the equation has jumps


@dataclass(frozen=True, kw_only=True)
class ChainData:
    """Noisy or partial observations that must be filtered."""

    chains: ObservationChains
    row_weight: Tensor  #: (n,); of the observation at the end of each transition
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
