"""Losses, and the objectives that they become when they are bound to data.

The parameter ``loss`` of an estimator takes one of `loss_names`, or an instance of a class of your own. For a penalty
on residuals subclass `CurveLoss`, or `SimulatedLoss` for an equation with noise; for a penalty on one-step predictions
subclass `TransitionLoss`; for anything else subclass `Loss` and write the `Objective` that it is bound to. `Loss` lists
the facts that a loss states about itself as class attributes.
"""

from skneuralde.losses.base import Loss, Objective, SumOfSquares
from skneuralde.losses.collocation import Collocation, Intervals
from skneuralde.losses.curves import (
    CurveLoss,
    CurveObjective,
    LeastSquares,
    MeanMatching,
    PathSquaredError,
    PlainMeanMatching,
    SimulatedLoss,
)
from skneuralde.losses.data import Calibration, ChainData, CurveData, SnapshotData, TrainingData, TransitionData
from skneuralde.losses.ensemble import Ensemble
from skneuralde.losses.likelihood import FilterLikelihood, JumpLikelihood, NegativeLogLikelihood
from skneuralde.losses.moments import MomentMatching, MomentObjective, PlainMomentMatching
from skneuralde.losses.registry import get_loss, loss_names
from skneuralde.losses.scores import PairedEnergy, RankedProbability, SnapshotEnergy, SnapshotObjective
from skneuralde.losses.simulation import GrowingPaths, PathObjective
from skneuralde.losses.transitions import TransitionLoss, TransitionObjective, started

__all__ = [
    "Calibration",
    "ChainData",
    "Collocation",
    "CurveData",
    "CurveLoss",
    "CurveObjective",
    "Ensemble",
    "FilterLikelihood",
    "GrowingPaths",
    "Intervals",
    "JumpLikelihood",
    "LeastSquares",
    "Loss",
    "MeanMatching",
    "MomentMatching",
    "MomentObjective",
    "NegativeLogLikelihood",
    "Objective",
    "PairedEnergy",
    "PathObjective",
    "PathSquaredError",
    "PlainMeanMatching",
    "PlainMomentMatching",
    "RankedProbability",
    "SimulatedLoss",
    "SnapshotData",
    "SnapshotEnergy",
    "SnapshotObjective",
    "SumOfSquares",
    "TrainingData",
    "TransitionData",
    "TransitionLoss",
    "TransitionObjective",
    "get_loss",
    "loss_names",
    "started",
]
