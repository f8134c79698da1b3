"""Names of solvers, and which of them suits a problem."""

from __future__ import annotations

import difflib

from skneuralde.problems import FieldProblem, Problem
from skneuralde.solvers.adapters.torchdiffeq import torchdiffeq_solvers
from skneuralde.solvers.adapters.torchsde import torchsde_solvers
from skneuralde.solvers.core.right_hand_side import ProblemLike
from skneuralde.solvers.core.stepper import SOLVERS, Solver
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


def solver_names() -> list[str]:
    """Every name that `get_solver` knows, besides "auto"."""
    return sorted(SOLVERS)


def get_solver(name: str) -> Solver:
    """The solver of this name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name in SOLVERS:
        return SOLVERS[name]
    close = difflib.get_close_matches(str(name), SOLVERS, n=1)
    hint = f" did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown solver {name!r};{hint} valid names are 'auto', {', '.join(map(repr, solver_names()))}")


def choose_solver(problem: ProblemLike) -> str:
    """What ``solver="auto"`` means for this problem: a method that converges path by path.

    Where a sparsity, or a Laplacian, tells how the components of a state hang together, one that uses it; for other
    operators one that needs nothing but the right-hand side.
    """
    if problem.sparsity is not None and problem.diffusion is None:
        return "rosenbrock"
    operator = problem.operator if isinstance(problem, Problem) else None
    if operator is not None:
        return "rock2" if operator.diffusion is None else "rosenbrock"
    if problem.diffusion is None:
        return "rosenbrock" if isinstance(problem, FieldProblem) and problem.drift.diffusion else "tsit5"
    if problem.noise == "general":
        return "euler" if problem.calculus == "ito" else "ees25"
    return "sosra" if problem.noise == "additive" else "sosri2"
