"""Losses bound to data."""

from skneuralde.losses.base import Objective
from skneuralde.losses.filtering import FilterLikelihood
from skneuralde.losses.likelihood import Calibration, TransitionLikelihood, started
from skneuralde.losses.paths import CurveObjective, LeastSquares, MeanMatching, PathSquaredError, PlainMeanMatching

__all__ = [
    "Calibration",
    "CurveObjective",
    "FilterLikelihood",
    "LeastSquares",
    "MeanMatching",
    "Objective",
    "PathSquaredError",
    "PlainMeanMatching",
    "TransitionLikelihood",
    "started",
]
