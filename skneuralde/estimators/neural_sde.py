"""`NeuralSDERegressor`: a stochastic (or ordinary) differential equation learned from time series."""

from __future__ import annotations

from typing import Any

from skneuralde.data import Panel
from skneuralde.estimators.base import BaseDifferentialEquation
from skneuralde.estimators.model.coefficients import TermFactory
from skneuralde.estimators.prediction.coefficient_functions import CoefficientFields
from skneuralde.problems import Problem


class NeuralSDERegressor(CoefficientFields, BaseDifferentialEquation):
    """Learn du = f(t, u) dt + g(t, u) dW from time series.

    A row of X asks for the state of a series at a time; y is the value observed there. Each coefficient may be known, a
    network, a trainable module of your own, or a sum of these.

    Parameters
    ----------
    drift, diffusion : "mlp", MLP, None, number, array, Parameter, callable, torch.nn.Module or list of these, \
default="mlp"
        The coefficients f and g, in y's units per ``time_unit``. ``"mlp"`` is a network of ``hidden_layer_sizes`` and
        ``activation``; pass ``MLP()`` to search over ``drift__hidden_layer_sizes``. A callable or module takes
        ``(t, u)`` or ``(t, u, c)`` with ``t (batch, 1)``, ``u (batch, dim)`` and ``c (batch, k)``, the context and
        control columns in order. `fit` trains a copy of a module, and copies of each `Parameter` and torch parameter
        that a callable has as a default argument. A list is the sum of its elements.
        ``diffusion=None`` is a neural ODE.
    hidden_layer_sizes : sequence of int, default=(50,)
    activation : str, default="tanh"
    noise : {"diagonal", "additive", "general"}, default="diagonal"
        Independent noise for each output; noise that does not depend on the state; or correlated noise, with a matrix
        g.
    calculus : {"ito", "stratonovich"}, default="ito"
    time : "auto", "index", column name or position, default="auto"
        The time of a row. Auto: a datetime-like index or index level; else the only datetime column; else the first
        column.
    series : column or index level, or list of these, optional
        The name of a row's series. By default the other levels of a MultiIndex; else there is one series.
    controls : "auto" or list of columns, default="auto"
        Inputs that vary over time. Auto: with a time index or ``series``, the columns that vary within a series.
    control_interpolation : {"auto", "next", "linear", "previous"}, default="auto"
        With ``"next"`` a row's controls act over the interval that ends there. Auto: "next" for the loss "nll", else
        "linear". A missing control is that of the row before; only "linear" given by name takes later rows, too.
    initial_state : {"auto", "first", "context", "learn"} or list of columns, default="auto"
        The state at which a series starts: its first observation (auto), a network of its context (auto in a plain
        table), or a learned state per series. Columns hold the state at time 0; each row is then a flow map.
    origin : {"auto", "start", "last", "smooth"}, default="auto"
        The state from which a row is predicted: its series' initial state ("start"), the last observation before it
        ("last"), or the state given all observations ("smooth"). Auto: "last" after the loss "nll", else "start".
    inputs : sequence of {"time", "state", "context", "controls"}, default=("state", "context", "controls")
        The inputs of the networks. In a plain table the time is always one of them.
    time_unit : "auto" or length of time, default="auto"
        One unit of model time, for datetimes. Auto: the largest of day, hour, minute and second not above the median
        gap.
    n_states : int, optional
        Dimension of the state, if some of it is not observed; by default that of y.
    observation : sequence of int, callable or torch.nn.Module, optional
        The observed part of the state: the components with these indices (by default the first ones), or a function of
        states ``(batch, n_states)`` that returns ``(batch, n_outputs)``.
    observation_noise : {"auto", "none", "learn"}, number, Parameter or array of shape (n_outputs,), default="auto"
        Standard deviation of y around the observed part of the state, in y's units. With observation noise, with
        ``n_states`` or ``observation``, and if some outputs of a row are missing, the loss "nll" and predictions use a
        Kalman filter. Auto: learned in plain tables, none in series.
    loss : {"auto", "nll", "least_squares", "crps", "energy", "moments", "mean", "path_mse"} or Loss, default="auto"
        ``"nll"``: negative log likelihood of each observation given the one before, without simulation (auto with noise
        and in plain tables). ``"least_squares"``: squared error of the whole curve (auto without noise). The others
        compare the data with paths simulated from each series' start. ``"crps"``: the fair continuous ranked
        probability score of each output at each time. ``"energy"``: the fair energy score of each time together with
        the one before, or, if every series has a single observation, the energy distance of the population at each
        time. ``"moments"``: mean and log variance over series with common times, in standard errors. ``"mean"``: the
        mean, against data that are means themselves. ``"path_mse"``: the squared error of single paths, which is
        smallest without noise. See `skneuralde.losses` for a loss of your own.
    debiased : bool, default=True
        For "mean" and "moments": multiply the residuals of two independent halves of the paths instead of squaring.
    n_paths : "auto", int, sequence of int or callable, default="auto"
        Number of simulated paths of each series, for all losses but "nll" and "least_squares": constant, stages of
        equal length, or a function of the epoch. ``"auto"`` starts with 16 paths and doubles them, up to 256 or the
        memory, whenever the noise of the gradient outweighs the gradient. L-BFGS, which keeps the noise fixed, starts
        with the largest number.
    n_predict_paths : int, default=1000
        Number of simulated paths of a prediction that has no closed form.
    solver : str or Solver, default="auto"
        A name from `skneuralde.solvers.solver_names`, or an instance. A method for ordinary equations propagates the
        moments of "nll". Auto: "sosri2" for simulated paths, with additive noise "sosra", with general noise "euler" or
        "ees25"; the same with fixed steps to train "crps" and "energy"; "platen" to train "mean" and "moments"; "tsit5"
        for curves without noise, "rosenbrock" while they are stiff; local linearisation for the moments of "nll".
    controller : {"pi", "predictive", "averaged_error"} or Controller, optional
        The step-size controller of adaptive solvers. By default each solver has its own.
    rtol : float, default=1e-3
        With noise, the divergence of the predictive density in nats. It bounds the error of the moments of "nll"; the
        local error of adaptive steps is ``sqrt(2 * rtol)`` standard deviations of y. Without noise, the relative
        tolerance.
    atol : float, default=1e-6
        Absolute tolerance, in standard deviations of y.
    dt : float, optional
        Step size of fixed-step methods; by default a tenth of the median gap, a quarter for methods of weak order 2 or
        strong order 1.5.
    max_steps : int, default=100_000
        Time steps of a solution, at most.
    optimizer : {"auto", "adam", "lbfgs"}, default="auto"
        L-BFGS keeps the noise of simulated paths fixed. Auto: without simulation, L-BFGS for at most 64 parameters
        and for "least_squares"; else Adam.
    learning_rate_init : float, default=2e-3
    max_iter : int, default=100
        Epochs, at most.
    batch_size : int or "auto", default="auto"
        Transitions, or series, per step; auto is 512.
    tol : float, default=1e-4
    n_iter_no_change : int, default=20
        Training cools down, then stops, if the loss has not improved by ``tol`` for so many epochs.
    early_stopping : bool, default=False
        Hold out the last ``validation_fraction`` of time, or some of the series from ten series on, and keep the
        weights with the smallest loss there.
    validation_fraction : float, default=0.1
    warm_start : bool, default=False
        Start from the weights of the fit before; the equation must be the same.
    uncertainty : {None, "laplace", "ensemble"}, default=None
        The source of the standard errors of `drift_field` and `diffusion_field`. ``"laplace"``: the curvature of the
        log likelihood at its maximum, for the loss "nll" and at most 64 parameters. ``"ensemble"``: `fit` trains
        ``n_members`` more models, each from its own seed on random weights of the data, which takes ``n_members`` times
        longer.
    n_members : int, default=5
    on_epoch : callable, optional
        Called with an `EpochState` after each epoch; training stops if it returns True. It is not called for the
        members of an ensemble.
    random_state : int, RandomState or None, default=None
    verbose : bool, default=False
    device : None, "auto", "cpu", "cuda" or "cuda:1", default=None

    Attributes
    ----------
    problem_ : Problem
        The learned equation, in y's units per ``time_unit_``; `solve` takes it.
    drift_, diffusion_ : Term
        Its coefficients, torch modules of ``(t, u, c)``.
    parameters_ : DataFrame
        The learned numbers, those given as a `Parameter`: columns name, estimate and unit.
    loss_name_, loss_reason_ : str
        The loss, and the reason for its choice.
    loss_, best_loss_ : float
    loss_curve_, validation_scores_ : list of float
    n_iter_ : int
    solver_stats_ : dict
        The solvers that "auto" chose; ``n_paths`` is the number of paths at the end.
    t_ref_, time_unit_
        The datetime at model time 0 and the length of its unit.
    series_ : list
        Names of the series that have a state.
    n_features_in_, feature_names_in_, n_outputs_, device_

    See Also
    --------
    skneuralde.solve : Simulate a known equation.

    Notes
    -----
    Moments are propagated by local linearisation [1]_; see `skneuralde.inference.moments`. Learning a part of a
    stochastic equation while the rest is given follows [2]_.

    References
    ----------
    .. [1] I. Shoji and T. Ozaki, "Estimation for nonlinear stochastic differential equations by a local linearization
       method", Stochastic Analysis and Applications 16 (1998).
    .. [2] C. Rackauckas, "Neural Jump SDEs (Jump Diffusions) and Neural PDEs" (2019).

    Examples
    --------
    >>> import numpy as np
    >>> from skneuralde import NeuralSDERegressor
    >>> rng = np.random.default_rng(0)
    >>> t = np.arange(200.0)
    >>> y = np.zeros(200)
    >>> for i in range(1, 200):
    ...     y[i] = 0.8 * y[i - 1] + rng.normal(scale=0.1)
    >>> model = NeuralSDERegressor(max_iter=20, random_state=0).fit(t[:, None], y)
    >>> mean, std = model.predict(model.future(3), return_std=True)
    >>> mean.shape, bool((std > 0).all())
    ((3,), True)
    """

    _coefficients = ("drift", "diffusion")

    def __init__(
        self,
        drift: Any = "mlp",
        diffusion: Any = "mlp",
        *,
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

    def _build_problem(self, factory: TermFactory, panel: Panel) -> Problem:
        drift, diffusion = factory.diffusive(self.drift, self.diffusion, self.noise)
        return factory.try_out(Problem(drift, diffusion, noise=self.noise, calculus=self.calculus))
