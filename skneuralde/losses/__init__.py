"""Losses bound to data."""

from skneuralde.losses.base import Objective, SumOfSquares
from skneuralde.losses.collocation import Collocation, Intervals
from skneuralde.losses.filtering import FilterLikelihood
from skneuralde.losses.growth import GrowingPaths
from skneuralde.losses.jumps import JumpLikelihood
from skneuralde.losses.likelihood import Calibration, TransitionLikelihood, started
from skneuralde.losses.moments import MomentMatching, PlainMomentMatching
from skneuralde.losses.paths import CurveObjective, LeastSquares, MeanMatching, PathSquaredError, PlainMeanMatching
from skneuralde.losses.scores import PairedEnergy, RankedProbability
from skneuralde.losses.simulation import PathObjective
from skneuralde.losses.snapshots import SnapshotEnergy

__all__ = [
    "Calibration",
    "Collocation",
    "CurveObjective",
    "FilterLikelihood",
    "GrowingPaths",
    "Intervals",
    "JumpLikelihood",
    "LeastSquares",
    "MeanMatching",
    "MomentMatching",
    "Objective",
    "PairedEnergy",
    "PathObjective",
    "PathSquaredError",
    "PlainMeanMatching",
    "PlainMomentMatching",
    "RankedProbability",
    "SnapshotEnergy",
    "SumOfSquares",
    "TransitionLikelihood",
    "started",
]
