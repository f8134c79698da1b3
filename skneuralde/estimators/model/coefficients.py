"""Terms from the caller's specifications, with networks scaled to the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skneuralde.data.panel import Panel
from skneuralde.estimators.config.scales import Scales
from skneuralde.inference import Observation, Selection, check_observation
from skneuralde.problems import Problem
from skneuralde.terms import MLP, Copies, Inputs, Term, check_term, refuse_hidden, resolve

#: Rows that a new coefficient is tried on.
_TRIAL_ROWS = 256


class TermFactory:
    """Makes the terms of one fit.

    Parameters
    ----------
    panel : Panel
    scales : Scales
    sees : tuple of str
        The inputs of networks.
    default : MLP
        The meaning of ``"mlp"``.
    dtype : torch.dtype
    generator : torch.Generator
        Draws the initial weights.
    observation : Observation, optional
        The dependence of y on the state; by default y is the state.
    copies : Copies, optional
        Copies of what the caller gave, among them those that the observation has.
    """

    def __init__(
        self,
        panel: Panel,
        scales: Scales,
        sees: tuple[str, ...],
        default: MLP,
        dtype: torch.dtype,
        generator: torch.Generator,
        observation: Observation | None = None,
        copies: Copies | None = None,
    ):
        self.scales = scales
        self.default = default
        self.dtype = dtype
        self.generator = generator
        self.dim, self.n_outputs = len(scales.state[0]), panel.values.shape[1]
        self.observation = observation
        values = panel.values if observation is None else _plausible_states(panel, scales, observation)
        observed = np.flatnonzero(~np.isnan(values).any(axis=1))
        sample = observed[:: max(1, len(observed) // 4096)]
        self.inputs = Inputs(
            dim=self.dim,
            n_context=panel.context.shape[1],
            n_controls=panel.controls.shape[1],
            sees=sees,
            time=scales.time,
            state_loc=self.tensor(scales.state[0]),
            state_scale=self.tensor(scales.state[1]),
            context_loc=self.tensor(scales.inputs[0]),
            context_scale=self.tensor(scales.inputs[1]),
            state_sample=self.tensor(values[sample]),
            dtype=dtype,
            copies=Copies() if copies is None else copies,
        )
        trial = observed[:: max(1, len(observed) // _TRIAL_ROWS)]
        self.trial_t = self.tensor(panel.times[trial])[:, None]
        self.trial_u = self.tensor(values[trial])
        self.trial_c = self.tensor(np.hstack([panel.context[trial], panel.controls[trial]]))

    def own(self, spec: object, name: str) -> Any:
        """A copy of what the caller gave as the argument ``name``, to be trained."""
        return self.inputs.copies.of(spec, name, self.dtype)

    def tensor(self, array: np.ndarray) -> Tensor:
        return torch.tensor(array, dtype=self.dtype)

    def term(
        self,
        spec: object,
        name: str,
        *,
        shape: tuple[int, ...],
        scale: np.ndarray,
        positive: str | None = None,
        sees: tuple[str, ...] | None = None,
    ) -> Term | None:
        """The term of one coefficient; None if it is absent.

        With ``sees``, the inputs of its networks, it is tried on rows of the data.

        Raises
        ------
        ValueError
            If a specification is not understood, or a callable returns a wrong shape, dtype or device, or NaN.
        """
        inputs = self.inputs if sees is None else replace(self.inputs, sees=sees)
        term = resolve(
            spec,
            name=name,
            shape=shape,
            default=self.default,
            inputs=inputs,
            output_scale=self.tensor(np.broadcast_to(scale, shape)),
            positive=positive,
            generator=self.generator,
        )
        if sees is not None and term is not None:
            check_term(term, name=name, shape=shape, t=self.trial_t, u=self.trial_u, c=self.trial_c)
        return term

    def diffusive(self, drift: object, diffusion: object, noise: str) -> tuple[Term | None, Term | None]:
        """Drift and diffusion of an equation with this kind of noise."""
        dim = (self.dim,)
        sees = self.inputs.sees
        f = self.term(drift, "drift", shape=dim, scale=self.scales.rate)
        if noise == "additive":
            sees = tuple(name for name in sees if name != "state")
        general = noise == "general"
        scale = self.scales.volatility
        g = self.term(
            diffusion,
            "diffusion",
            shape=2 * dim if general else dim,
            scale=scale[:, None] if general else scale,
            positive="cholesky" if general else "softplus",
            sees=sees,
        )
        return f, g

    def try_out(self, problem: Problem) -> Problem:
        """Call every coefficient and the observation once on rows of the data, and raise an error if one fails."""
        with refuse_hidden(problem, self.observation):
            problem.check(self.trial_t, self.trial_u, self.trial_c)
            if self.observation is not None:
                check_observation(self.observation, self.trial_u, self.n_outputs)
        return problem


def _plausible_states(panel: Panel, scales: Scales, observation: Observation) -> np.ndarray:
    """States to try coefficients on: observed components, and random values in the expected range for the others."""
    location, scale = scales.state
    rng = np.random.default_rng(0)
    states = location + scale * rng.normal(size=(len(panel.times), len(location)))
    if isinstance(observation, Selection):
        states[:, observation.components.numpy()] = panel.values
    return states
