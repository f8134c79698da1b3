"""From an equation and data to means, covariances, densities and curves."""

from skneuralde.inference.births import birth_probabilities
from skneuralde.inference.calibration import calibrate_moments
from skneuralde.inference.curves import Curves, Method
from skneuralde.inference.gaussian import Gaussian, Independent, gaussian_log_density
from skneuralde.inference.input_path import InputPath
from skneuralde.inference.jump_calibration import calibrate_jumps
from skneuralde.inference.kalman import (
    Chains,
    Filtered,
    condition,
    expect,
    filtered_starts,
    run_filter,
    start_of,
)
from skneuralde.inference.law import Law
from skneuralde.inference.mixture import Mixture
from skneuralde.inference.model import Model
from skneuralde.inference.moments import LocalLinearisation, Propagator, SolverPropagation
from skneuralde.inference.observation import Observation, Selection, check_observation, resolve_observation
from skneuralde.inference.parallel_filter import infer, run_around, settle
from skneuralde.inference.record import Gathered, Record, RecordedTransitions
from skneuralde.inference.residual_jumps import Channels, Mixed, Residuals, find_jumps
from skneuralde.inference.smoothing import smooth, smooth_between
from skneuralde.inference.splitting import JumpSplitting
from skneuralde.inference.transitions import Transitions, TransitionSource, random_subset

__all__ = [
    "Chains",
    "Channels",
    "Curves",
    "Filtered",
    "Gathered",
    "Gaussian",
    "Independent",
    "InputPath",
    "JumpSplitting",
    "Law",
    "LocalLinearisation",
    "Method",
    "Mixed",
    "Mixture",
    "Model",
    "Observation",
    "Propagator",
    "Record",
    "RecordedTransitions",
    "Residuals",
    "Selection",
    "SolverPropagation",
    "TransitionSource",
    "Transitions",
    "birth_probabilities",
    "calibrate_jumps",
    "calibrate_moments",
    "check_observation",
    "condition",
    "expect",
    "filtered_starts",
    "find_jumps",
    "gaussian_log_density",
    "infer",
    "random_subset",
    "resolve_observation",
    "run_around",
    "run_filter",
    "settle",
    "smooth",
    "smooth_between",
    "start_of",
]
