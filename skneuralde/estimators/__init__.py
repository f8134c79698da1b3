"""The estimators."""

from skneuralde.estimators.epoch import EpochState
from skneuralde.estimators.sde import NeuralSDERegressor

__all__ = ["EpochState", "NeuralSDERegressor"]
