"""`NeuralPDEField`: a partial differential equation learned from snapshots of fields on a grid."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skneuralde.data import Panel
from skneuralde.estimators.base import BaseDifferentialEquation
from skneuralde.estimators.config.state_space import VectorSpace
from skneuralde.estimators.fields.equation import build_field_equation, build_point_equation, coefficients_of
from skneuralde.estimators.fields.grids import refuse_space, state_shape
from skneuralde.estimators.fields.staged_training import StagedTrainer, check_stages
from skneuralde.estimators.fields.state_space import GridSpace
from skneuralde.estimators.model.coefficients import TermFactory
from skneuralde.estimators.prediction.coefficient_functions import EvaluatedCoefficients
from skneuralde.estimators.trainer import Trainer
from skneuralde.problems import FieldProblem, Problem


class NeuralPDEField(EvaluatedCoefficients, BaseDifferentialEquation):
    """Learn du/dt = D Lap u + R(t, u) from snapshots of fields on a grid, with other operators and sources if known.

    A row of X asks for the fields of a run at a time; y holds the snapshot taken then. The reaction R is the same
    function at every point. The reaction, the diffusivity and operators may be known, learned, or sums of both.

    Parameters
    ----------
    reaction : "mlp", MLP, None, number, array, Parameter, callable, torch.nn.Module or list of these, default="mlp"
        R, as a function of the fields at one point: a callable or module takes ``(t, u)`` or ``(t, u, c)`` with
        ``t (batch, 1)``, ``u (batch, fields)`` and ``c (batch, k)``, the context and control columns in order, and
        returns ``(batch, fields)``. A list is the sum of its elements. An array ``(*grid, fields)`` is a known source,
        a `Parameter` or torch parameter of that shape a learned one.
    diffusivity : "learn", None, number, array-like of shape (fields,), Parameter, torch.nn.Parameter, torch.nn.Module \
or list of these, default="learn"
        D, in squared units of ``spacing`` per ``time_unit``; 0 for fields that do not diffuse. A list has an entry per
        field, of any kind. See `Laplacian`.
    operator : callable, torch.nn.Module or list of these, optional
        Other operators on fields ``u (batch, *grid, fields)`` as a whole, such as `Advection`. `fit` trains a copy of a
        module.
    sparsity : Stencil, or array or sparse matrix of shape (n_outputs, n_outputs), optional
        The sparsity pattern of the Jacobian of all operators together, diffusion included; see `Problem`. Auto then
        solves with sparse Jacobians, as stiff operators of your own need.
    grid : int or tuple of int, optional
        Numbers of points along each axis, if y is flat. By default the middle axes of y.
    spacing : float or tuple of float, optional
        Distance of neighbouring points. By default that of the coordinates of an xarray y, which must be uniform, and 1
        along axes without coordinates.
    boundary : str, Dirichlet or tuple of these, default="neumann"
        One for all axes, or one for each: "neumann", "neumann_cell", "periodic", "dirichlet"; see `Laplacian`.
    stages : "auto" or sequence of {"collocation", "shooting", "path"}, default="auto"
        The stages of training, in this order. "collocation": at single points, between neighbouring snapshots, without
        solving the equation. "shooting": by solutions that start at snapshots, over growing times. "path": by solutions
        from the initial states over all times. Auto: the first stage, unless operators or sources are learned; then the
        others, until the error of the solutions is at most a hundredth of a standard deviation.
    hidden_layer_sizes : sequence of int, default=(50,)
    activation : str, default="tanh"
    time, series, controls, control_interpolation, time_unit
        Like in `NeuralSDERegressor`: columns of X. ``series`` names the runs.
    initial_state : {"auto", "first", "learn"}, default="auto"
        The state at which a run starts: its first snapshot (auto), or a learned field.
    origin : {"auto", "start", "last"}, default="auto"
        The state from which a row is predicted: its run's initial state (auto), or the last snapshot before it.
    inputs : sequence of {"time", "state", "context", "controls"}, default=("state", "context", "controls")
        The inputs of the networks.
    solver : str or Solver, default="auto"
        A name from `skneuralde.solvers.solver_names`, or an instance. Auto: "rosenbrock" if fields diffuse or
        ``sparsity`` is given, "rock2" with other operators.
    controller : {"pi", "predictive", "averaged_error"} or Controller, optional
        The step-size controller of adaptive solvers. By default each solver has its own.
    rtol : float, default=1e-3
    atol : float, default=1e-6
        In standard deviations of each field.
    dt : float, optional
        Step size of fixed-step methods; by default a tenth of the median gap.
    max_steps : int, default=100_000
        Time steps of a solution, at most.
    optimizer : {"auto", "adam", "lbfgs"}, default="auto"
        Collocation uses Gauss-Newton steps unless this is "adam"; L-BFGS for more than 2,000 parameters and for modules
        that `torch.func` cannot differentiate. For the other stages auto is L-BFGS if one step takes all solutions,
        else Adam.
    learning_rate_init : float, default=2e-3
    max_iter : int, default=100
        Epochs of all stages together, at most. An epoch of the later stages solves the equation many times.
    batch_size : int or "auto", default="auto"
        Points per epoch of collocation, and solutions per step of the other stages. Auto is 6,000 points, and as many
        solutions as fit into memory. Adam takes 512 points per step.
    tol : float, default=1e-4
    n_iter_no_change : int, default=20
    early_stopping : bool, default=False
        Hold out the last ``validation_fraction`` of time, or some of the runs from ten runs on. The last stage keeps
        the weights with the smallest loss there.
    validation_fraction : float, default=0.1
    warm_start : bool, default=False
        Start from the weights of the fit before; the equation must be the same.
    uncertainty : {None, "ensemble"}, default=None
        The source of the standard errors of `reaction_field`: ``n_members`` more models, which takes ``n_members``
        times longer.
    n_members : int, default=5
    on_epoch : callable, optional
    random_state : int, RandomState or None, default=None
    verbose : bool, default=False
    device : None, "auto", "cpu", "cuda" or "cuda:1", default=None
        These like in `NeuralSDERegressor`.

    Attributes
    ----------
    problem_ : Problem
        The learned equation, in y's units per ``time_unit_``; `solve` takes it with fields ``(*batch, *grid, fields)``.
    reaction_ : Term
        R, a torch module of ``(t, u, c)`` at single points; sources are in ``problem_.drift.sources``.
    diffusivity_ : ndarray of shape (fields,)
    parameters_ : DataFrame
        The learned numbers, those given as a `Parameter` and a diffusivity that is learned by itself: columns name,
        estimate and unit.
    grid_ : tuple of int
        Numbers of points; () if y holds single points.
    stages_ : list of dict
        A report of each stage of training: "stage", "optimizer", "horizon" in snapshots, "epochs", "loss" and, if
        solutions were compared with the data, "error" in standard deviations, over all times if ``stages="auto"``.
    n_outputs_ : int
        Values of a snapshot.
    loss_name_, loss_reason_, loss_, best_loss_, loss_curve_, validation_scores_, n_iter_, solver_stats_, t_ref_, \
