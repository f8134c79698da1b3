"""From an equation and data to means, covariances, densities and curves."""

from skneuralde.inference.calibration import calibrate_substep
from skneuralde.inference.curves import Curves, Method
from skneuralde.inference.gaussian import gaussian_log_density
from skneuralde.inference.input_path import InputPath
from skneuralde.inference.model import Model
from skneuralde.inference.moments import LocalLinearisation, Propagator, SolverPropagation
from skneuralde.inference.transitions import Transitions, random_subset

__all__ = [
    "Curves",
    "InputPath",
    "LocalLinearisation",
    "Method",
    "Model",
    "Propagator",
    "SolverPropagation",
    "Transitions",
    "calibrate_substep",
    "gaussian_log_density",
    "random_subset",
]
