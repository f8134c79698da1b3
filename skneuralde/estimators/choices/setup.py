"""The choices that fit makes for the caller, and the model that it starts from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from skneuralde.data import Panel, Roles
from skneuralde.data.positions import where
from skneuralde.data.timeline import complete, previous
from skneuralde.estimators.choices.loss import choose_loss, is_silent
from skneuralde.estimators.config.scales import Scales
from skneuralde.estimators.config.setup import Methods, Setup
from skneuralde.estimators.model.initial_model import MANY_SERIES
from skneuralde.estimators.prediction.forecast import simulate
from skneuralde.estimators.rows.objectives import (
    LOSSES_OF_DISTANCE,
    LOSSES_OF_LAW,
    TRANSITION_LOSSES,
    are_snapshots,
    is_uncertain,
    snapshot_transitions,
    transitions_to,
)
from skneuralde.estimators.rows.states import (
    chains_of,
    filter_calibration,
    filters,
    infer_states,
    observed,
    origin_positions,
)
from skneuralde.inference import JumpSplitting, LocalLinearisation, Model, Observation, Selection, SolverSettings
from skneuralde.losses import Objective, PathObjective
from skneuralde.problems import FieldProblem, Problem
from skneuralde.solvers import Solver, choose_solver, get_solver
from skneuralde.terms import Constant
from skneuralde.training import LBFGS, Adam, EvaluateOnly, Optimizer, StoppingRule, trainable

#: Fixed steps per median gap between observations, where dt is not given; fewer for methods of order two in law.
_STEPS_PER_GAP, _FEW_STEPS_PER_GAP = 10, 4
#: Length of the noise's cells, beyond which no adaptive step with noise can grow, in median gaps.
_GAPS_PER_CELL = 16
#: Up to so many parameters a loss without noise is minimised by L-BFGS, to this precision.
FEW_PARAMETERS, _NEWTON_TOL = 64, 1e-10


def fresh_seed(random_state: int | np.random.RandomState | np.random.Generator | None) -> int:
    """A seed that leaves numpy's global random state alone."""
    if isinstance(random_state, (np.random.RandomState, np.random.Generator)):
        draw = random_state.integers if isinstance(random_state, np.random.Generator) else random_state.randint
        return int(draw(2**31 - 1))
    return int(np.random.default_rng(random_state).integers(2**31 - 1))


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device that the parameter names.

    Raises
    ------
    ValueError
        When it is not there.
    """
    if device is None:
        return torch.device("cpu")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} is not available: {error}. Use device='auto' or None for the CPU."
        ) from error
    return chosen


def choose_setup(
    estimator: Any,
    panel: Panel,
    roles: Roles,
    problem: Problem,
    scales: Scales,
    observation: Observation | None,
    *,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Setup:
    """Settle everything that the constructor left to "auto"."""
    smallest = 10.0 * torch.finfo(dtype).eps
    if estimator.rtol < smallest:
        raise ValueError(
            f"rtol must be at least ten machine epsilons of {dtype}, {smallest:.1e}, got {estimator.rtol!r}."
        )
    is_hidden = observes_in_part(estimator, roles)
    loss = choose_loss(estimator.loss, roles.layout, roles.initial_state, problem, is_hidden)
    is_transition = loss in TRANSITION_LOSSES
    origin = estimator.origin
    if origin == "auto":
        origin = "last" if is_transition and roles.layout == "series" else "start"
    if origin == "smooth" and loss not in TRANSITION_LOSSES:
        raise ValueError(f"origin='smooth' needs loss='nll', which weighs every observation; got loss={loss!r}.")
    if origin in ("last", "smooth") and (roles.layout != "series" or roles.initial_state != "first"):
        raise ValueError(f"origin={origin!r} needs series that start at an observation: initial_state='first'.")
    interpolation = estimator.control_interpolation
    if interpolation == "auto":
        interpolation = "next" if is_transition else "linear"
    start_time = 0.0 if roles.layout == "flow" else float(panel.times.min())
    grid = () if roles.state is None else roles.state[:-1]
    points = math.prod(grid)
    return Setup(
        layout=roles.layout,
        initial_state="context" if roles.layout == "table" else roles.initial_state,
        loss=loss,
        origin=origin,
        interpolation=interpolation,
        n_states=points * len(scales.state[0]),
        components=_components(observation, points * len(scales.state[0])),
        is_hidden=is_hidden,
        rtol=estimator.rtol,
        methods=choose_methods(estimator, problem, scales, loss, dtype, device, points),
        start_time=start_time,
        longest=_longest_transition(panel, observed(panel) if is_transition else complete(panel)),
        seed=seed,
        n_predict_paths=estimator.n_predict_paths,
        dtype=dtype,
        device=device,
        jumps=len(problem.jumps) > 0,
        grid=grid,
        snapshots=loss == "energy" and are_snapshots(panel, roles.layout, roles.initial_state),
    )


def choose_methods(
    estimator: Any,
    problem: Problem,
    scales: Scales,
    loss: str,
    dtype: torch.dtype,
    device: torch.device,
    points: int = 1,
) -> Methods:
    """The solvers of curves in training, of paths and of moments, at their tolerances.

    With noise the local error of an adaptive method may be as large as that of a prediction whose divergence from the
    exact one is ``rtol`` nats, in standard deviations of y, wherever the state is. Rates without a bound need steps of
    their own, also where those of "auto" are fixed.
    """
    training, paths, moments = choose_solvers(estimator.solver, problem, loss)
    scale = torch.as_tensor(scales.state[1], dtype=dtype).repeat(points).to(device)
    smallest = 10.0 * torch.finfo(dtype).eps
    with_noise = problem.diffusion is not None

    def method(solver: Solver, on_paths: bool, fixed: bool = False) -> SolverSettings:
        dt = None
        if fixed or not solver.adaptive:
            accurate = (solver.weak_order or 0.0) >= 2.0 or (solver.strong_order or 0.0) >= 1.5
            steps = _FEW_STEPS_PER_GAP if accurate else _STEPS_PER_GAP
            dt = scales.spacing / steps if estimator.dt is None else estimator.dt
        by_noise = with_noise and on_paths
        return SolverSettings(
            solver,
            rtol=None if fixed else smallest if by_noise else estimator.rtol,
            atol=(estimator.atol + (math.sqrt(2.0 * estimator.rtol) if by_noise else 0.0)) * scale,
            dt=dt,
            max_steps=estimator.max_steps,
            cell=_GAPS_PER_CELL * scales.spacing if dt is None else dt,
            hazard_rtol=estimator.rtol,
        )

    steady = loss in LOSSES_OF_DISTANCE or len(problem.jumps) > 0
    steady = steady and not _unbounded(problem) and estimator.solver == "auto"
    return Methods(
        training=method(training, True, steady),
        paths=method(paths, True),
        moments=None if moments is None else method(moments, False),
    )


def _unbounded(problem: Problem) -> list[int]:
    """The channels of jumps whose rates vary below no bound."""
    return [k for k, jump in enumerate(problem.jumps) if jump.bound is None and not isinstance(jump.rate, Constant)]


def choose_solvers(name: str, problem: Problem, loss: str) -> tuple[Solver, Solver, Solver | None]:
    """Solvers of curves in training, of paths, and of moments; None for the latter is the local linearisation.

    One name serves where it can: an equation's moments are an equation without noise, and paths that somebody looks at
    need a method that converges path by path. Elsewhere "auto" chooses, and ``solver_stats_`` says so.
    """
    path_by_path = get_solver(choose_solver(problem))
    is_transition = loss in TRANSITION_LOSSES
    in_law = get_solver("platen")
    if name == "auto":
        suits = loss in LOSSES_OF_LAW and problem.diffusion is not None and in_law.handles(problem.noise)
        suits = suits and not len(problem.jumps)  # between jumps its three-valued increments are too few to average
        if isinstance(problem, FieldProblem) and problem.drift.diffusion is not None and problem.sparsity is None:
            # A step costs a fraction of the implicit one's, which repays on stiff laws only.
            return get_solver("etdrk4"), path_by_path, None
        return (in_law if suits else path_by_path), path_by_path, None
    solver = get_solver(name)
    if problem.diffusion is None:
        solver.check(problem)
        return solver, solver, solver
    without_noise, with_noise = solver.handles(None), solver.handles(problem.noise)
    if is_transition and not without_noise:
        raise ValueError(
            f"solver={name!r} cannot propagate moments, which loss='nll' needs: moments are an equation without noise. "
            "Use solver='auto' or a method for ordinary equations such as 'tsit5', or loss='mean' to train on paths."
        )
    if not is_transition and not with_noise:
        solver.check(problem)
    converges = with_noise and solver.strong_order is not None
    return (
        solver if with_noise else path_by_path,
        solver if converges else path_by_path,
        solver if without_noise else None,
    )


def _components(observation: Observation | None, n_states: int) -> tuple[int, ...] | None:
    """The components of the state that are observed as they are; None where functions of it are."""
    if observation is None:
        return tuple(range(n_states))
    return tuple(observation.components.tolist()) if isinstance(observation, Selection) else None


def observes_in_part(estimator: Any, roles: Roles) -> bool:
    """Whether observations of series leave their state uncertain.

    Raises
    ------
    ValueError
        Where rows are no series, so that nothing can be filtered.
    """
    partly = estimator.n_states is not None or estimator.observation is not None
    noisy = not isinstance(estimator.observation_noise, str) or estimator.observation_noise == "learn"
    if roles.layout == "series":
        return partly or noisy
    if partly or (noisy and roles.layout == "flow"):
        raise ValueError(
            "n_states, observation and observation_noise are for series: rows of a plain table and flow maps start at "
            "states of their own."
        )
    return False


def _longest_transition(panel: Panel, eligible: np.ndarray) -> float:
    before = previous(panel, eligible)
    stop = where(before >= 0)
    return float((panel.times[stop] - panel.times[before[stop]]).max(initial=0.0))


def validation_split(panel: Panel, setup: Setup, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions to train on and positions to validate on: whole series, or the last part of time."""
    rows = np.ones(len(panel.times), dtype=bool)
    n_series = len(panel.labels)
    # A series whose initial state is learned must be there in training.
    if setup.layout != "series" or (n_series >= MANY_SERIES and setup.initial_state != "learn"):
        held = np.random.default_rng(seed).permutation(n_series)[: max(1, round(fraction * n_series))]
        rows[np.isin(panel.series_of, held)] = False
    else:
        # Where many runs share few times, more than the fraction may be last: then the last time is held out.
        last = panel.times.max()
        rows[(panel.times > np.quantile(panel.times, 1.0 - fraction)) | (panel.times == last)] = False
    return rows, ~rows


