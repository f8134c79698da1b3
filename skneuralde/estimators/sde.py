"""`NeuralSDERegressor`: a stochastic (or ordinary) differential equation learned from time series."""

from __future__ import annotations

from typing import Any

from skneuralde.estimators._coefficients import TermFactory
from skneuralde.estimators.base import BaseDifferentialEquation
from skneuralde.problems import Problem


class NeuralSDERegressor(BaseDifferentialEquation):
    """Learn du = f(t, u) dt + g(t, u) dW from time series."""

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
        loss: str = "auto",
        debiased: bool = True,
        n_paths: Any = 100,
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
        self.on_epoch = on_epoch
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    def _build_problem(self, factory: TermFactory) -> Problem:
        dim = (factory.dim,)
        sees = factory.inputs.sees
        drift = factory.term(self.drift, "drift", shape=dim, scale=factory.scales.rate)
        if self.noise == "additive":
            sees = tuple(name for name in sees if name != "state")
        general = self.noise == "general"
        scale = factory.scales.volatility
        diffusion = factory.term(
            self.diffusion,
            "diffusion",
            shape=2 * dim if general else dim,
            scale=scale[:, None] if general else scale,
            positive="cholesky" if general else "softplus",
            sees=sees,
        )
        return factory.try_out(Problem(drift, diffusion, noise=self.noise, calculus=self.calculus))
