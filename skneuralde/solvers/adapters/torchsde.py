"""Methods of the package torchsde, as ``torchsde:euler``, ``torchsde:srk``, ..."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torchsde
from torch import Tensor

from skneuralde._transforms import is_differentiated
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.gradients.captured import is_transformed
from skneuralde.solvers.mesh.mesh import RunStepper, StepRun


class _Facts(NamedTuple):
    """Facts of a method, from the package's documentation."""

    calculus: tuple[str, ...]
    noise_kinds: tuple[str, ...]
    strong_order: float
    weak_order: float
    levy_area: str | None = None


_ANY = ("diagonal", "additive", "general")
_COMMUTING = ("diagonal", "additive")
# Without "log_ode", which needs the full Levy area.
_METHODS = {
    "euler": _Facts(("ito",), _ANY, 0.5, 1.0),
    "milstein": _Facts(("ito", "stratonovich"), _COMMUTING, 1.0, 1.0),
    "srk": _Facts(("ito",), _COMMUTING, 1.5, 1.5, "space-time"),
    "midpoint": _Facts(("stratonovich",), _ANY, 0.5, 1.0),
    "heun": _Facts(("stratonovich",), _ANY, 0.5, 1.0),
    "euler_heun": _Facts(("stratonovich",), _ANY, 0.5, 1.0),
    "reversible_heun": _Facts(("stratonovich",), _ANY, 0.5, 1.0),
}


class TorchSDE(RunStepper):
    """A fixed-step method of torchsde, on our mesh and with our noise.

    The mesh stops at every save time, so that nothing is interpolated, and the noise is a function of its keys, so
    that neither torch's nor numpy's global random state is used.

    References
    ----------
    .. [1] X. Li, T.-K. L. Wong, R. T. Q. Chen and D. Duvenaud, "Scalable gradients for stochastic differential
       equations", AISTATS 2020.
    """

    reference = "Li et al. (2020), torchsde"
    gradients = ("direct", "checkpoint", "forward")

    def __init__(self, method: str):
        facts = _METHODS[method]
        self.method = method
        self.name = f"torchsde:{method}"
        self.calculus, self.noise_kinds = facts.calculus, facts.noise_kinds
        self.strong_order, self.weak_order, self.levy_area = facts.strong_order, facts.weak_order, facts.levy_area

    def start_state(self, rhs: RightHandSide, t: Tensor, u: Tensor, f: Tensor | None = None) -> Tensor | None:
        """The second copy of the state, of the reversible method."""
        return u if self.method == "reversible_heun" else None

    def run(self, run: StepRun, u: Tensor, solver_state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Call torchsde once."""
        problem = run.rhs.problem
        if self.method == "milstein" and is_transformed([u], problem, run.rhs.context):
            # Its derivative of g is found by torch.autograd, where tangents are lost.
            raise RuntimeError(
                f"solver {self.name!r} has no derivatives inside transforms of torch.func and torch's forward mode: "
                "use torch.autograd, or solver='milstein'"
            )
        calculus = problem.calculus if problem.calculus in self.calculus else self.calculus[0]
        sde = _SDE(run, problem.noise, calculus)
        s = torch.arange(run.n_steps + 1, dtype=u.dtype, device=u.device)
        states, last = torchsde.sdeint(
            sde,
            u,
            s,
            bm=_UnitNoise(run),
            method=self.method,
            dt=1.0,
            extra=True,
            extra_solver_state=None if solver_state is None else (*sde.f_and_g(s[0], solver_state), solver_state),
        )
        # Milstein's method differentiates g by autograd, which leaves a graph behind even without a gradient.
        if not any(map(is_differentiated, (u, *sde.f_and_g(s[0], u)))):
            states = states.detach()
        return states[1:], last[-1] if last else None


class _SDE:
    """The equation of a run in the form that torchsde takes."""

    def __init__(self, run: StepRun, noise_type: str, sde_type: str):
        self.run, self.noise_type, self.sde_type = run, noise_type, sde_type
        self.spread = run.h**0.5

    def f(self, s: Tensor, u: Tensor) -> Tensor:
        return self.run.h * self.run.rhs.drift(self.run.time_point(s), u)

    def g(self, s: Tensor, u: Tensor) -> Tensor:
        return self._spread(self.run.rhs.diffusion(self.run.time_point(s), u))

    def f_and_g(self, s: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        f, g = self.run.rhs.coefficients(self.run.time_point(s), u)
        assert g is not None
        return self.run.h * f, self._spread(g)

    def _spread(self, g: Tensor) -> Tensor:
        if self.noise_type != "diagonal" and g.ndim == 2:
            g = torch.diag_embed(g)
        spread = self.spread
        return g * (spread[..., None] if g.ndim == 3 and isinstance(spread, Tensor) else spread)


class _UnitNoise(torchsde.BaseBrownian):
    """The run's noise, scaled to steps of length one."""

    levy_area_approximation = "space-time"

    def __init__(self, run: StepRun):
        self.noise = run.noise
        self.scale = run.h**-0.5

    def __call__(
        self, ta: Tensor, tb: Tensor, return_U: bool = False, return_A: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        w, area = self.noise[round(float(ta))]
        if not return_U:
            return self.scale * w
        assert area is not None
        # The integral of the path over the step.
        return self.scale * w, self.scale * (0.5 * w + area)

    def __repr__(self) -> str:
        return f"noise of {len(self.noise)} steps"

    @property
    def dtype(self) -> torch.dtype:
        return self.noise[0].w.dtype

    @property
    def device(self) -> torch.device:
        return self.noise[0].w.device

    @property
    def shape(self) -> torch.Size:
        return self.noise[0].w.shape


def torchsde_solvers() -> list[TorchSDE]:
    """One solver per method."""
    return [TorchSDE(method) for method in _METHODS]
