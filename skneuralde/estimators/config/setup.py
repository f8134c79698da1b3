"""What fit decides once and everything after it reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from skneuralde.inference import (
    JumpSplitting,
    MomentPropagator,
    SolverPropagation,
    SolverSettings,
    calibrate_jumps,
    calibrate_moments,
)
from skneuralde.inference.model import Model
from skneuralde.inference.transitions.segments import TransitionSource, random_subset
from skneuralde.losses import Calibration, started

#: Transitions on which the fineness of the propagation is decided.
_CALIBRATION_SIZE = 1024


@dataclass(frozen=True)
class Methods:
    """How the parts of an estimator solve its equation.

    Attributes
    ----------
    training : SolverSettings
        Curves in the loss.
    paths : SolverSettings
        Paths and curves of a fitted model.
    moments : SolverSettings or None
        Moments; None is the local linearisation.
    """

    training: SolverSettings
    paths: SolverSettings
    moments: SolverSettings | None

    def to(self, device: torch.device) -> Methods:
        """The same methods on another device."""

        def moved(method: SolverSettings) -> SolverSettings:
            return replace(method, atol=method.atol.to(device))

        return Methods(moved(self.training), moved(self.paths), None if self.moments is None else moved(self.moments))


@dataclass(frozen=True)
class Setup:
    """The choices of one fit.

    Attributes
    ----------
    layout : {"series", "table", "flow"}
    initial_state : {"first", "context", "learn", "columns"}
    loss : str
    origin : {"start", "last", "smooth"}
    interpolation : str
        How controls act between rows.
    n_states : int
    components : tuple of int or None
        The components of the state that y shows; None where it shows functions of it.
    is_hidden : bool
        Whether observations leave the state uncertain, by their noise or because they show a part of it.
    rtol : float
        Of the moments.
    methods : Methods
    start_time : float
        Fit's earliest time, at which learned and context states hold (0 for flow maps).
    longest : float
        The longest transition in fit: moments are propagated so far, paths are simulated beyond.
    seed : int
    n_predict_paths : int
    dtype, device
        Of everything in torch.
    snapshots : bool
        Whether every series has a single observation and the loss compares populations.
    jumps : bool
        Whether the equation has jumps.
    grid : tuple of int
        Of fields, () where a state is no field: a state holds the fields at every point, point after point.
    """

    layout: str
    initial_state: str
    loss: str
    origin: str
    interpolation: str
    n_states: int
    components: tuple[int, ...] | None
    is_hidden: bool
    rtol: float
    methods: Methods
    start_time: float
    longest: float
    seed: int
    n_predict_paths: int
    dtype: torch.dtype
    device: torch.device
    snapshots: bool = False
    jumps: bool = False
    grid: tuple[int, ...] = ()

    @property
    def n_points(self) -> int:
        """Number of points of the grid; a state that is no field has one."""
        return math.prod(self.grid)

    @property
    def n_fields(self) -> int:
        """Number of components at one point."""
        return self.n_states // self.n_points

    def to(self, device: torch.device) -> Setup:
        """The same choices on another device."""
        return replace(self, methods=self.methods.to(device), device=device)

    @property
    def encodes(self) -> bool:
        """Whether transitions start at states that the model's encoder gives: the rows of a plain table."""
        return self.layout == "table"

    def tensor(self, array: np.ndarray) -> Tensor:
        """A state-valued array on the device."""
        return torch.as_tensor(_writable(array), dtype=self.dtype).to(self.device)

    def times(self, array: np.ndarray) -> Tensor:
        """Times on the device, float64 as always."""
        return torch.as_tensor(_writable(array), dtype=torch.float64).to(self.device)

    def index(self, array: np.ndarray) -> Tensor:
        """Positions on the device."""
        return torch.as_tensor(_writable(array), dtype=torch.int64).to(self.device)

    def rows(self, array: np.ndarray) -> Tensor:
        """Rows of a record on the device, in the integers that they came in."""
        return torch.as_tensor(_writable(array)).to(self.device)

    def calibration(self, transitions: TransitionSource) -> Calibration:
        """How a propagator for these transitions is found for the present weights of a model."""
        sample = random_subset(transitions, _CALIBRATION_SIZE, torch.Generator().manual_seed(self.seed))

        def calibrate(model: Model) -> MomentPropagator | JumpSplitting:
            with torch.no_grad():
                begun = started(sample, model) if self.encodes else sample
            propagator: MomentPropagator
            if self.methods.moments is None:
                propagator = calibrate_moments(model, begun, rtol=self.rtol)
            else:
                moments = self.methods.moments
                propagator = SolverPropagation(moments.solver, self.rtol, moments.atol, moments.dt, moments.max_steps)
            return calibrate_jumps(model, begun, propagator, rtol=self.rtol) if self.jumps else propagator

        return calibrate


def _writable(array: np.ndarray) -> np.ndarray:
    """The array in one piece and marked as writable: torch warns of data that are not, as columns of frames are.

    Nothing is copied where that can be helped, and nobody writes to it.
    """
    array = np.ascontiguousarray(array)
    if array.flags.writeable:
        return array
    view = array.view()
    try:
        view.flags.writeable = True
    except ValueError:  # memory that really is read-only, such as a mapped file's
        return array.copy()
    return view
