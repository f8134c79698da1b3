"""Numerical methods: the facts of a solver, and the step that a driver asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.controllers import Controller, PIController
from skneuralde.solvers.core.right_hand_side import ProblemLike, RightHandSide


class Solver(ABC):
    """A numerical method. Its facts are class attributes, which the checks, the tests and the documentation read.

    Attributes
    ----------
    name : str
    calculus : tuple of str
        Interpretations of the stochastic integral that the method solves: "ito", "stratonovich". An equation in
        another one is converted to the first.
    noise_kinds : tuple of str
        Kinds of noise that the method treats: "diagonal", "additive", "general", and "none" for equations without
        noise.
    order : int or None
        Order of convergence without noise; None for a method that needs noise.
    strong_order, weak_order : float or None
        Orders of convergence with the least convenient noise that the method treats; None where single paths do not
        converge.
    levy_area : str or None
        Levy area that the method needs besides increments: "space-time".
    increments : {"gaussian", "three-point"}
        Distribution of the increments: those of a Brownian path, or three-valued ones that share their first five
        moments, for methods that converge only weakly.
    adaptive : bool
        True for a method that chooses its steps from rtol and atol; False for one that needs dt.
    gradients : tuple of str
        Gradient modes that the method supports, see `skneuralde.solvers.gradients.replay`.
    handles_jumps : bool
        True where every path can stop at times of its own.
    handles_stiffness : bool
        True for a method that takes long steps however fast a component decays.
    reference : str
        Publication of the method.
    """

    name: str
    calculus: tuple[str, ...] = ("ito", "stratonovich")
    noise_kinds: tuple[str, ...] = ("none",)
    order: int | None = None
    strong_order: float | None = None
    weak_order: float | None = None
    levy_area: str | None = None
    increments: str = "gaussian"
    adaptive: bool = False
    gradients: tuple[str, ...] = ("direct",)
    handles_jumps: bool = False
    handles_stiffness: bool = False
    reference: str = ""
    #: What a failure of this method, prepared for an equation, may come from, and what to do.
    advice: str = ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'name', '')!r}>"

    def for_tolerance(self, rtol: float | None) -> Solver:
        """The method that makes the steps; ``rtol`` is None for steps of a fixed size."""
        return self

    def handles(self, noise: str | None) -> bool:
        """Whether the method treats this kind of noise (None: no noise)."""
        return ("none" if noise is None else noise) in self.noise_kinds

    def check(self, problem: ProblemLike) -> None:
        """Refuse a problem whose noise or jumps the method cannot treat.

        Raises
        ------
        ValueError
            The message names the methods that can.
        """
        if problem.jumps and not self.handles_jumps:
            able = sorted(solver.name for solver in SOLVERS.values() if solver.handles_jumps and solver.handles(None))
            raise ValueError(
                f"solver {self.name!r} takes the same steps for all paths and cannot stop where each of them jumps; "
                f"these can: {', '.join(map(repr, able))}"
            )
        noise = None if problem.diffusion is None else problem.noise
        if self.handles(noise):
            return
        able = sorted(solver.name for solver in SOLVERS.values() if solver.handles(noise))
        kind = "equations without noise" if noise is None else f"{noise} noise"
        raise ValueError(f"solver {self.name!r} cannot treat {kind}; these can: {', '.join(map(repr, able))}")


#: Methods by name, filled by the registry.
SOLVERS: dict[str, Solver] = {}


class StepInput(NamedTuple):
    """Input of one step of every path.

    Attributes
    ----------
    rhs : RightHandSide
    t : float64 Tensor of shape (batch, 1)
    h : float, or Tensor of shape (batch, 1) in the dtype of u
        Length of the step; negative where time runs backwards.
    u : Tensor of shape (batch, dim)
    noise : Increments or None
        Increments of the step, each of shape (batch, m); None without noise.
    solver_state : Tensor of shape (batch, ...) or None
        Kept by the previous step for this one. None stands for that of `Stepper.start_state`.
    """

    rhs: RightHandSide
    t: Tensor
    h: Tensor | float
    u: Tensor
    noise: Increments | None = None
    solver_state: Tensor | None = None


class Step(NamedTuple):
    """Result of one step.

    Attributes
    ----------
    u1 : Tensor of shape (batch, dim)
        State at the end.
    error : Tensor of shape (batch, dim) or None
        Estimate of the local error, of adaptive methods.
    solver_state : Tensor of shape (batch, ...) or None
        What the next step can reuse, such as the drift at the end.
    stages : tuple of Tensor of shape (batch, dim)
        What the dense output needs.
    diffusion : Tensor of shape (batch, dim) or None
        Size of the noise of each component, of adaptive methods for equations with noise.
    stiffness : callable or None
        From the sizes that the tolerance gives to the components, (batch, dim), to the length of the step times the
        rate at which the fastest component decays, or a bound on it, float64 (batch, 1). None where a method has no
        estimate that needs no further evaluation.
    """

    u1: Tensor
    error: Tensor | None = None
    solver_state: Tensor | None = None
    stages: tuple[Tensor, ...] = ()
    diffusion: Tensor | None = None
    stiffness: Callable[[Tensor], Tensor] | None = None


class Stepper(Solver):
    """A method that makes one step; a driver chooses the steps.

    A subclass states its facts and implements `step`. An adaptive one returns an estimate of the local error with each
    step and sets ``error_order`` and, if the default does not suit it, ``controller``.

    Attributes
    ----------
    error_order : float
        Power of the step's length with which the error estimate shrinks; adaptive methods only.
    controller : Controller
        Step-size controller of an adaptive method, unless the caller gives another one. Methods for equations with
        noise take an `AveragedErrorController`.
    longest_step : float
        The longest step with noise, as a share of the power of two above the whole time.
    """

    gradients: tuple[str, ...] = ("direct", "checkpoint", "forward")
    handles_jumps = True
    error_order: float
    controller: Controller = PIController()
    longest_step = 1.0

    @abstractmethod
    def step(self, inputs: StepInput) -> Step:
        """Make one step of every path."""

    def start_state(self, rhs: RightHandSide, t: Tensor, u: Tensor, f: Tensor | None = None) -> Tensor | None:
        """Solver state of a step that starts afresh at times ``t (batch, 1)`` in states ``u``, as after a jump.

        ``f`` is the drift there, where it is known. None for a method that keeps nothing from step to step; a method
        whose steps return a solver state must implement this.
        """
        return None

    def restarted(self, rhs: RightHandSide, t: Tensor, step: Step, rows: Tensor) -> Step:
        """The step, which ends at times ``t (batch, 1)``, with solver states of these rows that start afresh.

        Raises
        ------
        TypeError
            For a method that keeps a solver state and does not implement `start_state`.
        """
        if step.solver_state is None or len(rows) == 0:
            return step
        fresh = self.start_state(rhs.select(rows), t.index_select(0, rows), step.u1.index_select(0, rows))
        if fresh is None:
            raise TypeError(f"solver {self.name!r} keeps a solver state, so it must implement start_state")
        return step._replace(solver_state=step.solver_state.index_copy(0, rows, fresh))

    def prepare(self, rhs: RightHandSide, t: Tensor, u: Tensor, *, rtol: float | None, n_hazards: int) -> Stepper:
        """The stepper for one batch, which starts at times ``t (batch, 1)`` in states ``u``.

        A method may look at the equation first, and return a copy of itself that is tuned to it.

        Parameters
        ----------
        rtol : float or None
            Relative tolerance; None for steps of a fixed size.
        n_hazards : int
            Number of hazards and jump counts that are integrated along with the states.

        Raises
        ------
        ValueError
            If the method cannot solve such an equation.
        """
        return self
