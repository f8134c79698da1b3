"""Rates and effects of jumps in the forms that an estimator takes, turned into terms and affects."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skneuralde.terms.affects import Affect, GaussianAffect, KnownAffect, SetState, SumAffect
from skneuralde.terms.base import Sum, Term
from skneuralde.terms.inputs import Inputs
from skneuralde.terms.jumps import BoundedRate, MoveBy
from skneuralde.terms.known import Constant, Number
from skneuralde.terms.mlp import MLP
from skneuralde.terms.network import Network, copy_learned
from skneuralde.terms.parameter import Parameter
from skneuralde.terms.resolve import is_sum, resolve, resolve_known_rate

_CHOICES = (
    '"gaussian", "mlp", an MLP, a number or array, a Parameter, a function of (t, u), (t, u, c), (t, u, z) or '
    "(t, u, c, z), a torch.nn.Module with the same call, or a list of these, which is their sum"
)


@dataclass(frozen=True)
class JumpNetworks:
    """Settings and initial values of the networks of a jump."""

    default: MLP  # settings of the networks that "mlp" and "gaussian" stand for
    inputs: Inputs
    generator: torch.Generator
    rate: float  # initial rate
    max_rate: float  # upper bound of the rate
    size: Tensor  # (dim,), initial root mean square of the jumps
    shift: Tensor  # (dim,), initial mean of a random jump
    move: Tensor  # (dim,), initial amount of a deterministic jump
    floor: Tensor  # (dim,), smallest standard deviation of a random jump

    def network(self, mlp: MLP, scale: Tensor, name: str, *, positive: str | None = None) -> Term:
        """Network with the given output scale."""
        return Network(mlp, self.inputs, scale, positive=positive, generator=self.generator, name=name)

    def own(self, spec: Any, name: str) -> Any:
        """A copy of the caller's object, to be trained."""
        return self.inputs.copies.of(spec, name, self.inputs.dtype)


def resolve_rate(spec: Any, *, name: str, networks: JumpNetworks) -> Term:
    """Turn the rate of a jump given to an estimator into a term with one value per path, ``(batch,)``.

    A module is copied.
    """
    if is_sum(spec) and spec:
        return Sum([resolve_rate(part, name=f"{name}[{i}]", networks=networks) for i, part in enumerate(spec)])
    mlp = networks.default if isinstance(spec, str) and spec == "mlp" else spec
    if isinstance(mlp, MLP):
        raw = networks.network(mlp, torch.ones(1, dtype=networks.inputs.dtype), name)
        return BoundedRate(raw, bound=networks.max_rate, start=networks.rate)
    if isinstance(spec, Term):  # of a fitted model, such as its jump_rate_
        return copy_learned(spec, name, networks.inputs)
    return resolve_known_rate(networks.own(spec, name), name=name)


def rate_bound(rate: Term) -> float | None:
    """Return an upper bound of a rate that follows from its form; None if there is none."""
    if isinstance(rate, BoundedRate):
        return rate.bound
    if isinstance(rate, Number):
        return rate.parameter.high if math.isfinite(rate.parameter.high) else None
    if isinstance(rate, Constant):
        return float(rate.value)
    if isinstance(rate, Sum):
        bounds = [rate_bound(term) for term in rate.terms]
        return None if None in bounds else sum(bound for bound in bounds if bound is not None)
    return None


def resolve_affect(spec: Any, *, name: str, networks: JumpNetworks) -> Affect:
    """Turn the effect of a jump given to an estimator into an `Affect`.

    A module is copied. The elements of a list are states after the jump, which are added.
    """
    if is_sum(spec) and spec:
        return SumAffect([resolve_affect(part, name=f"{name}[{i}]", networks=networks) for i, part in enumerate(spec)])
    if isinstance(spec, str) and spec == "gaussian":
        return _gaussian(name, networks)
    mlp = networks.default if isinstance(spec, str) and spec == "mlp" else spec
    if isinstance(mlp, MLP):
        return MoveBy(Sum([Constant(networks.move), networks.network(mlp, networks.size, name)]))
    if isinstance(spec, Affect):
        return copy_learned(spec, name, networks.inputs)
    if spec is None or isinstance(spec, str) or inspect.isclass(spec):
        raise ValueError(f"{name} is {spec!r}. Expected {_CHOICES}")
    if callable(spec) and not isinstance(spec, Parameter):
        return KnownAffect(networks.own(spec, name), name)
    term = resolve(
        spec,
        name=name,
        shape=tuple(networks.size.shape),
        default=networks.default,
        inputs=networks.inputs,
        output_scale=networks.size,
        generator=networks.generator,
    )
    assert term is not None  # the spec is not None
    return SetState(term)


def _gaussian(name: str, networks: JumpNetworks) -> GaussianAffect:
    """Jump to u + m(u) + s(u) z with two networks; s is initially the size of a jump and stays above the floor."""
    mean = networks.network(networks.default, networks.size, f"{name} (mean)")
    if bool((networks.shift != 0.0).any()):
        mean = Sum([Constant(networks.shift), mean])
    std = networks.network(networks.default, networks.size, f"{name} (std)", positive="softplus")
    return GaussianAffect(mean, Sum([Constant(networks.floor), std]))
