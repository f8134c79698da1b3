"""Forward-mode gradients, for few parameters: derivatives are propagated along with the states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Stepper
from skneuralde.solvers.gradients.dependencies import dependencies_of
from skneuralde.solvers.mesh.mesh import Mesh
from skneuralde.solvers.mesh.outputs import RequestedStates, run


def forward(stepper: Stepper, rhs: RightHandSide, u: Tensor, mesh: Mesh, outputs: RequestedStates) -> list[Tensor]:
    """Forward mode with respect to the problem's parameters and the initial states; memory does not grow with steps.

    If the steps depend on another tensor that requires a gradient, it raises ValueError.
    """
    if len(mesh) == 0:
        return []
    problem = cast(nn.Module, rhs.problem)
    parameters = {name: p for name, p in problem.named_parameters() if p.requires_grad}
    for leaf in dependencies_of(stepper, rhs, u, mesh):
        if not any(leaf is parameter for parameter in parameters.values()):
            raise ValueError(
                "gradient='forward' differentiates with respect to y0 and the parameters of the problem, but a "
                f"coefficient also depends on a tensor of shape {tuple(leaf.shape)} that requires a gradient: make it "
                "a parameter of a torch.nn.Module, or use another gradient"
            )
    names = {id(p): name for name, p in parameters.items()}
    owners: dict[str, dict[tuple[int, str], nn.Module]] = {name: {} for name in parameters}
    for module in problem.modules():
        for attribute, p in module.named_parameters(recurse=False):
            if id(p) in names:
                owners[names[id(p)]][id(module), attribute] = module
    states = _StatesOfParameters((stepper, rhs, mesh, outputs), owners)
    return list(_Forward.apply(states, u, tuple(parameters), *parameters.values()))


class _StatesOfParameters:
    """The requested states as a function of the initial ones and of the parameters.

    ``owners`` are the modules that hold each parameter, by identity and attribute. `torch.func.functional_call` is no
    alternative: it does not restore a module that the problem holds under two names.
    """

    def __init__(
        self,
        work: tuple[Stepper, RightHandSide, Mesh, RequestedStates],
        owners: dict[str, dict[tuple[int, str], nn.Module]],
    ):
        self.work, self.owners = work, owners

    def __call__(self, u: Tensor) -> tuple[Tensor, ...]:
        stepper, rhs, mesh, outputs = self.work
        return tuple(run(stepper, rhs, u, mesh, outputs)[0])

    def along(self, u: Tensor, du: Tensor, parameters: dict[str, Tensor], name: str, change: Tensor) -> list[Tensor]:
        """Derivatives of the requested states in one direction."""

        def states(u: Tensor, value: Tensor) -> tuple[Tensor, ...]:
            with self._replaced(name, value):
                return self(u)

        value = parameters[name] if name else u.new_zeros(())
        return list(torch.func.jvp(states, (u, value), (du, change))[1])

    @contextmanager
    def _replaced(self, name: str, value: Tensor) -> Iterator[None]:
        """A parameter has another value for a while; none has for the name ""."""
        held = [(module, attribute) for (_, attribute), module in self.owners.get(name, {}).items()]
        before = [module._parameters[attribute] for module, attribute in held]
        try:
            for module, attribute in held:
                module._parameters[attribute] = value  # type: ignore[assignment]
            yield
        finally:
            for (module, attribute), parameter in zip(held, before, strict=True):
                module._parameters[attribute] = parameter


class _Forward(torch.autograd.Function):
    """Propagates the derivatives in all directions, and contracts them in the backward pass."""

    @staticmethod
    def forward(ctx, states, u, names, *values):
        ctx.places = states.work[3].places
        ctx.batch, ctx.shapes = len(u), [value.shape for value in values]
        parameters = dict(zip(names, (value.detach() for value in values), strict=True))
        ctx.by_parameter = [
            [states.along(u, torch.zeros_like(u), parameters, name, unit.view_as(parameters[name])) for unit in
             torch.eye(parameters[name].numel(), dtype=parameters[name].dtype, device=u.device)]
            for name in names
        ]  # fmt: skip
        ctx.by_state = []
        if ctx.needs_input_grad[1]:
            units = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)
            nothing = u.new_zeros(())
            ctx.by_state = [states.along(u, unit.expand_as(u), parameters, "", nothing) for unit in units]
        return states(u)

    @staticmethod
    def backward(ctx, *slopes):
        gradients = [
            torch.stack([sum((s * d).sum() for s, d in zip(slopes, change, strict=True)) for change in changes])
            .view(shape)
            for changes, shape in zip(ctx.by_parameter, ctx.shapes, strict=True)
        ]  # fmt: skip
        start = None
        if ctx.by_state:
            start = slopes[0].new_zeros(ctx.batch, len(ctx.by_state))
            for component, change in enumerate(ctx.by_state):
                for place, s, d in zip(ctx.places.values(), slopes, change, strict=True):
                    rows = torch.arange(len(s), device=s.device) if place.rows is None else place.rows
                    start[:, component].index_add_(0, rows, (s * d).sum(-1))
        return None, start, None, *gradients
