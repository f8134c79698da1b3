"""Fitting a model to an objective."""

from skneuralde.training.loop import History, Progress, run_training
from skneuralde.training.optimizers import LBFGS, Adam, Optimizer
from skneuralde.training.stopping import StoppingRule

__all__ = ["LBFGS", "Adam", "History", "Optimizer", "Progress", "StoppingRule", "run_training"]
