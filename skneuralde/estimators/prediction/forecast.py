"""What a fitted model says of rows: moments, simulated paths, densities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from skneuralde.data.panel import Panel
from skneuralde.data.timeline import previous
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.prediction.distributions import Forecast, OfLaw
from skneuralde.estimators.rows.objectives import input_path, series_keys, transitions_to
from skneuralde.estimators.rows.states import States, filters, infer_states, origin_positions, smoothed_moments
from skneuralde.inference import Curves, DiagonalGaussian, Model, PredictiveDistribution, TransitionSource
from skneuralde.losses import started
from skneuralde.noise import keyed_normals

#: What tells the noise of observations, the draws of where paths start, and the choices between components, from the
#: noise along the paths, whose keys have the number of a path in this place.
_OF_OBSERVATIONS, _OF_STARTS, _OF_CHOICES = -1, -2, -3
#: Values that are simulated at once at most.
_CHUNK = 20_000_000


@dataclass(frozen=True)
class Origins:
    """Where each asked position starts from.

    Attributes
    ----------
    state : ndarray of shape (n_origins, n_states)
    cov : ndarray of shape (n_origins, n_states, n_states) or None
        None where the states are known exactly.
    time : ndarray of shape (n_origins,)
    series : int array of shape (n_origins,)
        Codes into the panel's labels.
    own_key : bool
        Whether a series has several origins, so that the noise is keyed by the time of origin, too.
    of : int array of shape (n,)
        The origin of each asked position.
    """

    state: np.ndarray
    cov: np.ndarray | None
    time: np.ndarray
    series: np.ndarray
    own_key: bool
    of: np.ndarray


@dataclass(frozen=True)
class View:
    """What is asked of states: what would be observed of them, or, ``of_states``, they themselves."""

    model: Model
    setup: Setup
    of_states: bool = False

    @torch.no_grad()
    def law(self, of_states: PredictiveDistribution) -> PredictiveDistribution:
        """The law of what is asked, from that of states."""
        return of_states if self.of_states else of_states.observed(self.model.observed)

    @torch.no_grad()
    def paths(self, states: np.ndarray) -> np.ndarray:
        """Outputs without noise of states (..., n_states)."""
        if self.of_states or self.model.observation is None:
            return states
        outputs = self.model.observation(self.setup.tensor(states.reshape(-1, states.shape[-1])))
        return outputs.cpu().numpy().reshape(*states.shape[:-1], -1)

    @property
    def noise(self) -> torch.Tensor | None:
        """Standard deviation of the observation noise."""
        noise = self.model.noise_std
        return None if self.of_states or noise is None else noise.detach()


def find_origins(model: Model, panel: Panel, asked: np.ndarray, setup: Setup, states: States) -> Origins:
    """Where the positions ``asked`` of a panel start from.

    Raises
    ------
    ValueError
        For a series that has no state to start from.
    """
    if setup.layout == "series" and setup.initial_state == "first":
        first = origin_positions(panel, setup)[panel.series_of[asked]]
        if (first < 0).any():
            raise ValueError(unknown_series(panel.labels[panel.series_of[asked[np.argmin(first)]]]))
        start = first
        if setup.origin != "start":
            before = previous(panel, states.known)[asked]
            start = np.where(before >= 0, before, first)
        start, of = np.unique(start, return_inverse=True)
        series = panel.series_of[start]
        cov = None if states.cov is None else states.cov[start]
        return Origins(states.mean[start], cov, panel.times[start], series, setup.origin != "start", of)
    series, of = np.unique(panel.series_of[asked], return_inverse=True)
    context = setup.tensor(panel.context[panel.offsets[:-1][series]])
    time = np.full(len(series), setup.start_time)
    if setup.initial_state == "columns":
        state = panel.initial[panel.offsets[:-1][series]]
    elif setup.initial_state == "learn":
        known = 0 if model.states is None else len(model.states)
        if series.max(initial=-1) >= known:
            label = panel.labels[int(series.max())]
            raise ValueError(f"Series {label!r} was not in fit, so it has no learned initial state.")
        state = model.learned_states(setup.index(series)).detach().cpu().numpy()
    else:
        with torch.no_grad():
            state = model.encode(setup.times(time), context, panel.values.shape[1]).cpu().numpy()
    return Origins(state, None, time, series, False, of)


def unknown_series(label: object) -> str:
    """The message for a series without a state."""
    return (
        f"Series {label!r} has no observed state to start from: it was not in fit. Append its first observations by "
        "update_state(X, y), then ask again. A scorer by name, such as 'r2', asks like this; score and the scorers of "
        "skneuralde.metrics start it at its first y by themselves."
    )


def forecast(model: Model, panel: Panel, asked: np.ndarray, setup: Setup, *, of_states: bool = False) -> Forecast:
    """The predictive distribution at the positions ``asked`` of what would be observed, or of the states.

    Moments are propagated in tables and one transition ahead, curves are solved for equations without noise, paths are
    simulated otherwise.
    """
    view = View(model, setup, of_states)
    dim = setup.n_states if of_states else panel.values.shape[1]
    result = Forecast(np.full((len(asked), dim), np.nan), np.zeros((len(asked), dim)))
    far = np.ones(len(asked), dtype=bool)
    states = infer_states(model, panel, setup, asked)
    if _has_moments(model, panel, setup):
        if setup.layout == "series":
            start = previous(panel, states.known)[asked]
            horizon = panel.times[asked] - panel.times[np.maximum(start, 0)]
            far = (start < 0) | (horizon > setup.longest)
        else:
            far[:] = False
        if not far.all():
            _, transitions = transitions_to(panel, asked[~far], setup, states)
            result.put_law(np.flatnonzero(~far), view.law(propagate(model, transitions, setup)))
    if setup.origin == "smooth":
        rows, state = smoothed_moments(model, panel, asked, setup, states)
        result.put_law(rows, view.law(state))
        far[rows] = False
    if far.any():
        _forecast_far(result, np.flatnonzero(far), view, panel, asked, states)
    return result


def _forecast_far(
    result: Forecast, rows: np.ndarray, view: View, panel: Panel, asked: np.ndarray, states: States
) -> None:
    """Fill in the ``rows`` of a forecast that no propagated moments reach: by solved curves, or simulated paths."""
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
            (rows, OfLaw(DiagonalGaussian(setup.tensor(result.mean[rows]), setup.tensor(result.std[rows]))))
        )


def _has_moments(model: Model, panel: Panel, setup: Setup) -> bool:
    """Whether predictions come from propagated moments where they can."""
    if setup.layout != "series":
        return setup.loss == "nll"
    spreads = model.problem.diffusion is not None and model.propagator is not None
    return setup.origin != "start" and (spreads or filters(panel, setup))


@torch.no_grad()
def propagate(model: Model, source: TransitionSource, setup: Setup) -> PredictiveDistribution:
    """The law of the states at the ends of transitions."""
    transitions = source.select(torch.arange(len(source), device=source.device))
    return model.state_distribution(started(transitions, model) if setup.encodes else transitions)


@torch.no_grad()
def log_density(model: Model, panel: Panel, asked: np.ndarray, setup: Setup) -> np.ndarray:
    """Log density of the values at the positions ``asked``, given those before them; (n,).

    NaN at the initial state of a series.
    """
    density = np.full(len(asked), np.nan)
    values = setup.tensor(panel.values[asked])
    if model.problem.diffusion is None and setup.layout == "series" and not filters(panel, setup):
        result = forecast(model, panel, asked, setup)
        normal = DiagonalGaussian(setup.tensor(result.mean), setup.tensor(result.std))
        density[:] = normal.log_density(values).cpu().numpy()
        if setup.initial_state == "first":
            density[origin_positions(panel, setup)[panel.series_of[asked]] == asked] = np.nan
        return density
    rows, law = law_given_past(model, panel, asked, setup)
    density[rows] = law.log_density(values[setup.index(rows)]).cpu().numpy()
    return density


@torch.no_grad()
def law_given_past(
    model: Model, panel: Panel, asked: np.ndarray, setup: Setup
) -> tuple[np.ndarray, PredictiveDistribution]:
    """The laws of what is observed at the positions ``asked``, given the observations before each.

    Returns
    -------
    rows : int array of shape (n,)
        Which of ``asked`` something precedes.
    law : PredictiveDistribution
        Of these.

    Raises
    ------
    ValueError
        For an equation that spreads the state by nothing but jumps.
    """
    if model.propagator is None:
        raise ValueError(
            "Without a diffusion nothing between jumps has a density, and a likelihood is infinite or zero. Fit with a "
            "diffusion, however small."
        )
    stop, transitions = transitions_to(panel, asked, setup, infer_states(model, panel, setup, asked))
    return np.searchsorted(asked, stop), View(model, setup).law(propagate(model, transitions, setup))


def simulate(
    model: Model, panel: Panel, asked: np.ndarray, setup: Setup, states: States, *, n_paths: int, seed: int
) -> np.ndarray:
    """Simulated states at the positions ``asked``, ``(n_paths, n, n_states)``, jointly within each origin.

    An equation without noise runs backwards before its origin; a noisy one gives the state at equal lag after it.
    """
    origins = find_origins(model, panel, asked, setup, states)
    lag = panel.times[asked] - origins.time[origins.of]
    if model.problem.diffusion is not None:
        lag = np.abs(lag)
    out = np.empty((n_paths, len(asked), setup.n_states), dtype=str(setup.dtype).removeprefix("torch."))
    # A row at its origin is where it starts from; nothing has to be solved.
    there = (lag == 0) & (origins.cov is None)
    out[:, there] = origins.state[origins.of[there]]
    for backwards in (False, True):
        rows = np.flatnonzero(~there & ((lag < 0) == backwards))
        if len(rows):
            _solve_rows(model, panel, origins, rows, lag[rows], setup, n_paths, seed, out)
    return out


@torch.no_grad()
def _solve_rows(
    model: Model,
    panel: Panel,
    origins: Origins,
    rows: np.ndarray,
    lag: np.ndarray,
    setup: Setup,
    n_paths: int,
    seed: int,
    out: np.ndarray,
) -> None:
    """Solve all origins of ``rows`` and put their states into ``out[:, rows]``."""
    used, group = np.unique(origins.of[rows], return_inverse=True)
    order = np.lexsort((np.abs(lag), group))
    rows, lag, group = rows[order], lag[order], group[order]
    distinct = np.ones(len(rows), dtype=bool)
    distinct[1:] = (group[1:] != group[:-1]) | (lag[1:] != lag[:-1])
    slot = np.cumsum(distinct) - 1
    counts = np.bincount(group[distinct], minlength=len(used))
    begin = np.concatenate([[0], np.cumsum(counts)[:-1]])
    column = (slot - begin[group]) + 1
    per_group = max(1, _CHUNK // max(1, n_paths * (int(counts.max()) + 1) * out.shape[2]))
    for first in range(0, len(used), per_group):
        chunk = used[first : first + per_group]
        inside = (group >= first) & (group < first + per_group)
        times = np.full((len(chunk), int(counts[first : first + per_group].max()) + 1), np.nan)
        times[:, 0] = origins.time[chunk]
        times[group[inside] - first, column[inside]] = origins.time[chunk][group[inside] - first] + lag[inside]
        series = origins.series[chunk]
        keys = series_keys(panel, series, origins.time[chunk] if origins.own_key else None, setup)
        curves = Curves(setup.times(times), input_path(panel, series, setup), keys)
        start = setup.tensor(origins.state[chunk])
        if origins.cov is not None:
            start = start + _draw_around(setup.tensor(origins.cov[chunk]), keys, n_paths, seed)
        values, _ = curves.solve(
            model.problem,
            start,
            setup.methods.paths,
            n_paths=n_paths,
            seed=seed,
            side_steps=True,
        )
        out[:, rows[inside]] = values[:, setup.index(group[inside] - first), setup.index(column[inside])].cpu().numpy()


def _draw_around(cov: torch.Tensor, keys: torch.Tensor, n_paths: int, seed: int) -> torch.Tensor:
    """Draws ``(n_paths, n, dim)`` with covariances ``(n, dim, dim)``, which may be singular, around zero."""
    paths = torch.arange(n_paths, device=keys.device)[:, None, None]
    dims = torch.arange(cov.shape[-1], device=keys.device)
    normals = keyed_normals(seed, torch.full_like(paths, _OF_STARTS), paths, keys[:, None], dims).to(cov.dtype)
    values, vectors = torch.linalg.eigh(cov)
    return ((vectors * values.clamp_min(0.0).sqrt()[:, None, :]) @ normals[..., None])[..., 0]


@torch.no_grad()
def draw(model: Model, panel: Panel, asked: np.ndarray, setup: Setup, *, n_samples: int, seed: int) -> np.ndarray:
    """Samples of what would be observed at the positions ``asked``, ``(n_samples, n, dim)``.

    Raises
    ------
    ValueError
        For smoothed states, which are not drawn.
    """
    if setup.origin == "smooth":
        raise ValueError("origin='smooth' looks back, and paths are drawn forwards: fit with origin='last' or 'start'.")
    if setup.layout != "series" and setup.loss == "nll":
        _, transitions = transitions_to(panel, asked, setup)
        law = View(model, setup).law(propagate(model, transitions, setup))
        normals = _normals(panel, asked, setup, n_samples, seed)
        choice = _normals(panel, asked, setup, n_samples, seed, purpose=_OF_CHOICES)[..., 0]
        return law.draw(normals, choice).cpu().numpy()
    states = infer_states(model, panel, setup, asked)
    certain = model.problem.diffusion is None and states.cov is None
    view = View(model, setup)
    paths = view.paths(simulate(model, panel, asked, setup, states, n_paths=1 if certain else n_samples, seed=seed))
    return _with_noise(np.broadcast_to(paths, (n_samples, *paths.shape[1:])), view, panel, asked, setup, seed)


def _with_noise(paths: np.ndarray, view: View, panel: Panel, asked: np.ndarray, setup: Setup, seed: int) -> np.ndarray:
    """Paths with the observation noise that belongs to them."""
    if view.noise is None:
        return paths
    return paths + (view.noise * _normals(panel, asked, setup, len(paths), seed)).cpu().numpy()


def _normals(
    panel: Panel, asked: np.ndarray, setup: Setup, n_samples: int, seed: int, purpose: int = _OF_OBSERVATIONS
) -> torch.Tensor:
    """Standard normals ``(n_samples, n, dim)`` that belong to a sample, a series and a time."""
    paths = torch.arange(n_samples, device=setup.device)[:, None, None]
    keys = series_keys(panel, panel.series_of[asked], None, setup)[:, None]
    moments = setup.times(panel.times[asked]).view(torch.int64)[:, None]
    dims = torch.arange(panel.values.shape[1], device=setup.device)
    return keyed_normals(seed, torch.full_like(paths, purpose), paths, keys, moments, dims).to(setup.dtype)
