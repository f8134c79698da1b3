"""Forecasts of rows: propagated moments, simulated paths, densities and samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from skneuralde.data.panel import Panel
from skneuralde.data.timeline import previous
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.prediction.distributions import ClosedForm, Forecast
from skneuralde.estimators.prediction.simulation import simulate
from skneuralde.estimators.rows.curves import series_keys
from skneuralde.estimators.rows.states import States, filters, infer_states, origin_positions, smoothed_moments
from skneuralde.estimators.rows.transitions import transitions_to
from skneuralde.inference import DiagonalGaussian, Model, PredictiveDistribution, TransitionSource
from skneuralde.losses import started
from skneuralde.noise import keyed_normals

#: Stand for the number of the path in the keys of observation noise and of choices between components. Paths have
#: numbers from 0 on, and `skneuralde.estimators.prediction.simulation` uses -2.
_OF_OBSERVATIONS, _OF_CHOICES = -1, -3


@dataclass(frozen=True)
class View:
    """The quantity that is predicted: the observation of a state or, with ``of_states``, the state itself."""

    model: Model
    setup: Setup
    of_states: bool = False

    @torch.no_grad()
    def distribution(self, states: PredictiveDistribution) -> PredictiveDistribution:
        """The distribution of the quantity, from that of the state."""
        return states if self.of_states else states.observed(self.model.observed)

    @torch.no_grad()
    def paths(self, states: np.ndarray) -> np.ndarray:
        """The quantity without noise, for states ``(..., n_states)``."""
        if self.of_states or self.model.observation is None:
            return states
        outputs = self.model.observation(self.setup.tensor(states.reshape(-1, states.shape[-1])))
        return outputs.cpu().numpy().reshape(*states.shape[:-1], -1)

    @property
    def noise(self) -> torch.Tensor | None:
        """Standard deviation of the observation noise."""
        noise = self.model.noise_std
        return None if self.of_states or noise is None else noise.detach()


def forecast(model: Model, panel: Panel, asked: np.ndarray, setup: Setup, *, of_states: bool = False) -> Forecast:
    """The predictive distribution of observations, or of states, at the positions ``asked``.

    In tables and one transition ahead, moments are propagated. Otherwise an equation without noise is solved, and paths
    of an equation with noise are simulated.
    """
    view = View(model, setup, of_states)
    dim = setup.n_states if of_states else panel.values.shape[1]
    result = Forecast(np.full((len(asked), dim), np.nan), np.zeros((len(asked), dim)))
    far = np.ones(len(asked), dtype=bool)
    states = infer_states(model, panel, setup, asked)
    if _has_moments(model, panel, setup):
        if setup.layout.has_series:
            start = previous(panel, states.known)[asked]
            horizon = panel.times[asked] - panel.times[np.maximum(start, 0)]
            far = (start < 0) | (horizon > setup.longest)
        else:
            far[:] = False
        if not far.all():
            _, transitions = transitions_to(panel, asked[~far], setup, states)
            result.put(np.flatnonzero(~far), view.distribution(propagate(model, transitions, setup)))
    if setup.origin == "smooth":
        rows, state = smoothed_moments(model, panel, asked, setup, states)
        result.put(rows, view.distribution(state))
        far[rows] = False
    if far.any():
        _forecast_far(result, np.flatnonzero(far), view, panel, asked, states)
    return result


def _forecast_far(
    result: Forecast, rows: np.ndarray, view: View, panel: Panel, asked: np.ndarray, states: States
) -> None:
    """Set the ``rows`` of a forecast by a solved curve or simulated paths."""
    model, setup, positions = view.model, view.setup, asked[rows]
    certain = model.problem.diffusion is None and states.cov is None
    n_paths = 1 if certain else setup.n_predict_paths
    paths = view.paths(simulate(model, panel, positions, setup, states, n_paths=n_paths, seed=setup.seed))
    noise = 0.0 if view.noise is None else view.noise.cpu().numpy()
    result.mean[rows] = paths.mean(axis=0)
    result.std[rows] = np.sqrt(paths.var(axis=0) + noise**2)
    if n_paths > 1:
        result.put_samples(rows, _with_noise(paths, view, panel, positions, setup, setup.seed))
    else:
        result.parts.append(
            (rows, ClosedForm(DiagonalGaussian(setup.tensor(result.mean[rows]), setup.tensor(result.std[rows]))))
        )


def _has_moments(model: Model, panel: Panel, setup: Setup) -> bool:
    """Whether predictions one transition ahead come from propagated moments."""
    if not setup.layout.has_series:
        return setup.loss.of_transitions
    spreads = model.problem.diffusion is not None and model.propagator is not None
    return setup.origin != "start" and (spreads or filters(panel, setup))


@torch.no_grad()
def propagate(model: Model, source: TransitionSource, setup: Setup) -> PredictiveDistribution:
    """The distribution of the states at the ends of transitions."""
    transitions = source.select(torch.arange(len(source), device=source.device))
    return model.state_distribution(started(transitions, model) if setup.layout.encodes else transitions)


@torch.no_grad()
def log_density(model: Model, panel: Panel, asked: np.ndarray, setup: Setup) -> np.ndarray:
    """Log density of the values at the positions ``asked`` given the values before, ``(n,)``.

    NaN at the initial state of a series.
    """
    density = np.full(len(asked), np.nan)
    values = setup.tensor(panel.values[asked])
    if model.problem.diffusion is None and setup.layout.has_series and not filters(panel, setup):
        result = forecast(model, panel, asked, setup)
        normal = DiagonalGaussian(setup.tensor(result.mean), setup.tensor(result.std))
        density[:] = normal.log_density(values).cpu().numpy()
        if setup.initial_state == "first":
            density[origin_positions(panel, setup)[panel.series_of[asked]] == asked] = np.nan
        return density
    rows, distribution = distribution_given_past(model, panel, asked, setup)
    density[rows] = distribution.log_density(values[setup.index(rows)]).cpu().numpy()
    return density


@torch.no_grad()
def distribution_given_past(
    model: Model, panel: Panel, asked: np.ndarray, setup: Setup
) -> tuple[np.ndarray, PredictiveDistribution]:
    """The distributions of the observations at the positions ``asked``, given the observations before each.

    Returns
    -------
    rows : int array of shape (n,)
        The positions in ``asked`` that follow an observation.
    distribution : PredictiveDistribution
        That of these rows.

    Raises
    ------
    ValueError
        For an equation whose only noise is jumps.
    """
    if model.propagator is None:
        raise ValueError(
            "Without a diffusion the state has no density between jumps, so that a likelihood is infinite or zero. Fit "
            "with a diffusion, however small."
        )
    stop, transitions = transitions_to(panel, asked, setup, infer_states(model, panel, setup, asked))
    return np.searchsorted(asked, stop), View(model, setup).distribution(propagate(model, transitions, setup))


@torch.no_grad()
def draw(model: Model, panel: Panel, asked: np.ndarray, setup: Setup, *, n_samples: int, seed: int) -> np.ndarray:
    """Samples of the observations at the positions ``asked``, ``(n_samples, n, dim)``.

    Raises
    ------
    ValueError
        For smoothed states, which cannot be simulated forwards.
    """
    if setup.origin == "smooth":
        raise ValueError("origin='smooth' looks back, and paths are drawn forwards: fit with origin='last' or 'start'.")
    if not setup.layout.has_series and setup.loss.of_transitions:
        _, transitions = transitions_to(panel, asked, setup)
        distribution = View(model, setup).distribution(propagate(model, transitions, setup))
        normals = _normals(panel, asked, setup, n_samples, seed)
        choice = _normals(panel, asked, setup, n_samples, seed, purpose=_OF_CHOICES)[..., 0]
        return distribution.draw(normals, choice).cpu().numpy()
    states = infer_states(model, panel, setup, asked)
    certain = model.problem.diffusion is None and states.cov is None
    view = View(model, setup)
    paths = view.paths(simulate(model, panel, asked, setup, states, n_paths=1 if certain else n_samples, seed=seed))
    return _with_noise(np.broadcast_to(paths, (n_samples, *paths.shape[1:])), view, panel, asked, setup, seed)


def _with_noise(paths: np.ndarray, view: View, panel: Panel, asked: np.ndarray, setup: Setup, seed: int) -> np.ndarray:
    """Paths with observation noise."""
    if view.noise is None:
        return paths
    return paths + (view.noise * _normals(panel, asked, setup, len(paths), seed)).cpu().numpy()


def _normals(
    panel: Panel, asked: np.ndarray, setup: Setup, n_samples: int, seed: int, purpose: int = _OF_OBSERVATIONS
) -> torch.Tensor:
    """Standard normals ``(n_samples, n, dim)``, keyed by sample, series and time."""
    paths = torch.arange(n_samples, device=setup.device)[:, None, None]
    keys = series_keys(panel, panel.series_of[asked], None, setup)[:, None]
    moments = setup.times(panel.times[asked]).view(torch.int64)[:, None]
    dims = torch.arange(panel.values.shape[1], device=setup.device)
    return keyed_normals(seed, torch.full_like(paths, purpose), paths, keys, moments, dims).to(setup.dtype)
