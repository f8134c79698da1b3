"""Standard errors of learned parameters, from the curvature of the likelihood or from an ensemble."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from skneuralde.data import Panel
from skneuralde.estimators.choices.optimizer import FEW_PARAMETERS
from skneuralde.estimators.model.initial_model import MANY_SERIES
from skneuralde.inference.parameter_uncertainty import (
    EnsembleUncertainty,
    Uncertainty,
    parameter_vector,
    set_parameters,
)
from skneuralde.losses import Loss
from skneuralde.training.laplace import NoMinimumError, laplace


def refuse_laplace(loss: Loss, model: torch.nn.Module) -> None:
    """Refuse a Laplace approximation before training, if it would be meaningless.

    Raises
    ------
    ValueError
        If the loss is not a likelihood, or there are too many parameters.
    """
    if not loss.is_likelihood:
        raise ValueError(
            f"uncertainty='laplace' needs a likelihood, but the loss is {loss.name!r}. Use loss='nll' or "
            "uncertainty='ensemble'."
        )
    n_parameters = len(parameter_vector(model))
    if n_parameters > FEW_PARAMETERS:
        raise ValueError(
            f"uncertainty='laplace' is for at most {FEW_PARAMETERS} parameters, but {n_parameters} are trained here. "
            "Use smaller hidden_layer_sizes or uncertainty='ensemble'."
        )


def laplace_uncertainty(estimator: Any, panel: Panel, X_val: Any, y_val: Any, seed: int) -> Uncertainty | None:
    """The Laplace approximation at a trained estimator, in double precision.

    Returns None, with a warning, if the weights are not at a minimum of the loss.
    """
    exact = copy.copy(estimator)
    exact._setup = replace(estimator._setup, dtype=torch.float64)
    objective, _ = exact._objectives(exact._make_trainer(), panel, X_val, y_val, seed)
    model = copy.deepcopy(estimator.model_).double()
    try:
        return laplace(model, objective, seed=seed)
    except NoMinimumError as error:
        warnings.warn(f"There are no standard errors: {error}", UserWarning, stacklevel=3)
        return None


def train_ensemble(
    estimator: Any, panel: Panel, X_val: Any, y_val: Any, *, seed: int, before: Uncertainty | None
) -> EnsembleUncertainty:
    """Train ``n_members`` models like a fitted estimator's, each from its own seed on random weights of the data.

    Members continue from those of ``before`` if it has as many.
    """
    before = before if isinstance(before, EnsembleUncertainty) else None
    if before is not None and len(before.members) != estimator.n_members:
        before = None
    members = []
    for k in range(estimator.n_members):
        start = None if before is None else before.members[k]
        members.append(_train_member(estimator, panel, X_val, y_val, (seed, k), start))
    return EnsembleUncertainty(torch.stack(members))


def _train_member(
    estimator: Any, panel: Panel, X_val: Any, y_val: Any, key: tuple[int, int], start: torch.Tensor | None
) -> torch.Tensor:
    generator = np.random.default_rng(key)
    seed = int(generator.integers(2**31 - 1))
    member = copy.copy(estimator)
    member.on_epoch = None
    if start is not None:
        member.model_ = copy.deepcopy(estimator.model_)
        member.problem_ = member.model_.problem.original
        set_parameters(member.model_, start)
    with _said_once():
        member._start_model(panel, seed, estimator.device_, warm=start is not None)
    resampled = replace(panel, weight=random_weights(panel, generator))
    member._learn(resampled, X_val, y_val, seed, warm=start is not None)
    return parameter_vector(member.model_)


def random_weights(panel: Panel, generator: np.random.Generator) -> np.ndarray:
    """Weights of a Bayesian bootstrap, ``(n,)`` (D. B. Rubin, Annals of Statistics 9, 1981).

    From ten series on, which may differ from each other, whole series are weighted, else single observations: those of
    a Markov process are independent given the ones before them. No weight is zero, so that a small data set keeps all
    of its observations. A sample weight counts repetitions, each with its own draw.
    """
    if panel.n_series >= MANY_SERIES and panel.lengths.max() > 1:
        return panel.weight * generator.standard_exponential(panel.n_series)[panel.series_of]
    return generator.standard_gamma(panel.weight)


@contextmanager
def _said_once() -> Iterator[None]:
    """Suppress the warnings that the start of the main model has already given."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This loss is smallest without any noise")
        yield
