"""Step-size control: how long the next step of each path may be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: The largest ratio of an error to what is allowed.
FAR_OFF = 1e10
#: A step cannot be shorter than this many spacings of the floating-point times around it.
_SPACINGS = 16.0


@dataclass(frozen=True)
class Tolerance:
    """The local error that is allowed: ``atol + rtol * abs(u)``, as a root mean square over the components.

    The last ``carried`` components are judged apart from the others, and must be good enough, too.
    """

    rtol: float
    atol: Tensor
    carried: int = 0

    def ratio(self, error: Tensor | None, u0: Tensor, u1: Tensor, floor: Tensor | None = None) -> Tensor:
        """Error over allowance, float64 (batch, 1); a step is good enough up to 1.

        It stays between 1e-10 and `FAR_OFF`, which also stands for errors that are not finite. ``floor (batch, dim)``
        is a size that stands in for that of smaller states.
        """
        assert error is not None  # methods that choose their steps know it
        size = torch.maximum(u0.abs(), u1.abs())
        if floor is not None:
            size = torch.maximum(size, floor)
        return self._compare(error, size).nan_to_num_(nan=FAR_OFF).clamp_(1e-10, FAR_OFF)

    def measure(self, vector: Tensor, u: Tensor) -> Tensor:
        """Size of a vector over what is allowed at u, float64 (batch, 1)."""
        return self._compare(vector, u.abs())

    def _compare(self, vector: Tensor, size: Tensor) -> Tensor:
        scaled = vector / torch.add(self.atol, size, alpha=self.rtol)
        squares = scaled.square_()
        if self.carried == 0:
            return squares.mean(-1, keepdim=True).sqrt_().double()
        parts = squares.split([squares.shape[-1] - self.carried, self.carried], -1)
        return torch.cat([part.mean(-1, keepdim=True) for part in parts], -1).amax(-1, keepdim=True).sqrt_().double()


class Controller(ABC):
    """Chooses the length of the next step of each path.

    Attributes
    ----------
    first_memory : float
        What a path remembers before its first step.
    first_error : float
        The error ratio that the first step aims at.
    """

    first_memory: float
    first_error: float

    @abstractmethod
    def update(self, length: Tensor, proposal: Tensor, ratio: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The step to propose after one of this length and error ratio, and what to remember; (n, 1) each.

        Where a step was shorter than proposed, for reasons of its own, the proposal still stands as far as the error
        allows.
        """

    def after_jump(self, memory: Tensor) -> Tensor:
        """What to remember where a path has jumped, of what it remembered before."""
        return memory


