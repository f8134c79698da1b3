"""The estimators."""

from skneuralde.estimators.epoch import EpochState
from skneuralde.estimators.jump_diffusion import NeuralJumpDiffusion
from skneuralde.estimators.sde import NeuralSDERegressor

__all__ = ["EpochState", "NeuralJumpDiffusion", "NeuralSDERegressor"]
