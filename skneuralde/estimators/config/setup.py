"""The choices of one fit, which training and predictions read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from skneuralde.data.layout import Layout
from skneuralde.estimators.config.state_space import VectorSpace
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
from skneuralde.losses import Calibration, Loss, started

#: Number of transitions in the sample that the substep of moments is chosen on.
_CALIBRATION_SIZE = 1024


@dataclass(frozen=True)
class Methods:
    """Solvers with their settings for the parts of an estimator.

    Attributes
    ----------
    training : SolverSettings
        For curves in the loss.
    paths : SolverSettings
        For paths and curves of a fitted model.
    moments : SolverSettings or None
        For moments; None is local linearisation.
    """

    training: SolverSettings
    paths: SolverSettings
    moments: SolverSettings | None

    def to(self, device: torch.device) -> Methods:
        """The same methods on another device."""

        def moved(settings: SolverSettings) -> SolverSettings:
            return replace(settings, atol=settings.atol.to(device))

        return Methods(moved(self.training), moved(self.paths), None if self.moments is None else moved(self.moments))


@dataclass(frozen=True)
class Setup:
    """The choices of one fit.

    Attributes
    ----------
    layout : Layout
    initial_state : {"first", "context", "learn", "columns"}
    loss : Loss
    origin : {"start", "last", "smooth"}
    interpolation : str
        Values of controls between rows.
    n_states : int
    components : tuple of int or None
        The components of the state that y shows; None if y is a function of the state.
    is_hidden : bool
        Whether the state is observed in part or with noise.
    rtol : float
        Tolerance of the moments.
    methods : Methods
    start_time : float
        The earliest time in fit, at which learned and context states hold (0 for flow maps).
    longest : float
        The longest transition in fit. Paths are simulated for longer ones; moments are propagated for the others.
    seed : int
    n_predict_paths : int
    dtype, device
        Those of all tensors.
    space : VectorSpace
    jumps : bool
        Whether the equation has jumps.
    """

    layout: Layout
    initial_state: str
    loss: Loss
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
    space: VectorSpace
    jumps: bool = False

    @property
    def n_fields(self) -> int:
        """Number of components of the state at one point."""
        return self.n_states // self.space.n_points

    def to(self, device: torch.device) -> Setup:
        """The same choices on another device."""
        return replace(self, methods=self.methods.to(device), device=device)

    def tensor(self, array: np.ndarray) -> Tensor:
        """An array of states on the device."""
        return torch.as_tensor(_writable(array), dtype=self.dtype).to(self.device)

    def times(self, array: np.ndarray) -> Tensor:
        """Times on the device, float64 as always."""
        return torch.as_tensor(_writable(array), dtype=torch.float64).to(self.device)

    def index(self, array: np.ndarray) -> Tensor:
        """Positions on the device."""
        return torch.as_tensor(_writable(array), dtype=torch.int64).to(self.device)

    def rows(self, array: np.ndarray) -> Tensor:
        """Positions on the device, with the type of integers that they have."""
        return torch.as_tensor(_writable(array)).to(self.device)

    def calibration(self, transitions: TransitionSource) -> Calibration:
        """A function that finds a moment propagator for these transitions and a model."""
        sample = random_subset(transitions, _CALIBRATION_SIZE, torch.Generator().manual_seed(self.seed))

        def calibrate(model: Model) -> MomentPropagator | JumpSplitting:
            with torch.no_grad():
                begun = started(sample, model) if self.layout.encodes else sample
            propagator: MomentPropagator
            if self.methods.moments is None:
                propagator = calibrate_moments(model, begun, rtol=self.rtol)
            else:
                moments = self.methods.moments
                propagator = SolverPropagation(
                    moments.solver, self.rtol, moments.atol, moments.dt, moments.max_steps, moments.controller
                )
            return calibrate_jumps(model, begun, propagator, rtol=self.rtol) if self.jumps else propagator

        return calibrate


def _writable(array: np.ndarray) -> np.ndarray:
    """The array, contiguous and marked as writable, since torch warns of arrays that are not.

    It is copied only if that is necessary, and is never written to.
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
