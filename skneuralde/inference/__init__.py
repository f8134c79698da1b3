"""Inference: moments, densities, filtering and simulated paths of an equation, given data."""

from skneuralde.inference.calibration.jumps import calibrate_jumps
from skneuralde.inference.calibration.moments import calibrate_moments
from skneuralde.inference.distributions.gaussian import DiagonalGaussian, Gaussian, gaussian_log_density
from skneuralde.inference.distributions.mixture import Mixture
from skneuralde.inference.distributions.protocol import PredictiveDistribution
from skneuralde.inference.filtering.kalman import ObservationChains, initial_distribution
from skneuralde.inference.filtering.parallel import find_linearisation_states, run_parallel_filter
from skneuralde.inference.filtering.smoother import smooth, smooth_between
from skneuralde.inference.inputs import InputPath
from skneuralde.inference.jumps.birth_process import birth_probabilities
from skneuralde.inference.jumps.mixture_em import ChannelParameters, Residuals, find_jumps
from skneuralde.inference.jumps.splitting import JumpSplitting
from skneuralde.inference.model import Model
from skneuralde.inference.moments.local_linearisation import LocalLinearisation
from skneuralde.inference.moments.propagator import Interval, MomentPropagator, Moments
from skneuralde.inference.moments.solver_propagation import SolverPropagation
from skneuralde.inference.observation import Observation, Selection, check_observation, resolve_observation
from skneuralde.inference.paths import Curves, SolverSettings
from skneuralde.inference.transitions.from_series import FlatSeries, LazyRows, SeriesTransitions
from skneuralde.inference.transitions.segments import Transitions, TransitionSource, random_subset

__all__ = [
    "ChannelParameters",
    "Curves",
    "DiagonalGaussian",
    "FlatSeries",
    "Gaussian",
    "InputPath",
    "Interval",
    "JumpSplitting",
    "LazyRows",
    "LocalLinearisation",
    "Mixture",
    "Model",
    "MomentPropagator",
    "Moments",
    "Observation",
    "ObservationChains",
    "PredictiveDistribution",
    "Residuals",
    "Selection",
    "SeriesTransitions",
    "SolverPropagation",
    "SolverSettings",
    "TransitionSource",
    "Transitions",
    "birth_probabilities",
    "calibrate_jumps",
    "calibrate_moments",
    "check_observation",
    "find_jumps",
    "find_linearisation_states",
    "gaussian_log_density",
    "initial_distribution",
    "random_subset",
    "resolve_observation",
    "run_parallel_filter",
    "smooth",
    "smooth_between",
]
