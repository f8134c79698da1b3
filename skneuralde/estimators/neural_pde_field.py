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
from skneuralde.estimators.fields.staged_training import FieldTraining
from skneuralde.estimators.prediction.coefficient_functions import EvaluatedCoefficients
from skneuralde.estimators.prediction.distributions import Forecast
from skneuralde.problems import FieldProblem, Problem


class NeuralPDEField(EvaluatedCoefficients, FieldTraining):
    """Learn du/dt = D Lap u + R(t, u) from snapshots of fields on a grid, with other operators and sources if known.

    A row of X asks for the fields of a run at a time; y holds the snapshots taken then. The reaction R is the same law
    at every point; it, the diffusivity and operators may be known, learned, or sums of both.

    Parameters
    ----------
    reaction : "mlp", MLP, None, number, array, callable, torch.nn.Module or list of these, default="mlp"
        R, of the fields at one point: a callable or module takes ``(t, u)`` or ``(t, u, c)`` with ``t (batch, 1)``,
        ``u (batch, fields)`` and ``c (batch, k)``, the context and control columns in order, and returns ``(batch,
        fields)``. A list is the sum of its elements. An array ``(*grid, fields)`` is a source that is known at every
        point, a `torch.nn.Parameter` of that shape one that is learned.
    diffusivity : "learn", None, number, array-like of shape (fields,), torch.nn.Parameter, torch.nn.Module or list of \
these, default="learn"
        D, in squared units of ``spacing`` per ``time_unit``; 0 for fields that do not diffuse. A list has an entry per
        field, of any kind. See `Laplacian`.
    operator : callable, torch.nn.Module or list of these, optional
        What else acts on fields ``u (batch, *grid, fields)`` as a whole, such as `Advection`. Its modules are copied
        and trained.
    sparsity : Stencil, or array or sparse matrix of shape (n_outputs, n_outputs), optional
        Which points and fields all operators together, diffusion too, see from where; see `Problem`. Auto then solves
        with sparse Jacobians, which stiff operators of your own need.
    grid : int or tuple of int, optional
        Numbers of points along each axis, where y is flat. By default the middle axes of y.
    spacing : float or tuple of float, optional
        Distance of neighbouring points; by default that of y's coordinates, which must be uniform, if it is an xarray
        object, and 1 along axes without any.
    boundary : str, Dirichlet or tuple of these, default="neumann"
        One for all axes, or one for each: "neumann", "neumann_cell", "periodic", "dirichlet"; see `Laplacian`.
    stages : "auto" or sequence of {"collocation", "shooting", "path"}, default="auto"
        How the law is learned, one after the other. "collocation": at single points, between neighbouring snapshots,
        without solving anything. "shooting": by solutions that start at snapshots, over growing times. "path": by
        solutions from the initial states over all times. Auto: the first, unless operators or sources are learned;
        then the others, until solutions are within a hundredth of a standard deviation.
    hidden_layer_sizes : sequence of int, default=(50,)
    activation : str, default="tanh"
    time, series, controls, control_interpolation, time_unit
        Like in `NeuralSDERegressor`: columns of X. ``series`` names the runs.
    initial_state : {"auto", "first", "learn"}, default="auto"
        Where a run starts: at its first snapshot (auto), or at a field that is learned.
    origin : {"auto", "start", "last"}, default="auto"
        From where a row is predicted: its run's initial state (auto), or the last snapshot before it.
    inputs : sequence of {"time", "state", "context", "controls"}, default=("state", "context", "controls")
        What the networks see.
    solver : str, default="auto"
        See `skneuralde.solvers.solver_names`. Auto: "rosenbrock" where fields diffuse or ``sparsity`` is told, "rock2"
        with other operators.
    rtol : float, default=1e-3
    atol : float, default=1e-6
        In standard deviations of each field.
    dt : float, optional
        Step of fixed-step methods; by default a tenth of the median gap.
    max_steps : int, default=100_000
    optimizer : {"auto", "adam", "lbfgs"}, default="auto"
        Collocation takes Gauss-Newton steps unless Adam is asked for; L-BFGS for more than 2,000 parameters and for
        modules that `torch.func` cannot differentiate. Of solutions auto is L-BFGS where a step takes all of them, else
        Adam.
    learning_rate_init : float, default=2e-3
    max_iter : int, default=100
        Epochs of all stages together, at most. Those of the later stages solve the equation many times.
    batch_size : int or "auto", default="auto"
        Points per epoch of collocation, and solutions per step; auto is 6,000, and what fits into memory. Adam takes
        512 points per step.
    tol : float, default=1e-4
    n_iter_no_change : int, default=20
    early_stopping : bool, default=False
        Hold out the last ``validation_fraction`` of time, or of the runs where there are many; the last stage keeps the
        weights that do best there.
    validation_fraction : float, default=0.1
    warm_start : bool, default=False
        Go on from the weights of the fit before; the equation must be the same.
    uncertainty : {None, "ensemble"}, default=None
        Where standard errors of `reaction_field` come from: ``n_members`` more models, which takes as many times
        longer.
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
    grid_ : tuple of int
        Numbers of points; () where y holds single points.
    stages_ : list of dict
        What was done in training: "stage", "optimizer", "horizon" in snapshots, "epochs", "loss" and, where solutions
        were compared with the data, "error" in standard deviations, over all times if ``stages="auto"``.
    n_outputs_ : int
        Values of a snapshot.
    loss_name_, loss_reason_, loss_, best_loss_, loss_curve_, validation_scores_, n_iter_, solver_stats_, t_ref_, \
time_unit_, series_, n_features_in_, feature_names_in_, device_
        Like in `NeuralSDERegressor`; ``loss_curve_`` has all stages, each with a loss of its own.

    See Also
    --------
    NeuralSDERegressor : Without space; it documents what both share.
    skneuralde.datasets.make_abc_field : A reaction-diffusion problem to learn.

    Notes
    -----
    y is ``(n_rows, *grid, fields)``, fields last, or flat with ``grid=``; predictions have the same form. NaN is a
    sensor that is missing: it counts in no loss, and where a state must start it is filled by the sensor's own values
    before and after, or by those around. A 2-D y without ``grid=`` has no space: each row is a single point, and the
    equation an ordinary one. Only an initial state tells where a run is: a new one starts by ``update_state(X0,
    y0)``.

    y may be an xarray object (install ``skneuralde[xarray]``) and X a 1-D DataArray of times: ``fit(ds.time, ds)``. The
    first dimension is the rows, the others are the grid, in y's order. A Dataset has a variable per field. The last
    dimension of a DataArray tells the fields apart if it is called "field", "fields" or "variable", or its coordinate
    holds text, or, with ``grid=``, if it is not the grid's; without one there is a single field. Predictions are like
    y, with X's coordinates along the rows; samples and quantiles are arrays. Later y must have fit's coordinates, where
    they have any. `GridSearchCV` cannot take rows of a Dataset: give it
    ``ds.to_dataarray("field").transpose("time", ..., "field")``.

    Snapshots at rest fix where fields end, not the law that led them there: early, log-spaced snapshots and several
    initial fields say much more. `fit` warns where nearly all of them are at rest.

    References
    ----------
    .. [1] C. Rackauckas, M. Innes, Y. Ma, J. Bettencourt, L. White and V. Dixit, "DiffEqFlux.jl: a Julia library for
       neural differential equations", arXiv:1902.02376 (2019).

    Examples
    --------
    A front that spreads, from eleven looks at it, and the law behind it:

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

    # What fields have no use for.
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
        """Evaluate the learned law R(t, u) of single points, without sources.

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
            For another shape than this, for states where the law is not finite, and for ``return_std`` after a fit
            without standard errors.
        """
        check_is_fitted(self)
        states = np.asarray(U, dtype=np.float64)
        if states.ndim < 2 or states.shape[-1] != self._setup.n_fields:
            raise ValueError(f"U has shape {states.shape}, but (..., {self._setup.n_fields}) is expected: fields last.")
        flat = states.reshape(-1, states.shape[-1])
        answer = self._field("reaction", flat, t, context, return_std, coefficient=_law_of)
        if return_std:
            return tuple(part.reshape(states.shape) for part in answer)
        return answer.reshape(states.shape)

    def _forecast(self, panel: Panel, rows: np.ndarray, *, of_states: bool = False) -> tuple[Forecast, np.ndarray]:
        asked = np.unique(rows)
        early = self._rows_before_origin(panel, asked)
        if self.grid_ and early.any():
            row = int(np.argmax(rows == asked[np.argmax(early)]))
            raise ValueError(
                f"Row {row} lies before the first snapshot of its run, and diffusion cannot be run backwards. Ask for "
                "later rows; for cross-validation split by time (TimeSeriesSplit) or by run (GroupKFold)."
            )
        return super()._forecast(panel, rows, of_states=of_states)


def _law_of(problem: Problem | FieldProblem) -> nn.Module:
    """The law of single points."""
    return problem.drift.reaction.term if isinstance(problem, FieldProblem) else problem.drift
