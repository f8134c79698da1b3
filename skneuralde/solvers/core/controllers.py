"""Step-size controllers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Controller(ABC):
    """Chooses the length of the next step of each path from the error of the last one.

    A controller is stateless: what it remembers of a path is the path's controller state, a float64 tensor (n, 1).

    Attributes
    ----------
    first_state : float
        Controller state before the first step.
    first_error : float
        Error ratio that the first step aims at.
    """

    first_state: float
    first_error: float

    @abstractmethod
    def update(
        self, length: Tensor, proposal: Tensor, ratio: Tensor, controller_state: Tensor, order: float
    ) -> tuple[Tensor, Tensor]:
        """The next step to propose, and the new controller state.

        A step may be shorter than proposed for reasons other than its error; then the proposal still stands as far as
        the error allows.

        Parameters
        ----------
        length, proposal : float64 Tensor of shape (n, 1)
            Length of the step that was tried, and the length that was proposed.
        ratio : float64 Tensor of shape (n, 1)
            Error over tolerance; the step was accepted up to 1.
        controller_state : float64 Tensor of shape (n, 1)
        order : float
            Power of the length with which the error estimate shrinks.
        """

    def after_jump(self, controller_state: Tensor) -> Tensor:
        """Controller state of a path whose state or inputs have jumped."""
        return controller_state


@dataclass(frozen=True)
class _Factors(Controller):
    """Factors that limit the change of the step: ``safety``, and the smallest and largest ratio of lengths."""

    safety: float = 0.9
    shrink: float = 0.2
    growth: float = 10.0

    def __post_init__(self) -> None:
        if not (0.0 < self.safety <= 1.0 and 0.0 < self.shrink < 1.0 < self.growth):
            raise ValueError(f"a controller needs 0 < safety <= 1 and 0 < shrink < 1 < growth, got {self!r}")


@dataclass(frozen=True)
class PIController(_Factors):
    """Proportional-integral control, for equations without noise: uses this error and that of the last accepted step.

    References
    ----------
    .. [1] K. Gustafsson, "Control theoretic techniques for stepsize selection in explicit Runge-Kutta methods", ACM
       Trans. Math. Softw. 17 (1991).
    .. [2] E. Hairer and G. Wanner, *Solving Ordinary Differential Equations II* (1996), section IV.2.
    """

    first_state, first_error = 1e-4, 0.01

    def update(
        self, length: Tensor, proposal: Tensor, ratio: Tensor, controller_state: Tensor, order: float
    ) -> tuple[Tensor, Tensor]:
        good = ratio <= 1.0
        proportional = self.safety * ratio ** (-0.7 / order)
        factor = torch.where(good, proportional * controller_state ** (0.4 / order), proportional.clamp_max(1.0))
        most = torch.where(good, torch.maximum(self.growth * length, proposal), length)
        controller_state = torch.where(good, ratio.clamp_min(self.first_state), controller_state)
        return torch.minimum(length * factor.clamp_min(self.shrink), most), controller_state

    def after_jump(self, controller_state: Tensor) -> Tensor:
        return torch.ones_like(controller_state)  # the last error is left out


@dataclass(frozen=True)
class PredictiveController(_Factors):
    """Gustafsson's predictive control, for methods that stability does not limit, whose steps grow towards rest.

    It compares the longest step that would have been accepted with the one before. Steps may grow at once, and shrink
    in time; proportional-integral control lags behind a constant rate of growth, and its errors end far below the
    tolerance.

    References
    ----------
    .. [1] K. Gustafsson, "Control-theoretic techniques for stepsize selection in implicit Runge-Kutta methods", ACM
       Trans. Math. Softw. 20 (1994) 496-517.
    .. [2] E. Hairer and G. Wanner, *Solving Ordinary Differential Equations II* (1996), section IV.8.
    """

    growth: float = 8.0

    first_state, first_error = 0.0, 0.01

    def update(
        self, length: Tensor, proposal: Tensor, ratio: Tensor, controller_state: Tensor, order: float
    ) -> tuple[Tensor, Tensor]:
        good = ratio <= 1.0
        longest = length * ratio ** (-1.0 / order)  # the longest step that would have been accepted
        trend = torch.where(controller_state > 0.0, longest / controller_state, 1.0).clamp_max(1.0)
        target = self.safety * longest * torch.where(good, trend, 1.0)
        most = torch.where(good, torch.maximum(self.growth * length, proposal), self.safety * length)
        controller_state = torch.where(good, longest, controller_state)
        return torch.minimum(target.maximum(self.shrink * length), most), controller_state

    def after_jump(self, controller_state: Tensor) -> Tensor:
        return torch.zeros_like(controller_state)


@dataclass(frozen=True)
class AveragedErrorController(_Factors):
    """Control by the mean square of the errors so far, for equations with noise.

    The error of one step is random and sometimes vanishes by chance. If steps grew whenever that happens, and were
    accepted whenever it happens once more, the method would lose its order. So the square of ``ratio / length^order``
    is averaged, rejected steps included, and the next step has ``target`` as its expected error ratio.
    """

    growth: float = 1.5
    target: float = 0.3
    share: float = 0.2

    # A rejected step costs less than many small steps that grow.
    first_state, first_error = 0.0, 3.0

    def update(
        self, length: Tensor, proposal: Tensor, ratio: Tensor, controller_state: Tensor, order: float
    ) -> tuple[Tensor, Tensor]:
        longest = length * ratio ** (-1.0 / order)  # the longest step that would have been accepted
        square = longest ** (-2.0 * order)
        averaged = torch.lerp(controller_state, square, self.share)
        controller_state = torch.where(controller_state > 0.0, averaged, square)
        expected = (controller_state * self.target**-2.0) ** (-0.5 / order)
        most = torch.where(ratio <= 1.0, self.growth * torch.maximum(length, proposal), self.safety * longest)
        return torch.minimum(expected, most).maximum(self.shrink * length), controller_state
