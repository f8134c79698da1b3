"""Registry of solvers, and the choice of one for a problem."""

from __future__ import annotations

import difflib

from skneuralde.problems import FieldProblem, Problem
from skneuralde.problems.operators import Operators
from skneuralde.solvers.adapters.torchdiffeq import torchdiffeq_solvers
from skneuralde.solvers.adapters.torchsde import torchsde_solvers
from skneuralde.solvers.core.controllers import AveragedErrorController, Controller, PIController, PredictiveController
from skneuralde.solvers.core.right_hand_side import ProblemLike
from skneuralde.solvers.core.stepper import SOLVERS, Solver
from skneuralde.solvers.core.stiffness import MOST_STATES
from skneuralde.solvers.core.switch import Switch
from skneuralde.solvers.methods.ees25 import EES25
from skneuralde.solvers.methods.euler import Euler
from skneuralde.solvers.methods.exponential.etdrk4 import ETDRK4
from skneuralde.solvers.methods.milstein import Milstein
from skneuralde.solvers.methods.platen import Platen
from skneuralde.solvers.methods.rosenbrock.rodas3 import Rosenbrock
from skneuralde.solvers.methods.runge_kutta.pairs import BogackiShampine, DormandPrince, Tsitouras
from skneuralde.solvers.methods.stabilized.rkc import RKC2
from skneuralde.solvers.methods.stabilized.rock2 import ROCK2
from skneuralde.solvers.methods.stabilized.rock4 import ROCK4
from skneuralde.solvers.methods.stochastic_runge_kutta.tableaus import SOSRA, SOSRI, SOSRI2, SRA1, SRIW1

_OURS = [
    *(Euler(), Milstein(), Platen(), EES25()),
    *(SRIW1(), SOSRI(), SOSRI2(), SRA1(), SOSRA()),
    *(BogackiShampine(), DormandPrince(), Tsitouras()),
    *(RKC2(), ROCK2(), ROCK4(), ETDRK4(), Rosenbrock()),
]
SOLVERS.update({solver.name: solver for solver in [*_OURS, *torchsde_solvers(), *torchdiffeq_solvers()]})

#: Share of the stability interval from which on stability limits a step, and stiffness up to which it does not.
_LIMITED, _FREE = 0.8, 1.0
_LIMIT = _LIMITED * Tsitouras.tableau.stability
#: Steps of tsit5 that ten steps of rock2 with the most stages replace.
_MOST_STEPS = 1e9
#: What "auto" stands for without noise: the stiff method solves linear equations (few states, Laplacians), or not.
_FEW_STATES = Switch(Tsitouras(), Rosenbrock(), limit=_LIMIT, release=_FREE)
_MANY_STATES = Switch(Tsitouras(), ROCK2(), limit=_LIMIT, release=_FREE, most=_MOST_STEPS)

_CONTROLLERS: dict[str, type[Controller]] = {
    "pi": PIController,
    "predictive": PredictiveController,
    "averaged_error": AveragedErrorController,
}


def solver_names() -> list[str]:
    """Every name that `get_solver` knows, besides "auto"."""
    return sorted(SOLVERS)


def get_solver(solver: str | Solver) -> Solver:
    """The solver of this name; an instance of `Solver` is returned as it is.

    Raises
    ------
    ValueError
        For an unknown name, and for an instance without a name.
    """
    if isinstance(solver, type):
        raise ValueError(
            f"solver must be a name or an instance, got the class {solver.__name__}: give {solver.__name__}()"
        )
    if isinstance(solver, Solver):
        if not getattr(solver, "name", ""):
            raise ValueError(f"solver {solver!r} must have a name, a class attribute that messages show")
        return solver
    if isinstance(solver, str) and solver in SOLVERS:
        return SOLVERS[solver]
    close = difflib.get_close_matches(str(solver), SOLVERS, n=1)
    hint = f" did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"unknown solver {solver!r};{hint} valid names are 'auto', {', '.join(map(repr, solver_names()))}; "
        "or give a Solver instance"
    )


def resolve_solver(solver: str | Solver, problem: ProblemLike, n_states: int) -> Solver:
    """The solver of this name, or that which "auto" stands for, which must be able to treat the problem."""
    is_auto = isinstance(solver, str) and solver == "auto"
    method = auto_solver(problem, n_states) if is_auto else get_solver(solver)
    method.check(problem)
    return method


def auto_solver(problem: ProblemLike, n_states: int) -> Solver:
    """Method of ``solver="auto"``: that of `choose_solver`, which may leave stiff paths to another one."""
    name = choose_solver(problem)
    if name != Tsitouras.name:
        return get_solver(name)
    operators = _operators(problem)
    is_direct = n_states <= MOST_STATES if operators is None else operators.diffusion is not None
    return _FEW_STATES if is_direct else _MANY_STATES


def _operators(problem: ProblemLike) -> Operators | None:
    """The operators of an equation of fields; None for other equations."""
    if isinstance(problem, FieldProblem):
        return problem.drift.operators
    return problem.operator if isinstance(problem, Problem) else None


def choose_solver(problem: ProblemLike) -> str:
    """The name of the method that ``solver="auto"`` starts with: one that converges path by path.

    A problem with a sparsity, or of which the Laplacian is the only operator, gets the method that uses it. Other
    operators may transport as well as diffuse: the spectrum along the solution decides, see `auto_solver`.
    """
    if problem.sparsity is not None and problem.diffusion is None:
        return "rosenbrock"
    operators = _operators(problem)
    if operators is not None and operators.diffusion is not None and not operators.others:
        at_rest = isinstance(problem, FieldProblem) and problem.drift.diffusion is None
        return "tsit5" if at_rest else "rosenbrock"
    if problem.diffusion is None:
        return "tsit5"
    if problem.noise == "general":
        return "euler" if problem.calculus == "ito" else "ees25"
    return "sosra" if problem.noise == "additive" else "sosri2"


def get_controller(controller: str | Controller | None) -> Controller | None:
    """The controller of this name; an instance is returned as it is, and None stands for the method's own.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if controller is None or isinstance(controller, Controller):
        return controller
    if isinstance(controller, str) and controller in _CONTROLLERS:
        return _CONTROLLERS[controller]()
    close = difflib.get_close_matches(str(controller), _CONTROLLERS, n=1)
    hint = f" did you mean {close[0]!r}?" if close else ""
    names = ", ".join(map(repr, _CONTROLLERS))
    raise ValueError(f"unknown controller {controller!r};{hint} give None, one of {names}, or a Controller instance")
