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


class NeuralJumpDiffusion(JumpDetection, BaseDifferentialEquation):
    """Learn du = f(t, u) dt + g(t, u) dW with jumps to affect(t, u, z) at the rate lambda(t, u), from time series.

    A row of X asks for the state of a series at a time; y is what was observed there. Each coefficient may be known, a
    network, a trainable module of your own, or a sum of these.

    Parameters
    ----------
    drift, diffusion : like in `NeuralSDERegressor`, default="mlp"
        With jumps ``diffusion=None`` needs a loss of simulated paths: nothing between jumps has a density.
    jump_rate : "mlp", MLP, None, number, callable, torch.nn.Module, list of these, or tuple, default="mlp"
        Jumps per ``time_unit``; networks give ``max_jump_rate`` times a sigmoid. A callable or module takes ``(t, u)``
        or ``(t, u, c)`` and returns ``(batch,)`` or ``(batch, 1)``, never negative. A list is the sum of its elements.
        None is an equation without jumps. A tuple has one entry per channel; a channel has jumps of its own, at its own
        rate.
    jump_affect : "gaussian", "mlp", MLP, number, array, callable, torch.nn.Module, list, or tuple, default="gaussian"
        The state after a jump. ``"gaussian"``: u + m(u) + s(u) z with two networks and standard normal marks z;
        ``"mlp"``: a network gives the new state, without chance. A callable or module takes ``(t, u)``, ``(t, u, c)``,
        ``(t, u, z)`` or ``(t, u, c, z)``; a number or array is the new state itself. A list is the sum of its elements.
        A tuple has one entry per channel, as many as that of ``jump_rate``.
    max_jump_rate : "auto" or float, default="auto"
        The rate that no learned rate exceeds, per ``time_unit``. Auto: one jump per median interval between
        observations; beyond, jumps could not be told from each other. Given as a number it is the bound that simulation
        relies on for a known rate, too, which is refused where it exceeds it. Without one a known rate that varies is
        integrated along simulated paths, which costs adaptive steps; a ``solver`` without them needs the number.
    hidden_layer_sizes, activation, noise, calculus, time, series, controls, control_interpolation, initial_state, \
origin, inputs, time_unit, n_predict_paths, solver, rtol, atol, dt, max_steps, optimizer, learning_rate_init, \
max_iter, batch_size, tol, n_iter_no_change, early_stopping, validation_fraction, warm_start, uncertainty, n_members, \
on_epoch, random_state, verbose, device
        Like in `NeuralSDERegressor`. ``rtol`` is the divergence of the predictive density in nats, also where the
        number and the times of jumps are integrated out.
    n_states, observation, observation_noise
        Like in `NeuralSDERegressor`, but with jumps the state of a series must be observed as it is, every output in
        every row that has any.
    loss, debiased, n_paths
        Like in `NeuralSDERegressor`; auto is the likelihood, "nll". Losses of simulated paths have an unbiased gradient
        in the rates, from what one jump more would change in each path; see `skneuralde.expect`.

    Attributes
    ----------
    problem_ : Problem
        The learned equation, in y's units per ``time_unit_``; ``problem_.jumps`` are its channels.
    drift_, diffusion_ : Term
    jump_rate_, jump_affect_ : Term and Affect, tuples of them for several channels, or None
        Torch modules of ``(t, u, c)`` and ``(t, u, c, z)``.
    loss_name_, loss_reason_, loss_, best_loss_, loss_curve_, validation_scores_, n_iter_, t_ref_, time_unit_, \
series_, n_features_in_, feature_names_in_, n_outputs_, device_
        Like in `NeuralSDERegressor`. Losses contain the penalty below.
    solver_stats_ : dict
        Also ``jump_numbers``, how many jumps per transition are told apart, and ``jump_times``, at how many times.

    See Also
    --------
    NeuralSDERegressor : Without jumps; it documents what both share.

    Notes
    -----
    The likelihood of an observation given the one before is that of a mixture: the number of jumps in between is
    integrated out, and over longer intervals the time of a single one (see
    `skneuralde.inference.jumps.splitting`). Without drift between jumps of normal size that is Merton's series [1]_.

    Learned rates and effects, networks that is, start at the jumps that a mixture of normal laws finds in the changes
    of series, by EM; at a low rate and large sizes where the changes do not clearly show any. Known values, and modules
    of your own, are left alone.

    Many small jumps are a diffusion, and the data do not tell the difference. So a learned random jump has a deviation
    of at least a quarter of what a typical interval diffuses, and the loss contains a penalty on jumps whose rate is
    learned. An expected jump costs 0.1 exp(-D) nats, where D is the evidence that such a jump leaves, the divergence of
    the law with it from the law without; and N expected jumps in all of the data cost 0.5 log(1 + N). Next to the
    information in jumps that show, both are small.

    References
    ----------
    .. [1] R. C. Merton, "Option pricing when underlying stock returns are discontinuous", Journal of Financial
       Economics 3 (1976).

    Examples
    --------
    A random walk that falls now and then, and where it did:

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
        solver: str = "auto",
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

    def _measure(self, panel: Panel, dtype: torch.dtype) -> tuple[Scales, Observation | None]:
        scales, observation = super()._measure(panel, dtype)
        if self.jump_rate is None:
            return scales, observation
        if observation is not None:
            raise ValueError(
                "With jumps the state must be observed as it is: what a noisy or partial observation says of it is no "
                "normal law, which the filter takes it for. Leave n_states and observation at None and "
                "observation_noise at 'auto' or 'none', where a learned diffusion takes in noise that is small beside "
                "what an interval diffuses; or give jump_rate=None."
            )
        if self.roles_.layout == "series":
            _refuse_partial(panel)
        return JumpScales.of(scales, panel, self.roles_.layout), None

    def _build_problem(self, factory: TermFactory) -> Problem:
        # Jumps alone are chance enough for simulated paths, which need no density between them.
        loss = given_loss(self.loss)
        of_paths = loss is not None and not loss.of_transitions
        silent = self.diffusion is None and self.jump_rate is not None and of_paths
        drift, diffusion = factory.diffusive(self.drift, 0.0 if silent else self.diffusion, self.noise)
        of_means = loss is not None and loss.accepts_means
        jumps = build_jumps(factory, self.jump_rate, self.jump_affect, self.max_jump_rate, of_means=of_means)
        return factory.try_out(Problem(drift, diffusion, jumps=jumps, noise=self.noise, calculus=self.calculus))

    def _settle_start(self, objective: Objective, seed: int) -> None:
        # What the context of a plain table says of its rows must be learned first.
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
    """Refuse rows with some of their outputs only: what is left of the state would have to be filtered.

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
            f"y has some of its outputs only in row {row}: with jumps, what such a row says of the state is no normal "
            "law, which the filter takes it for. Leave rows complete or empty, or give jump_rate=None."
        )