def choose_optimizer(
    estimator: Any, model: Model, objective: Objective, validated: bool
) -> tuple[Optimizer, StoppingRule]:
    """The optimizer that the parameters name and when it stops.

    Quasi-Newton steps are for a loss without simulation noise that either has few parameters, and so a maximum to find,
    or comes from curves, where a gradient is dear and an epoch only one step.

    Raises
    ------
    ValueError
        For quasi-Newton steps on simulated paths whose jumps come and go with the weights: that loss has steps.
    """
    if estimator.optimizer == "lbfgs" and isinstance(objective, PathObjective) and _jumps_move(model.problem):
        raise ValueError(
            "optimizer='lbfgs' needs a smooth loss. Where a rate of jumps is learned or depends on the state, the "
            "number of jumps in simulated paths changes with the weights, and the loss with it, abruptly. Use "
            "optimizer='adam' ('auto' takes it), or loss='nll', which simulates nothing."
        )
    n_parameters = sum(p.numel() for p in trainable(model))
    if n_parameters == 0:
        return EvaluateOnly(), StoppingRule(max_iter=1, tol=0.0, patience=None, cooldown=0)
    batch_size = 512 if estimator.batch_size == "auto" else int(estimator.batch_size)
    few = n_parameters <= FEW_PARAMETERS
    suits = not objective.stochastic and (few or (objective.is_sequential and len(objective) <= batch_size))
    if estimator.optimizer == "lbfgs" or (estimator.optimizer == "auto" and suits):
        tol = _NEWTON_TOL if few else min(1e-6, estimator.tol)
        # Losses of different numbers of paths are not to be compared.
        grows = isinstance(objective, PathObjective) and objective.n_paths(1) != objective.n_paths(estimator.max_iter)
        patience = None if grows else 2
        return LBFGS(model), StoppingRule(max_iter=estimator.max_iter, tol=tol, patience=patience, cooldown=0)
    stopping = StoppingRule(
        max_iter=estimator.max_iter,
        tol=estimator.tol,
        patience=None if objective.stochastic and not validated else estimator.n_iter_no_change,
        cooldown=0 if validated else max(1, estimator.max_iter // 4),
    )
    return Adam(model, learning_rate=estimator.learning_rate_init, batch_size=batch_size), stopping


def _jumps_move(problem: Problem) -> bool:
    """Whether the jumps of simulated paths can change with the weights, for the same noise."""
    return any(
        jump.rate.state_dependent or any(p.requires_grad for p in jump.rate.parameters()) for jump in problem.jumps
    )


def calibrate_finally(model: Model, panel: Panel, setup: Setup) -> None:
    """Leave a propagator in the model that is fine enough for its final coefficients."""
    if filters(panel, setup):
        stop, chains = chains_of(panel, setup)
        if len(stop):
            model.propagator = filter_calibration(chains, setup)(model)
        return
    if setup.layout == "series" and (model.problem.diffusion is None or is_silent(model.problem)):
        return
    _, transitions = transitions_to(panel, where(is_uncertain(panel, setup)), setup)
    if setup.snapshots:
        transitions = snapshot_transitions(panel, setup)
    if len(transitions):
        model.propagator = setup.calibration(transitions)(model)


def measure_residual_noise(model: Model, panel: Panel, setup: Setup) -> None:
    """Give an equation without noise the spread of its residuals as observation noise."""
    if model.problem.diffusion is not None or setup.loss != "least_squares":
        return
    states = infer_states(model, panel, setup, np.arange(len(panel.times)))
    paths = simulate(model, panel, np.arange(len(panel.times)), setup, states, n_paths=1, seed=setup.seed)
    residual = paths[0] - panel.values
    if setup.initial_state == "first":
        first = origin_positions(panel, setup)
        residual[first[first >= 0]] = np.nan
    observed = ~np.isnan(residual)
    weight = panel.weight[:, None] * observed
    # The points of a grid have one variance for each field.
    squares, total = (
        x.sum(0).reshape(setup.n_points, -1).sum(0) for x in (weight * np.where(observed, residual, 0.0) ** 2, weight)
    )
    set_residual_noise(model, np.sqrt(squares / np.maximum(total, 1e-300)), setup)


def set_residual_noise(model: Model, std: np.ndarray, setup: Setup) -> None:
    """Give an equation without noise observation noise of these deviations, one for each field or output."""
    spread = setup.tensor(np.maximum(std, np.sqrt(np.finfo(np.float32).tiny))).repeat(setup.n_points)
    model.log_noise = torch.nn.Parameter(spread.log(), requires_grad=False)


def describe_solvers(model: Model, setup: Setup) -> dict[str, object]:
    """What "auto" chose."""
    methods = setup.methods
    stats: dict[str, object] = {"paths": methods.paths.solver.name, "dt": methods.paths.dt}
    if setup.loss not in TRANSITION_LOSSES:
        stats.update(training=methods.training.solver.name, training_dt=methods.training.dt)
    propagator = model.propagator
    if isinstance(propagator, JumpSplitting):
        stats.update(jump_times=propagator.nodes, jump_numbers=propagator.most)
        propagator = propagator.moment_propagator
    if isinstance(propagator, LocalLinearisation):
        stats.update(moments="local_linearisation", substep=propagator.substep)
    elif methods.moments is not None:
        stats["moments"] = methods.moments.solver.name
    return stats
