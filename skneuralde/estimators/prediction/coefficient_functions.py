"""Learned coefficients as functions of the state, with standard errors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skneuralde.data import Clock, OutputFormat, Roles
from skneuralde.data.instants import read_instants
from skneuralde.estimators.config.setup import Setup
from skneuralde.inference import Model
from skneuralde.inference.parameter_uncertainty import Parameters, Uncertainty, call_with
from skneuralde.problems import Problem


class EvaluatedCoefficients:
    """Coefficients of a fitted equation at given states."""

    problem_: Problem
    model_: Model
    roles_: Roles
    clock_: Clock
    _setup: Setup
    _output: OutputFormat
    #: Weighted mean of the context and control columns of fit, of shape (k,).
    _typical_context: np.ndarray
    #: Of the trainable parameters; None if fit was not asked for it, or could not compute it.
    _uncertainty: Uncertainty | None

    def _field(
        self,
        name: str,
        U: Any,
        t: Any,
        context: Any,
        return_std: bool,
        coefficient: Callable[[Problem], Callable[..., Tensor]] | None = None,
    ) -> Any:
        """Value of a coefficient, by default the one of this name, and its standard error."""
        check_is_fitted(self)
        states = _read_states(U, self._setup.n_fields)
        times = read_instants(t, len(states), self.clock_)
        columns = self._read_context(context, len(states))
        function = _on_parameters(
            _Coefficient(self.model_, attrgetter(name) if coefficient is None else coefficient),
            self._setup.times(times).to(self._setup.dtype)[:, None],
            self._setup.tensor(states),
            self._setup.tensor(columns),
        )
        flat = np.ndim(U) == 1 and coefficient is None
        with torch.no_grad():
            learned = function({})
        value = self._as_array(learned, flat, f"{name} is", states)
        if not return_std:
            return value
        if self._uncertainty is None:
            raise ValueError(
                "return_std=True needs standard errors of the parameters, which fit did not leave. Fit with "
                "uncertainty='laplace' or 'ensemble'; if training finds no minimum, 'laplace' warns and leaves none."
            )
        if name == "diffusion":
            function = _up_to_sign(function, learned)
        with torch.no_grad():
            std = self._uncertainty.std(function, self.model_)
        return value, self._as_array(std, flat, f"standard error of the {name} is", states)

    def _as_array(self, value: Tensor, flat: bool, what: str, states: np.ndarray) -> np.ndarray:
        array = value.detach().cpu().numpy().astype(self._output.dtype, copy=False)
        finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(f"The {what} not finite in row {row} of U, at the state {states[row]}.")
        return array[:, 0] if flat and array.ndim == 2 else array

    def _read_context(self, context: Any, n: int) -> np.ndarray:
        names = self.roles_.names_of((*self.roles_.context, *self.roles_.controls))
        if context is None:
            return np.tile(self._typical_context, (n, 1))
        given = getattr(context, "columns", None)
        if given is not None and list(given) != names:
            raise ValueError(f"context has the columns {list(given)}, but fit's were {names}, in this order.")
        array = check_array(context, ensure_2d=False, dtype=np.float64, ensure_min_features=0, input_name="context")
        if array.shape not in ((len(names),), (n, len(names))):
            raise ValueError(
                f"context has shape {array.shape}, but ({len(names)},) or ({n}, {len(names)}) is expected: one number "
                f"for each context and control column of fit, which were {names}."
            )
        return np.array(np.broadcast_to(array, (n, len(names))))


class CoefficientFields(EvaluatedCoefficients):
    """Drift and diffusion of a fitted equation as functions of the state."""

    def drift_field(self, U: Any, t: Any = 0.0, *, context: Any = None, return_std: bool = False) -> Any:
        """Evaluate the learned drift f(t, u).

        Parameters
        ----------
        U : array-like of shape (n, dim), or (n,) if the state has one component
            States, in y's units; with ``n_states`` including the components that are not observed.
        t : number, datetime or array-like of shape (n,), default=0.0
            Numbers are model time: the time since ``t_ref_`` in ``time_unit_``.
        context : array-like of shape (k,) or (n, k), optional
            The context columns and then the control columns. By default the mean of the rows of `fit`.
        return_std : bool, default=False
            Also return standard errors; needs ``uncertainty`` in `fit`.

        Returns
        -------
        drift : ndarray of U's shape
            In y's units per ``time_unit_``.
        std : ndarray of U's shape
            If ``return_std``.

        Raises
        ------
        ValueError
            If an argument has another shape, if the drift is not finite at a state, and for ``return_std`` after a fit
            without standard errors.

        Examples
        --------
        >>> import numpy as np
        >>> from skneuralde import NeuralSDERegressor
        >>> t = np.arange(50.0)
        >>> y = np.cos(t) * 0.9**t
        >>> model = NeuralSDERegressor(drift=lambda t, u: -0.5 * u, diffusion=0.2).fit(t[:, None], y)
        >>> model.drift_field([-1.0, 0.0, 2.0])
        array([ 0.5, -0. , -1. ])
        """
        return self._field("drift", U, t, context, return_std)

    def diffusion_field(self, U: Any, t: Any = 0.0, *, context: Any = None, return_std: bool = False) -> Any:
        """Evaluate the learned diffusion g(t, u).

        Parameters
        ----------
        U, t, context, return_std : like in `drift_field`

        Returns
        -------
        diffusion : ndarray of U's shape, or (n, dim, m) if g is a matrix
            In y's units per square root of ``time_unit_``.
        std : ndarray of the same shape
            If ``return_std``.

        Raises
        ------
        ValueError
            Like `drift_field`, and for an equation without noise.

        Examples
        --------
        >>> import numpy as np
        >>> from skneuralde import NeuralSDERegressor
        >>> t = np.arange(50.0)
        >>> y = np.cos(t) * 0.9**t
        >>> model = NeuralSDERegressor(drift=-0.1, diffusion=lambda t, u: 0.1 + 0.1 * u**2).fit(t[:, None], y)
        >>> model.diffusion_field([0.0, 2.0])
        array([0.1, 0.5])
        """
        check_is_fitted(self)
        if self.problem_.diffusion is None:
            raise ValueError("There is no diffusion to evaluate: the equation was fitted with diffusion=None.")
        return self._field("diffusion", U, t, context, return_std)


class _Coefficient(nn.Module):
    """One coefficient of a model, as a module with all of the model's parameters."""

    def __init__(self, model: Model, of: Callable[[Problem], Callable[..., Tensor]]):
        super().__init__()
        self.model = model
        self.of = of

    def forward(self, t: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return self.of(self.model.problem)(t, u, c)


def _on_parameters(coefficient: _Coefficient, *at: Tensor) -> Callable[[Parameters], Tensor]:
    """The coefficient's value as a function of its parameters; those that are not given keep their values.

    Parameters are put into a copy of the modules, since other threads may use these. The copy has the same tensors.
    """
    tensors = [*coefficient.parameters(), *coefficient.buffers()]
    coefficient = copy.deepcopy(coefficient, {id(x): x for x in tensors})

    def value(parameters: Parameters) -> Tensor:
        named = {f"model.{name}": parameter for name, parameter in parameters.items()}
        return call_with(coefficient, named, at)

    return value


def _up_to_sign(diffusion: Callable[[Parameters], Tensor], like: Tensor) -> Callable[[Parameters], Tensor]:
    """The diffusion with the sign of every noise as in ``like``, since data do not determine the sign."""

    def value(parameters: Parameters) -> Tensor:
        g = diffusion(parameters)
        agreement = g * like if g.ndim == 2 else (g * like).sum(-2, keepdim=True)
        return torch.where(agreement < 0, -g, g)

    return value


def _read_states(U: Any, dim: int) -> np.ndarray:
    states = check_array(np.atleast_1d(U), ensure_2d=False, allow_nd=True, dtype=np.float64, input_name="U")
    if np.ndim(U) == 1 and dim == 1:
        return states[:, None]
    if np.ndim(U) != 2 or states.shape[1] != dim:
        also = " or (n,)" if dim == 1 else ""
        raise ValueError(f"U has shape {np.shape(U)}, but (n, {dim}){also} is expected: one row per state.")
    return states
