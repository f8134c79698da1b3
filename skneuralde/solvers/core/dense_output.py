"""Dense output: the solution inside the steps of a method."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide


class DenseOutput(ABC):
    """A stepper that also gives the solution inside its steps."""

    def can_interpolate(self, rhs: RightHandSide) -> bool:
        """Whether the dense output is accurate for this right-hand side."""
        return True

    @abstractmethod
    def interpolate(self, theta: Tensor, u0: Tensor, stages: tuple[Tensor, ...]) -> Tensor:
        """The solution at fractions ``theta`` of steps that start at ``u0 (n, dim)``, from their stages.

        ``theta`` is float64 (n, 1), whatever the dtype of the states.
        """
