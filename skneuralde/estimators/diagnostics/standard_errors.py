"""Standard errors of what fit learns: by the curvature of the likelihood, or by an ensemble."""

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
from skneuralde.estimators.choices.setup import FEW_PARAMETERS
from skneuralde.estimators.model.initial_model import MANY_SERIES
from skneuralde.estimators.rows.objectives import TRANSITION_LOSSES
from skneuralde.inference.parameter_uncertainty import (
    EnsembleUncertainty,
    Uncertainty,
    parameter_vector,
    set_parameters,
)
from skneuralde.training.laplace import NoMinimumError, laplace


def refuse_laplace(loss: str, model: torch.nn.Module) -> None:
    """Refuse, before training, a Laplace approximation that means nothing.

    Raises
    ------
    ValueError
        When the loss is no likelihood, or there are too many parameters.
    """
    if loss not in TRANSITION_LOSSES:
        raise ValueError(
            f"uncertainty='laplace' needs a likelihood, but the loss is {loss!r}. Use loss='nll' or "
            "uncertainty='ensemble'."
        )
    n_parameters = len(parameter_vector(model))
    if n_parameters > FEW_PARAMETERS:
        raise ValueError(
            f"uncertainty='laplace' is for at most {FEW_PARAMETERS} parameters, but {n_parameters} are trained here. "
            "Use smaller hidden_layer_sizes or uncertainty='ensemble'."
        )


def laplace_uncertainty(estimator: Any, panel: Panel, X_val: Any, y_val: Any, seed: int) -> Uncertainty | None:
    """Laplace's approximation around a trained estimator, in double precision; None, with a warning, at no minimum."""
    exact = copy.copy(estimator)
    exact._setup = replace(estimator._setup, dtype=torch.float64)
    objective, _ = exact._objectives(panel, X_val, y_val, seed)
    model = copy.deepcopy(estimator.model_).double()
    try:
        return laplace(model, objective, seed=seed)
    except NoMinimumError as error:
        warnings.warn(f"There are no standard errors: {error}", UserWarning, stacklevel=3)
        return None


def train_ensemble(
    estimator: Any, panel: Panel, X_val: Any, y_val: Any, *, seed: int, before: Uncertainty | None
) -> EnsembleUncertainty:
    """Train ``n_members`` models like a fitted estimator's, from seeds of their own on random weights of the data.

    Members go on from those of ``before``, where there are as many.
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
    objective, validation = member._objectives(resampled, X_val, y_val, seed)
    if start is None:
        member._settle_start(objective, seed)
    member._train(resampled, objective, validation, seed)
    return parameter_vector(member.model_)


def random_weights(panel: Panel, generator: np.random.Generator) -> np.ndarray:
    """Weights of a Bayesian bootstrap, ``(n,)`` (D. B. Rubin, Annals of Statistics 9, 1981).

    Where there are many series, which may differ among themselves, whole series are drawn, else single observations:
    of a Markov process these are independent given the ones before them. No weight is zero, so that a small data set
    keeps all of its observations. A weight counts repetitions, each with a draw of its own.
    """
    if panel.n_series >= MANY_SERIES and panel.lengths.max() > 1:
        return panel.weight * generator.standard_exponential(panel.n_series)[panel.series_of]
    return generator.standard_gamma(panel.weight)


@contextmanager
def _said_once() -> Iterator[None]:
    """Without what the main model's start has already warned of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This loss is smallest without any noise")
        yield