@dataclass(frozen=True)
class PIController(Controller):
    """For equations without noise: looks at this step's error and at the last accepted one's.

    References
    ----------
    .. [1] K. Gustafsson, "Control theoretic techniques for stepsize selection in explicit Runge-Kutta methods", ACM
       Trans. Math. Softw. 17 (1991).
    .. [2] E. Hairer and G. Wanner, *Solving Ordinary Differential Equations II* (1996), section IV.2.
    """

    order: float
    safety: float = 0.9
    shrink: float = 0.2
    growth: float = 10.0

    first_memory, first_error = 1e-4, 0.01

    def update(self, length: Tensor, proposal: Tensor, ratio: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        good = ratio <= 1.0
        proportional = self.safety * ratio ** (-0.7 / self.order)
        factor = torch.where(good, proportional * memory ** (0.4 / self.order), proportional.clamp_max(1.0))
        most = torch.where(good, torch.maximum(self.growth * length, proposal), length)
        memory = torch.where(good, ratio.clamp_min(self.first_memory), memory)
        return torch.minimum(length * factor.clamp_min(self.shrink), most), memory

    def after_jump(self, memory: Tensor) -> Tensor:
        return torch.ones_like(memory)  # the last error is left out of account


@dataclass(frozen=True)
class PredictiveController(Controller):
    """For methods that stability does not limit, whose steps grow as a solution comes to rest.

    The longest step that would have been good enough is compared with the one before it, so that steps may grow at
    once and shrink in time; a proportional-integral controller lags behind a constant rate of growth, and its errors
    end far below what is allowed.

    References
    ----------
    .. [1] K. Gustafsson, "Control-theoretic techniques for stepsize selection in implicit Runge-Kutta methods", ACM
       Trans. Math. Softw. 20 (1994) 496-517.
    .. [2] E. Hairer and G. Wanner, *Solving Ordinary Differential Equations II* (1996), section IV.8.
    """

    order: float
    safety: float = 0.9
    shrink: float = 0.2
    growth: float = 8.0

    first_memory, first_error = 0.0, 0.01

    def update(self, length: Tensor, proposal: Tensor, ratio: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        good = ratio <= 1.0
        just = length * ratio ** (-1.0 / self.order)  # as long as this, the step would have been just good enough
        trend = torch.where(memory > 0.0, just / memory, 1.0).clamp_max(1.0)
        wanted = self.safety * just * torch.where(good, trend, 1.0)
        most = torch.where(good, torch.maximum(self.growth * length, proposal), self.safety * length)
        return torch.minimum(wanted.maximum(self.shrink * length), most), torch.where(good, just, memory)

    def after_jump(self, memory: Tensor) -> Tensor:
        return torch.zeros_like(memory)


@dataclass(frozen=True)
class AveragedErrorController(Controller):
    """For equations with noise: looks at the mean square of the errors so far.

    The error of one step is random and sometimes vanishes by chance. If steps grew whenever that happens, and were
    accepted whenever it happens once more, the method would lose its order. So the square of ``ratio / length^order``
    is averaged, rejected steps included, and the next step is such that ``target`` is to be expected.
    """

    order: float
    target: float = 0.3
    share: float = 0.2
    safety: float = 0.9
    shrink: float = 0.2
    growth: float = 1.5

    # A rejected step costs less than many that grow.
    first_memory, first_error = 0.0, 3.0

    def update(self, length: Tensor, proposal: Tensor, ratio: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        just = length * ratio ** (-1.0 / self.order)  # as long as this, the step would have been just good enough
        now = just ** (-2.0 * self.order)
        memory = torch.where(memory > 0.0, torch.lerp(memory, now, self.share), now)
        expected = (memory * self.target**-2.0) ** (-0.5 / self.order)
        most = torch.where(ratio <= 1.0, self.growth * torch.maximum(length, proposal), self.safety * just)
        return torch.minimum(expected, most).maximum(self.shrink * length), memory


def first_step(
    drift: Callable[[Tensor], Tensor],
    u0: Tensor,
    f0: Tensor,
    tolerance: Tolerance,
    order: float,
    error: float,
    otherwise: float,
) -> Tensor:
    """A first step for each path, float64 (batch, 1), from the scales of u, u' and u''.

    ``drift`` is the drift at the starting time as a function of the state, differentiated along the solution by one
    probe. Nothing is asked of later times. ``error`` is what to aim at, in units of what is allowed, and ``otherwise``
    is the step where the state does not move at first.

    Notes
    -----
    As in [1]_, but for the rate at which derivatives grow: it is that from the first one to the second, so that the
    step does not depend on the unit of time.

    References
    ----------
    .. [1] E. Hairer, S. Norsett and G. Wanner, *Solving Ordinary Differential Equations I* (1993), section II.4.
    """
    speed = tolerance.measure(f0, u0)
    # Where the state starts at zero, a hundredth of the tolerance stands for its size.
    probe = 0.01 * tolerance.measure(u0, u0).clamp_min(1.0) / speed
    probe = torch.where(probe.isfinite(), probe, otherwise)
    change = drift(u0 + probe.to(u0.dtype) * f0) - f0
    rate = tolerance.measure(change, u0) / (probe * speed)
    step = (error / (speed * rate ** (order - 1.0))) ** (1.0 / order)
    step = torch.minimum(step, 1e4 * error * probe)
    return torch.where(step.isfinite() & (step > 0), step, otherwise)


def smallest_step(start: Tensor, end: Tensor) -> Tensor:
    """Below this a step no longer moves the time."""
    return _SPACINGS * torch.finfo(torch.float64).eps * torch.maximum(start.abs(), end)
