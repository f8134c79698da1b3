"""The estimators."""

from skneuralde.estimators.callbacks import EpochState
from skneuralde.estimators.neural_jump_diffusion import NeuralJumpDiffusion
from skneuralde.estimators.neural_pde_field import NeuralPDEField
from skneuralde.estimators.neural_sde import NeuralSDERegressor

__all__ = ["EpochState", "NeuralJumpDiffusion", "NeuralPDEField", "NeuralSDERegressor"]
