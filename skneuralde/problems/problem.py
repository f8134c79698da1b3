"""`Problem`: the equation du = f(t, u) dt + g(t, u) dW, and jumps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skneuralde._typing import Coefficient, Context, State, Time
from skneuralde.problems.field import FieldProblem
from skneuralde.problems.jumps import Jump
from skneuralde.problems.operators import Operators, resolve_operator
from skneuralde.problems.reaction import Reaction, resolve_reaction
from skneuralde.problems.sparsity import Sparsity, pattern_of, resolve_sparsity
from skneuralde.terms import Constant, Term, check_term, resolve_known

NOISES = ("diagonal", "additive", "general")
CALCULI = ("ito", "stratonovich")


class Problem(nn.Module):
    """A differential equation: ordinary, stochastic, with jumps, or a partial one by the method of lines.

    Parameters
    ----------
    drift : None, number, array, Parameter, callable, torch.nn.Module or list of these
        f of ``du = f(t, u) dt + g(t, u) dW``. A callable takes ``(t, u)`` or ``(t, u, c)``: ``t (batch, 1)``,
        ``u (batch, dim)`` and the context ``c (batch, k)``, and returns ``(batch, dim)``; a `Parameter` or torch
        parameter may be a default argument. A list is the sum of its elements. None is no drift.
    diffusion : same, default=None
        g, given in the same way; ``noise`` says its shape. None makes the equation ordinary.
    jumps : sequence of Jump, default=()
        Channels of jumps, each driven by a Poisson process of its own.
    operator : Operator, callable, torch.nn.Module or list of these, default=None
        The terms that couple the points of a field ``u (batch, *grid, fields)``, such as `Laplacian` and `Advection`.
        A callable takes ``u`` and returns the same shape; it may use the positions of the points. With an operator the
        state is a field and ``drift`` is its reaction term, which acts at each point separately and sees all points as
        one batch: ``u`` is ``(batch * points, fields)``, and ``t`` and ``c`` have as many rows. An array with the shape
        of one field, ``(*grid, fields)``, is a known source, also as an element of a list.
    noise : {"diagonal", "additive", "general"}, default="diagonal"
        "diagonal": g has the shape of u, every component its own noise. "additive": g does not depend on u; it has the
        shape of u or is ``(batch, dim, m)``. "general": g is ``(batch, dim, m)``.
    calculus : {"ito", "stratonovich"}, default="ito"
    sparsity : Stencil or array or sparse matrix of shape (n, n), optional
        Sparsity pattern of the drift's Jacobian: a matrix of scipy, torch or numpy that is nonzero where a component of
        the drift (row) depends on a component of the state (column). With an operator it is the pattern of the
        operators alone, and n counts the entries of a field flattened as ``(*grid, fields)``; a `Stencil` describes it
        for grids of any size. The solver "rosenbrock" then computes the Jacobian from a few directional derivatives and
        factorises it.

    Attributes
    ----------
    drift, diffusion : Term
        The coefficients as torch modules; ``diffusion`` is None if the equation has no noise.
    jumps : ModuleList of Jump
    operator : Operators or None
    sparsity : Sparsity or None
    state_ndim : int or None
        Number of axes of one state; None if the operators work on any grid: then all axes of y0 are one state.

    Examples
    --------
    >>> import torch
    >>> from skneuralde import Problem
    >>> problem = Problem(lambda t, u: -u, 0.5)
    >>> problem.drift(torch.zeros(1, 1), torch.ones(1, 2))
    tensor([[-1., -1.]])
    """

    state_ndim: int | None
    drift: Term
    diffusion: Term | None
    operator: Operators | None

    def __init__(
        self,
        drift: Any,
        diffusion: Any = None,
        *,
        jumps: Sequence[Jump] = (),
        operator: Any = None,
        noise: str = "diagonal",
        calculus: str = "ito",
        sparsity: Any = None,
    ):
        super().__init__()
        if noise not in NOISES:
            raise ValueError(f"noise must be one of {NOISES}, got {noise!r}")
        if calculus not in CALCULI:
            raise ValueError(f"calculus must be one of {CALCULI}, got {calculus!r}")
        if not isinstance(jumps, (Sequence, nn.ModuleList)) or any(not isinstance(jump, Jump) for jump in jumps):
            raise ValueError(f"jumps must be a sequence of Jump, such as (Jump(rate, affect),), got {jumps!r}")
        self.noise = noise
        self.calculus = calculus
        # nn.ModuleList does not know the type of its modules.
        self.jumps: Sequence[Jump] = nn.ModuleList(jumps)  # type: ignore[assignment]
        self.operator = resolve_operator(operator)
        self.sparsity: Sparsity | None = resolve_sparsity(sparsity)
        if self.operator is not None:
            if diffusion is not None:
                raise ValueError("an equation with an operator has no noise: give diffusion=None")
            if jumps:
                raise ValueError("an equation with an operator has no jumps: give jumps=()")
            ndim = self.operator.ndim
            if ndim is None and self.sparsity is not None:
                ndim = self.sparsity.ndim
            self.state_ndim = None if ndim is None else ndim + 1
            self.drift = resolve_reaction(drift)
        else:
            self.state_ndim = 1
            f = resolve_known(drift, name="drift")
            self.drift = Constant(torch.zeros((), dtype=torch.float64)) if f is None else f
        self.diffusion = resolve_known(diffusion, name="diffusion")
        if noise == "additive" and self.diffusion is not None:
            # `check` verifies it; the diffusion need not be differentiated.
            self.diffusion.state_dependent = False
        self._noise_dim: int | None = None

    @property
    def original(self) -> Problem:
        """The equation as it was given, before `flattened`: the equation itself."""
        return self

    def flattened(self, state: Sequence[int]) -> Problem | FieldProblem:
        """Return the equation for flat states ``(batch, n)``, which solvers use, of fields ``(*grid, fields)``.

        Without an operator it is the equation itself.
        """
        if self.operator is None:
            return self
        assert isinstance(self.drift, Reaction)
        return FieldProblem(self, self.drift, self.operator, state, self.sparsity)

    def reinterpreted(self, drift: Term, calculus: str) -> Problem:
        """Return the equation with the same noise and jumps, another drift and another calculus."""
        other = Problem(drift, self.diffusion, jumps=self.jumps, noise=self.noise, calculus=calculus)
        other._noise_dim = self._noise_dim
        return other

    def noise_dim(self, dim: int) -> int:
        """Count the Brownian motions that drive a state of dimension ``dim``.

        Raises
        ------
        RuntimeError
            If the number follows from the shape of g, and `check` has not evaluated g yet.
        """
        if self.diffusion is None:
            return 0
        if self.noise == "diagonal":
            return dim
        if self._noise_dim is None:
            raise RuntimeError("the number of Brownian motions is measured by Problem.check, which has not been called")
        return self._noise_dim

    def apply_noise(self, g: Coefficient, dw: State) -> State:
        """Multiply a value g of the diffusion by an increment ``dw (batch, m)``."""
        return g * dw if g.ndim == dw.ndim else (g @ dw[..., None])[..., 0]

    def check(self, t: Time, u: State, c: Context | None = None, *, range_of_rates: bool = True) -> None:
        """Call every coefficient once and check its value.

        Raises
        ------
        ValueError
            If a coefficient does not return a finite tensor of the state's dtype and device and of the shape that
            ``noise`` asks for, if the drift has dependencies that ``sparsity`` leaves out, or if additive noise changes
            with the state; with ``range_of_rates`` also if a rate of jumps is negative or above its bound.
        """
        if self.operator is not None:
            self.flattened(u.shape[1:]).check(t, u.flatten(1), c, range_of_rates=range_of_rates)
            return
        dim = u.shape[-1]
        check_term(self.drift, name="drift", shape=(dim,), t=t, u=u, c=c)
        if self.sparsity is not None:
            pattern_of(self.sparsity, (dim,)).check(lambda v, t, c: self.drift(t, v, c), u, t, c)
        for i, jump in enumerate(self.jumps):
            jump.check(t, u, c, name=f"jumps[{i}]", range_of_rates=range_of_rates)
        if self.diffusion is None:
            return
        shape = (dim, None) if self._is_matrix_noise(self.diffusion, t, u, c) else (dim,)
        g = check_term(self.diffusion, name="diffusion", shape=shape, t=t, u=u, c=c)
        self._noise_dim = g.shape[-1]
        if self.noise == "additive":
            with torch.no_grad():
                elsewhere = self.diffusion(t, 1.5 * u + 1, c)
            if not torch.equal(g, elsewhere):
                raise ValueError(
                    'noise="additive" says that the diffusion does not depend on the state, but it changes with u: '
                    'give noise="diagonal" or noise="general"'
                )

    def _is_matrix_noise(self, diffusion: Term, t: Tensor, u: Tensor, c: Tensor | None) -> bool:
        if self.noise != "additive":
            return self.noise == "general"
        with torch.no_grad():
            return getattr(diffusion(t, u, c), "ndim", 2) == 3
