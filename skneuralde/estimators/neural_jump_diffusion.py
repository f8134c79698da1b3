"""`NeuralJumpDiffusion`: an equation with noise and jumps learned from time series."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions

from skneuralde.data import Panel
from skneuralde.estimators.base import BaseDifferentialEquation
from skneuralde.estimators.choices.loss import given_loss
from skneuralde.estimators.config.scales import Scales
from skneuralde.estimators.model.coefficients import TermFactory
from skneuralde.estimators.model.jump_channels import JumpScales, build_jumps
from skneuralde.estimators.model.jump_initialisation import start_at_jumps_seen
from skneuralde.estimators.prediction.jump_detection import JumpDetection
from skneuralde.inference import Observation
from skneuralde.losses import JumpLikelihood, Objective
from skneuralde.problems import Problem
from skneuralde.terms import Copies


class NeuralJumpDiffusion(JumpDetection, BaseDifferentialEquation):
    """Learn du = f(t, u) dt + g(t, u) dW with jumps to affect(t, u, z) at the rate lambda(t, u), from time series.

    A row of X asks for the state of a series at a time; y is the value observed there. Each coefficient may be known, a
    network, a trainable module of your own, or a sum of these.

    Parameters
    ----------
    drift, diffusion : like in `NeuralSDERegressor`, default="mlp"
        With jumps ``diffusion=None`` needs a loss of simulated paths, since the state has no density between jumps.
    jump_rate : "mlp", MLP, None, number, Parameter, callable, torch.nn.Module, list of these, or tuple, default="mlp"
        Jumps per ``time_unit``. A network gives ``max_jump_rate`` times a sigmoid. A callable or module takes
        ``(t, u)`` or ``(t, u, c)`` and returns ``(batch,)`` or ``(batch, 1)``, never negative. A list is the sum of its
        elements. None is an equation without jumps. A tuple has one entry per channel; the channels jump independently.
    jump_affect : "gaussian", "mlp", MLP, number, array, Parameter, callable, torch.nn.Module, list, or tuple, \
default="gaussian"
        The state after a jump. ``"gaussian"``: u + m(u) + s(u) z with two networks and standard normal marks z.
        ``"mlp"``: a network gives the new state, which is not random. A callable or module takes ``(t, u)``,
        ``(t, u, c)``, ``(t, u, z)`` or ``(t, u, c, z)``; a number or array is the new state itself. A list is the sum
        of its elements. A tuple has one entry per channel, as many as that of ``jump_rate``.
    max_jump_rate : "auto" or float, default="auto"
        The upper bound of learned rates, per ``time_unit``. Auto: one jump per median interval between observations;
        more frequent jumps could not be told from each other. A number also bounds known rates: simulation uses it for
        thinning and raises an error if a rate exceeds it. Without a bound, simulation integrates a varying known rate
        along the path, which needs an adaptive ``solver``.
    hidden_layer_sizes, activation, noise, calculus, time, series, controls, control_interpolation, initial_state, \
origin, inputs, time_unit, n_predict_paths, solver, controller, rtol, atol, dt, max_steps, optimizer, \
learning_rate_init, max_iter, batch_size, tol, n_iter_no_change, early_stopping, validation_fraction, warm_start, \
uncertainty, n_members, on_epoch, random_state, verbose, device
        Like in `NeuralSDERegressor`. The divergence ``rtol`` of the predictive density includes the numbers and times
        of jumps.
    n_states, observation, observation_noise
        Like in `NeuralSDERegressor`. With jumps the whole state of a series must be observed without noise, in every
        row that has any observation.
    loss, debiased, n_paths
        Like in `NeuralSDERegressor`; auto is the likelihood, "nll". Losses of simulated paths have an unbiased gradient
        with respect to the rates, from the effect of one more jump in each path; see `skneuralde.expect`.

    Attributes
    ----------
    problem_ : Problem
        The learned equation, in y's units per ``time_unit_``; ``problem_.jumps`` are its channels.
    drift_, diffusion_ : Term
    jump_rate_, jump_affect_ : Term and Affect, tuples of them for several channels, or None
        Torch modules of ``(t, u, c)`` and ``(t, u, c, z)``.
    parameters_ : DataFrame
        The learned numbers.
    loss_name_, loss_reason_, loss_, best_loss_, loss_curve_, validation_scores_, n_iter_, t_ref_, time_unit_, \
