"""From an equation and data to means, covariances, densities and curves."""

from skneuralde.inference.calibration.jumps import calibrate_jumps
from skneuralde.inference.calibration.moments import calibrate_moments
from skneuralde.inference.distributions.gaussian import Gaussian, Independent, gaussian_log_density
from skneuralde.inference.distributions.mixture import Mixture
from skneuralde.inference.distributions.protocol import Law
from skneuralde.inference.filtering.kalman import (
    Chains,
    Filtered,
    condition,
    expect,
    filtered_starts,
    run_filter,
    start_of,
)
from skneuralde.inference.filtering.parallel import infer, run_around, settle
from skneuralde.inference.filtering.smoother import smooth, smooth_between
from skneuralde.inference.inputs import InputPath
from skneuralde.inference.jumps.birth_process import birth_probabilities
from skneuralde.inference.jumps.mixture_em import Channels, Mixed, Residuals, find_jumps
from skneuralde.inference.jumps.splitting import JumpSplitting
from skneuralde.inference.model import Model
from skneuralde.inference.moments.local_linearisation import LocalLinearisation, Propagator, SolverPropagation
from skneuralde.inference.observation import Observation, Selection, check_observation, resolve_observation
from skneuralde.inference.paths import Curves, Method
from skneuralde.inference.transitions.from_series import Gathered, Record, RecordedTransitions
from skneuralde.inference.transitions.segments import Transitions, TransitionSource, random_subset

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
