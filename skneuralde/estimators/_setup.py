"""What fit decides once and everything after it reads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from skneuralde.inference import LocalLinearisation, Method, Propagator, SolverPropagation, calibrate_substep
from skneuralde.inference.model import Model
from skneuralde.inference.transitions import Transitions, random_subset
from skneuralde.losses import Calibration, started

#: Transitions on which the fineness of the propagation is decided.
_CALIBRATION_SIZE = 1024


@dataclass(frozen=True)
class Setup:
    """The choices of one fit.

    Attributes
    ----------
    layout : {"series", "table", "flow"}
    initial_state : {"first", "context", "learn", "columns"}
    loss : str
    origin : {"start", "last"}
    interpolation : str
        How controls act between rows.
    method : Method
        How paths and curves are solved.
    moment_method : Method or None
        How moments are propagated; None is the local linearisation at ``method``'s tolerance.
    start_time : float
        Fit's earliest time, at which learned and context states hold (0 for flow maps).
    longest : float
        The longest transition in fit: moments are propagated so far, paths are simulated beyond.
    seed : int
    n_predict_paths : int
    dtype, device
        Of everything in torch.
    """

    layout: str
    initial_state: str
    loss: str
    origin: str
    interpolation: str
    method: Method
    moment_method: Method | None
    start_time: float
    longest: float
    seed: int
    n_predict_paths: int
    dtype: torch.dtype
    device: torch.device

    def to(self, device: torch.device) -> Setup:
        """The same choices on another device."""

        def moved(method: Method) -> Method:
            return replace(method, atol=method.atol.to(device))

        moments = None if self.moment_method is None else moved(self.moment_method)
        return replace(self, method=moved(self.method), moment_method=moments, device=device)

    @property
    def encodes(self) -> bool:
        """Whether transitions start at states that the model's encoder gives: the rows of a plain table."""
        return self.layout == "table"

    def tensor(self, array: np.ndarray) -> Tensor:
        """A state-valued array on the device."""
        return torch.as_tensor(np.ascontiguousarray(array), dtype=self.dtype).to(self.device)

    def times(self, array: np.ndarray) -> Tensor:
        """Times on the device, float64 as always."""
        return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float64).to(self.device)

    def index(self, array: np.ndarray) -> Tensor:
        """Positions on the device."""
        return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.int64).to(self.device)

    def calibration(self, transitions: Transitions) -> Calibration:
        """How a propagator for these transitions is found for the present weights of a model."""
        sample = random_subset(transitions, _CALIBRATION_SIZE, torch.Generator().manual_seed(self.seed))

        def calibrate(model: Model) -> Propagator:
            if self.moment_method is not None:
                return SolverPropagation(**vars(self.moment_method))
            with torch.no_grad():
                begun = started(sample, model) if self.encodes else sample
            return LocalLinearisation(calibrate_substep(model, begun, rtol=self.method.rtol))

        return calibrate
