"""The estimators."""

from skneuralde.estimators.epoch import EpochState
from skneuralde.estimators.jump_diffusion import NeuralJumpDiffusion
from skneuralde.estimators.pde_field import NeuralPDEField
from skneuralde.estimators.sde import NeuralSDERegressor

__all__ = ["EpochState", "NeuralJumpDiffusion", "NeuralPDEField", "NeuralSDERegressor"]
