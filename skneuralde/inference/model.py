"""Trainable model: an equation, its initial states and its observation."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from skneuralde.inference.distributions.gaussian import Gaussian
from skneuralde.inference.distributions.protocol import PredictiveDistribution
from skneuralde.inference.jumps.splitting import JumpSplitting
from skneuralde.inference.moments.propagator import MomentPropagator
from skneuralde.inference.observation import Observation
from skneuralde.inference.transitions.segments import Transitions
from skneuralde.problems import Problem
from skneuralde.terms import Parameter, Term


class ScaledParameter(nn.Module):
    """A trainable tensor ``start + unit * shift``, with first values ``start (..., dim)`` and scale ``unit (dim,)``."""

    start: Tensor
    unit: Tensor

    def __init__(self, start: Tensor, unit: Tensor | None = None):
        super().__init__()
        self.register_buffer("start", start)
        self.register_buffer("unit", torch.ones_like(start) if unit is None else unit)
        self.shift = nn.Parameter(torch.zeros_like(start))

    def __len__(self) -> int:
        return len(self.start)

    def forward(self) -> Tensor:
        """The present values."""
        return torch.addcmul(self.start, self.unit, self.shift)


class Model(nn.Module):
    """An equation with its initial states and its observation noise.

    Parameters
    ----------
    problem : Problem
    encoder : Term or None
        Initial state as a function of the context.
    states : Tensor of shape (series, dim) or None
        First values of learned initial states, one per series.
    unit : Tensor of shape (dim,) or None
        Scale of learned states, which makes training independent of y's units; None is 1.
    noise_std : Tensor of shape (dim,) or None
        First value of the standard deviation of the observation noise, which ``learn_noise`` trains.
    noise_number : Parameter or None
        The standard deviation of the observation noise, in place of ``noise_std``, of shape () or (dim,).
    observation : Observation or None
        The observation function; None is the state itself.
    prior_mean, prior_std : Tensor of shape (dim,) or None
        First values of the prior of initial states. ``learn_prior_std`` trains the standard deviation, too; from a
        single series it would be estimated as zero.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        encoder: Term | None = None,
        states: Tensor | None = None,
        unit: Tensor | None = None,
        noise_std: Tensor | None = None,
        learn_noise: bool = False,
        noise_number: Parameter | None = None,
        observation: Observation | None = None,
        prior_mean: Tensor | None = None,
        prior_std: Tensor | None = None,
        learn_prior_std: bool = False,
    ):
        super().__init__()
        self.problem = problem
        self.encoder = encoder
        self.states = None if states is None else ScaledParameter(states, unit)
        #: Paths of the submodules that are named parameters of the equation, by name.
        self.number_paths: dict[str, str] = {}
        #: Propagates moments, or with jumps the whole distribution, accurately enough for the present coefficients. It
        #: is set by the loss or after training.
        self.propagator: MomentPropagator | JumpSplitting | None = None
        self.log_noise = None if noise_std is None else nn.Parameter(noise_std.log(), requires_grad=learn_noise)
        self.noise_number = noise_number
        self.observation = observation
        self.prior_location = None if prior_mean is None else ScaledParameter(prior_mean, unit)
        self.log_prior = None if prior_std is None else nn.Parameter(prior_std.log(), requires_grad=learn_prior_std)

    @property
    def numbers(self) -> dict[str, Parameter]:
        """The named parameters of the equation and its observation."""
        modules = dict(self.named_modules())
        return {name: cast(Parameter, modules[path]) for name, path in self.number_paths.items()}

    def name_numbers(self, numbers: dict[str, Parameter]) -> None:
        """Set `numbers`, which are submodules."""
        paths = {id(module): path for path, module in self.named_modules()}
        self.number_paths = {name: paths[id(number)] for name, number in numbers.items()}

    @property
    def prior_mean(self) -> Tensor | None:
        """Mean of the prior of initial states, ``(dim,)``."""
        return None if self.prior_location is None else self.prior_location()

    @property
    def noise_std(self) -> Tensor | None:
        """Standard deviation of the observation noise, ``(dim,)`` or ()."""
        if self.noise_number is not None:
            return self.noise_number()
        return None if self.log_noise is None else self.log_noise.exp()

    @property
    def noise_variance(self) -> Tensor | float:
        """Variance of the observation noise, ``(dim,)`` or (), or 0."""
        std = self.noise_std
        return 0.0 if std is None else std.square()

    def prior(self, n: int) -> tuple[Tensor, Tensor]:
        """Mean (n, dim) and covariance (n, dim, dim) of the prior of n initial states."""
        mean = self.prior_mean
        if mean is None or self.log_prior is None:
            raise ValueError("this model has no distribution of initial states")
        cov = torch.diag((2.0 * self.log_prior).exp())
        return mean.expand(n, -1), cov.expand(n, -1, -1)

    def encode(self, t: Tensor, context: Tensor, dim: int) -> Tensor:
        """Initial states ``(batch, dim)`` at times ``t (batch,)`` from the context ``(batch, p)``."""
        if self.encoder is None:
            raise ValueError("this model has no encoder of initial states")
        nothing = context.new_zeros(len(context), dim)
        return self.encoder(t.to(context.dtype)[:, None], nothing, context)

    def learned_states(self, series: Tensor) -> Tensor:
        """Learned initial states ``(n, dim)`` of these series."""
        if self.states is None:
            raise ValueError("this model has no learned initial states")
        return self.states()[series]

    @property
    def moment_propagator(self) -> MomentPropagator:
        """The propagator of moments between jumps."""
        if self.propagator is None:
            raise ValueError("this model has no propagator yet")
        return self.propagator.moment_propagator if isinstance(self.propagator, JumpSplitting) else self.propagator

    def state_distribution(self, transitions: Transitions) -> PredictiveDistribution:
        """Distribution of the states at the ends of transitions."""
        if isinstance(self.propagator, JumpSplitting):
            return self.propagator.state_distribution(self.problem, transitions)
        mean, cov = transitions.moments(self.problem, self.moment_propagator)
        return Gaussian(mean, mean.new_zeros(*mean.shape, mean.shape[-1]) if cov is None else cov)

    def observed_distribution(self, transitions: Transitions) -> PredictiveDistribution:
        """Distribution of the observations at the ends of transitions."""
        return self.state_distribution(transitions).observed(self.observed)

    def observed(self, mean: Tensor, cov: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean (n, d) and covariance (n, d, d) of observations of states with this mean and covariance."""
        if self.observation is None:
            return mean, self.add_noise(cov, mean)
        value, slope = self.observation.linearize(mean)
        return value, self.add_noise(None if cov is None else slope @ cov @ slope.mT, value)

    def add_noise(self, cov: Tensor | None, like: Tensor) -> Tensor:
        """Covariance ``(batch, dim, dim)`` of noisy observations, given that without noise."""
        if cov is None:
            cov = like.new_zeros(len(like), like.shape[-1], like.shape[-1])
        std = self.noise_std
        return cov if std is None else cov + torch.diag(std.square().expand(like.shape[-1]))
