"""Training of a model on an objective."""

from skneuralde.training.gauss_newton import GaussNewton, NormalEquations
from skneuralde.training.loop import History, Progress, run_training
from skneuralde.training.optimizers import LBFGS, Adam, EvaluateOnly, Optimizer, mean_loss, trainable
from skneuralde.training.stopping import StoppingRule

__all__ = [
    "LBFGS",
    "Adam",
    "EvaluateOnly",
    "GaussNewton",
    "History",
    "NormalEquations",
    "Optimizer",
    "Progress",
    "StoppingRule",
    "mean_loss",
    "run_training",
    "trainable",
]