time_unit_, series_, n_features_in_, feature_names_in_, device_
        Like in `NeuralSDERegressor`; ``loss_curve_`` has all stages, each with its own loss.

    See Also
    --------
    NeuralSDERegressor : The same without space; it documents the shared parameters.
    skneuralde.datasets.make_abc_field : A reaction-diffusion problem to learn.

    Notes
    -----
    y is ``(n_rows, *grid, fields)``, fields last, or flat with ``grid=``; predictions have the same form. NaN is a
    missing sensor, which counts in no loss. In a state from which a solution starts, it is filled with the sensor's own
    values before and after, or with those of its neighbours. A 2-D y without ``grid=`` has no space: each row is a
    single point, and the equation an ordinary one. A new run needs an initial state: append it by
    ``update_state(X0, y0)``.

    y may be an xarray object (install ``skneuralde[xarray]``) and X a 1-D DataArray of times: ``fit(ds.time, ds)``. The
    first dimension is the rows, the others are the grid, in y's order. A Dataset has a variable per field. The last
    dimension of a DataArray distinguishes the fields if it is called "field", "fields" or "variable", or its coordinate
    holds text, or, with ``grid=``, if it is not the grid's; otherwise there is a single field. Predictions are like y,
    with X's coordinates along the rows; samples and quantiles are arrays. A later y must have the coordinates of `fit`,
    if it has any. `GridSearchCV` cannot take rows of a Dataset: give it
    ``ds.to_dataarray("field").transpose("time", ..., "field")``.

    Snapshots at rest determine the steady state but not the reaction that leads there. Early, log-spaced snapshots and
    several initial fields determine much more. `fit` warns if nearly all snapshots are at rest.

    References
    ----------
    .. [1] C. Rackauckas, M. Innes, Y. Ma, J. Bettencourt, L. White and V. Dixit, "DiffEqFlux.jl: a Julia library for
       neural differential equations", arXiv:1902.02376 (2019).

    Examples
    --------
    A spreading front, observed eleven times, and its reaction term:

    >>> import numpy as np
    >>> from skneuralde import Laplacian, NeuralPDEField, Problem, solve
    >>> x, t = np.linspace(0, 1, 26), np.linspace(0, 5, 11)
    >>> truth = Problem(lambda t, u: u * (1 - u), operator=Laplacian(0.01, 0.04))
    >>> y = solve(truth, np.exp(-((x - 0.2) ** 2) / 0.01)[:, None], t, rtol=1e-8).ys[0].numpy()
    >>> model = NeuralPDEField(diffusivity=0.01, spacing=0.04, random_state=0).fit(t[:, None], y)
    >>> learned = model.reaction_field([[0.25], [0.5], [0.75]])
    >>> bool(np.allclose(learned[:, 0], [0.1875, 0.25, 0.1875], atol=0.005))
    True
    """

    _coefficients = ("reaction",)
    _settings = (
        *("diffusivity", "operator", "sparsity", "grid", "spacing", "boundary"),
        *("hidden_layer_sizes", "activation", "inputs"),
    )
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDifferentialEquation._parameter_constraints,
        "spacing": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "stages": [StrOptions({"auto"}), "array-like"],
        "initial_state": [StrOptions({"auto", "first", "learn"})],
        "origin": [StrOptions({"auto", "start", "last"})],
        "uncertainty": [StrOptions({"ensemble"}), None],
    }

    # Parameters of other estimators that fields do not have.
    diffusion = n_states = observation = None
    noise, calculus, observation_noise = "diagonal", "ito", "auto"
    loss, debiased, n_paths, n_predict_paths = "auto", True, "auto", 2

    def __init__(
        self,
        reaction: Any = "mlp",
        diffusivity: Any = "learn",
        *,
        operator: Any = None,
        sparsity: Any = None,
        grid: Any = None,
        spacing: Any = None,
        boundary: Any = "neumann",
        stages: Any = "auto",
        hidden_layer_sizes: Any = (50,),
        activation: str = "tanh",
        time: Any = "auto",
        series: Any = None,
        controls: Any = "auto",
        control_interpolation: str = "auto",
        initial_state: Any = "auto",
        origin: str = "auto",
        inputs: Any = ("state", "context", "controls"),
        time_unit: Any = "auto",
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
        self.reaction = reaction
        self.diffusivity = diffusivity
        self.operator = operator
        self.sparsity = sparsity
        self.grid = grid
        self.spacing = spacing
        self.boundary = boundary
        self.stages = stages
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.time = time
        self.series = series
        self.controls = controls
        self.control_interpolation = control_interpolation
        self.initial_state = initial_state
        self.origin = origin
        self.inputs = inputs
        self.time_unit = time_unit
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

    def reaction_field(self, U: Any, t: Any = 0.0, *, context: Any = None, return_std: bool = False) -> Any:
        """Evaluate the learned reaction R(t, u) at single points, without sources.

        Parameters
        ----------
        U : array-like of shape (..., fields)
            Values of all fields at some points: a list of states, or whole snapshots.
        t, context, return_std : like in `NeuralSDERegressor.drift_field`

        Returns
        -------
        reaction : ndarray of U's shape
            In y's units per ``time_unit_``.
        std : ndarray of U's shape
            If ``return_std``.

        Raises
        ------
        ValueError
            If U has another shape, if the reaction is not finite at a state, and for ``return_std`` after a fit
            without standard errors.
        """
        check_is_fitted(self)
        states = np.asarray(U, dtype=np.float64)
        if states.ndim < 2 or states.shape[-1] != self._setup.n_fields:
            raise ValueError(f"U has shape {states.shape}, but (..., {self._setup.n_fields}) is expected: fields last.")
        flat = states.reshape(-1, states.shape[-1])
        answer = self._field("reaction", flat, t, context, return_std, coefficient=_reaction_of)
        if return_std:
            return tuple(part.reshape(states.shape) for part in answer)
        return answer.reshape(states.shape)

    def _validate_params(self) -> None:
        super()._validate_params()
        check_stages(self.stages)

    def _choose_space(self, y: Any) -> VectorSpace:
        shape = state_shape(y, self.grid)
        if shape is None:
            refuse_space(self)
        self.grid_ = () if shape is None else shape[:-1]
        return VectorSpace() if shape is None else GridSpace(shape)

    def _build_problem(self, factory: TermFactory, panel: Panel) -> Problem | FieldProblem:
        if self.grid_:
            return build_field_equation(self, self.roles_, factory, panel)
        return build_point_equation(self, factory)

    def _make_trainer(self) -> Trainer:
        self.stages_: list[dict[str, Any]] = []
        trainer = super()._make_trainer()
        return StagedTrainer(**vars(trainer), report=self.stages_) if self.grid_ else trainer

    def _terms(self, problem: Problem) -> dict[str, Any]:
        return coefficients_of(problem, self.roles_.state, self.n_outputs_)


def _reaction_of(problem: Problem | FieldProblem) -> nn.Module:
    """The reaction at single points."""
    return problem.drift.reaction.term if isinstance(problem, FieldProblem) else problem.drift
