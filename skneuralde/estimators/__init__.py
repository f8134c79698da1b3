"""The estimators."""

from skneuralde.estimators.base import EpochState
from skneuralde.estimators.sde import NeuralSDERegressor

__all__ = ["EpochState", "NeuralSDERegressor"]
