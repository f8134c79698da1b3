"""Methods that hand stiff paths over to another method."""

from __future__ import annotations

import math

from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step, StepInput, Stepper


class Switch(Stepper):
    """Two methods: each path goes on with ``stiff`` while the equation is stiff for it, else with ``explicit``.

    Parameters
    ----------
    explicit : Stepper
        Its steps report their stiffness.
    stiff : Stepper
    limit : float
        Stiffness of explicit steps, see `Step.stiffness`, that stability limits.
    release : float
        Stiffness of steps of the other method up to which explicit ones are as good.
    most : float
        Number of explicit steps up to which the other method can take their place; beyond it a path fails.
    """

    def __init__(self, explicit: Stepper, stiff: Stepper, *, limit: float, release: float, most: float = math.inf):
        self.explicit, self.stiff = explicit, stiff
        self.limit, self.release, self.most = limit, release, most
        self.name = f"auto({explicit.name}, {stiff.name})"
        self.calculus, self.noise_kinds, self.order = explicit.calculus, explicit.noise_kinds, explicit.order
        self.adaptive, self.reference = explicit.adaptive, explicit.reference
        self.handles_stiffness = True
        self.gradients = tuple(mode for mode in explicit.gradients if mode in stiff.gradients)
        self.error_order, self.controller = explicit.error_order, explicit.controller

    def for_tolerance(self, rtol: float | None) -> Stepper:
        """The explicit method for steps of a fixed size."""
        return self.explicit if rtol is None else self

    def step(self, inputs: StepInput) -> Step:
        """A step of the explicit method."""
        return self.explicit.step(inputs)

    def start_state(self, rhs: RightHandSide, t: Tensor, u: Tensor, f: Tensor | None = None) -> Tensor | None:
        return self.explicit.start_state(rhs, t, u, f)