series_, n_features_in_, feature_names_in_, n_outputs_, device_
        Like in `NeuralSDERegressor`. Losses include the penalty described in the Notes.
    solver_stats_ : dict
        Also ``jump_numbers``, the numbers of jumps per transition that are told apart, and ``jump_times``, the number
        of possible times of a jump.

    See Also
    --------
    NeuralSDERegressor : The same without jumps; it documents the shared parameters.

    Notes
    -----
    The likelihood of an observation given the one before is that of a mixture: it integrates over the number of jumps
    in between and, over longer intervals, over the time of a single jump (see `skneuralde.inference.jumps.splitting`).
    For Brownian motion with normal jumps that is Merton's series [1]_.

    The networks of rates and effects start at the jumps that an EM algorithm finds in the changes of series, as a
    mixture of normal distributions. If the changes do not clearly show jumps, they start at a low rate and large sizes.
    Known values and your own modules are not changed.

    Many small jumps look like a diffusion, and data cannot tell the two apart. So the standard deviation of a learned
    random jump is at least a quarter of the diffusion's over a typical interval, and the loss includes a penalty on
    jumps with a learned rate. An expected jump costs 0.1 exp(-D) nats, where D is the evidence that such a jump leaves:
    the divergence between the predictive distributions with it and without it. N expected jumps in all of the data cost
    0.5 log(1 + N). Both are small beside the information in jumps that show.

    References
    ----------
    .. [1] R. C. Merton, "Option pricing when underlying stock returns are discontinuous", Journal of Financial
       Economics 3 (1976).

    Examples
    --------
    A random walk with occasional falls, and the rows before which it fell:

    >>> import numpy as np
    >>> from skneuralde import NeuralJumpDiffusion
    >>> rng = np.random.default_rng(0)
    >>> falls = rng.random(400) < 0.03
    >>> y = np.cumsum(rng.normal(scale=0.1, size=400) - 2.0 * falls)
    >>> t = np.arange(400.0)[:, None]
    >>> model = NeuralJumpDiffusion(inputs=(), random_state=0).fit(t, y)
    >>> bool(np.array_equal(model.detect_jumps(t, y)["row"], np.flatnonzero(falls)))
    True
    """

    _coefficients = ("drift", "diffusion", "jump_rate", "jump_affect")
    _settings = (*BaseDifferentialEquation._settings, "max_jump_rate")
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDifferentialEquation._parameter_constraints,
        "max_jump_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        drift: Any = "mlp",
        diffusion: Any = "mlp",
        jump_rate: Any = "mlp",
        jump_affect: Any = "gaussian",
        *,
        max_jump_rate: Any = "auto",
        hidden_layer_sizes: Any = (50,),
        activation: str = "tanh",
        noise: str = "diagonal",
        calculus: str = "ito",
        time: Any = "auto",
        series: Any = None,
        controls: Any = "auto",
        control_interpolation: str = "auto",
        initial_state: Any = "auto",
        origin: str = "auto",
        inputs: Any = ("state", "context", "controls"),
        time_unit: Any = "auto",
        n_states: int | None = None,
        observation: Any = None,
        observation_noise: Any = "auto",
        loss: Any = "auto",
        debiased: bool = True,
        n_paths: Any = "auto",
        n_predict_paths: int = 1000,
        solver: Any = "auto",
        controller: Any = None,
        rtol: float = 1e-3,
        atol: float = 1e-6,
        dt: float | None = None,
        max_steps: int = 100_000,
        optimizer: str = "auto",
        learning_rate_init: float = 2e-3,
        max_iter: int = 100,
        batch_size: Any = "auto",
        tol: float = 1e-4,
        n_iter_no_change: int = 20,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        uncertainty: str | None = None,
        n_members: int = 5,
        on_epoch: Any = None,
        random_state: Any = None,
        verbose: bool = False,
        device: Any = None,
    ):
        self.drift = drift
        self.diffusion = diffusion
        self.jump_rate = jump_rate
        self.jump_affect = jump_affect
        self.max_jump_rate = max_jump_rate
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.noise = noise
        self.calculus = calculus
        self.time = time
        self.series = series
        self.controls = controls
        self.control_interpolation = control_interpolation
        self.initial_state = initial_state
        self.origin = origin
        self.inputs = inputs
        self.time_unit = time_unit
        self.n_states = n_states
        self.observation = observation
        self.observation_noise = observation_noise
        self.loss = loss
        self.debiased = debiased
        self.n_paths = n_paths
        self.n_predict_paths = n_predict_paths
        self.solver = solver
        self.controller = controller
        self.rtol = rtol
        self.atol = atol
        self.dt = dt
        self.max_steps = max_steps
        self.optimizer = optimizer
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.uncertainty = uncertainty
        self.n_members = n_members
        self.on_epoch = on_epoch
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    def _measure(self, panel: Panel, dtype: torch.dtype, copies: Copies) -> tuple[Scales, Observation | None]:
        scales, observation = super()._measure(panel, dtype, copies)
        if self.jump_rate is None:
            return scales, observation
        if observation is not None:
            raise ValueError(
                "With jumps the state must be observed as it is: given a noisy or partial observation it is not "
                "normally distributed, as the filter assumes. Leave n_states and observation at None and "
                "observation_noise at 'auto' or 'none', or give jump_rate=None. A learned diffusion absorbs "
                "observation noise that is small beside it."
            )
        if self.roles_.layout.has_series:
            _refuse_partial(panel)
        return JumpScales.of(scales, panel, self.roles_.layout), None

    def _build_problem(self, factory: TermFactory, panel: Panel) -> Problem:
        # Losses of simulated paths need no density, so that jumps may be the only noise.
        loss = given_loss(self.loss)
        of_paths = loss is not None and not loss.of_transitions
        silent = self.diffusion is None and self.jump_rate is not None and of_paths
        drift, diffusion = factory.diffusive(self.drift, 0.0 if silent else self.diffusion, self.noise)
        of_means = loss is not None and loss.accepts_means
        jumps = build_jumps(factory, self.jump_rate, self.jump_affect, self.max_jump_rate, of_means=of_means)
        return factory.try_out(Problem(drift, diffusion, jumps=jumps, noise=self.noise, calculus=self.calculus))

    def _settle_start(self, objective: Objective, seed: int) -> None:
        # In a plain table, changes show jumps only after the effect of the context is learned.
        if isinstance(objective, JumpLikelihood) and not objective.encode:
            start_at_jumps_seen(self.model_, objective, seed)

    def _terms(self, problem: Problem) -> dict[str, Any]:
        rates, affects = (tuple(getattr(jump, name) for jump in problem.jumps) for name in ("rate", "affect"))
        several = len(problem.jumps) > 1
        return {
            "drift_": problem.drift,
            "diffusion_": problem.diffusion,
            "jump_rate_": rates if several else next(iter(rates), None),
            "jump_affect_": affects if several else next(iter(affects), None),
        }


def _refuse_partial(panel: Panel) -> None:
    """Refuse rows with some of their outputs only, since their state would have to be filtered.

    Raises
    ------
    ValueError
    """
    missing = np.isnan(panel.values)
    partial = missing.any(axis=1) & ~missing.all(axis=1)
    if partial.any():
        position = int(np.argmax(partial))
        row = int(np.flatnonzero(panel.rows == position)[0])
        raise ValueError(
            f"y has some of its outputs only in row {row}: with jumps, the state given such a row is not normally "
            "distributed, as the filter assumes. Leave rows complete or empty, or give jump_rate=None."
        )
