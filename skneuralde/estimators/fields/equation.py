"""What an equation of fields is made of: its grid, what its coefficients see, its diffusion and its law."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import torch

from skneuralde.data import Panel
from skneuralde.data.inpaint import fill_fields
from skneuralde.estimators.base import BaseDifferentialEquation
from skneuralde.estimators.config.scales import Scales
from skneuralde.estimators.fields.diffusivity_guess import guess_diffusivity
from skneuralde.estimators.fields.grids import (
    points_panel,
    refuse_space,
    refuse_unseen,
    state_shape,
    typical_rates,
    warn_of_rest,
)
from skneuralde.estimators.fields.parameters import is_learned, read_diffusivity, split_reaction
from skneuralde.estimators.model.coefficients import TermFactory
from skneuralde.inference import Observation
from skneuralde.problems import FieldProblem, Laplacian, Problem, Reaction
from skneuralde.terms import summands


class FieldEquation(BaseDifferentialEquation):
    """An equation of fields; one of single points where y has no grid."""

    grid: Any
    spacing: Any
    boundary: Any
    reaction: Any
    diffusivity: Any
    operator: Any
    sparsity: Any
    grid_: tuple[int, ...]
    _rate: np.ndarray
    _guess: np.ndarray | None

    def _state_of(self, y: Any) -> tuple[int, ...] | None:
        state = state_shape(y, self.grid)
        if state is None:
            refuse_space(self)
        return state

    def _read_training_rows(self, X: Any, y: Any, sample_weight: Any, *, warm: bool) -> Panel:
        panel = super()._read_training_rows(X, y, sample_weight, warm=warm)
        roles = self.roles_
        self.grid_ = () if roles.state is None else roles.state[:-1]
        if self.grid_ and roles.layout != "series":
            raise ValueError(
                "Each row of X seems to be a trajectory of its own, but fields are learned from runs of several "
                "snapshots. Name the column that tells the runs apart in series=, and that of the time in time=."
            )
        return panel

    @property
    def _state(self) -> tuple[int, ...]:
        """``(*grid, fields)``."""
        assert self.roles_.state is not None
        return self.roles_.state

    def _seen(self, panel: Panel) -> Panel:
        return points_panel(panel, fill_fields(panel, self.grid_), self.grid_) if self.grid_ else panel

    def _measure(self, panel: Panel, dtype: torch.dtype) -> tuple[Scales, Observation | None]:
        scales, observation = super()._measure(panel, dtype)
        return (replace(scales, rate=self._rate) if self.grid_ else scales), observation

    def _start_model(self, panel: Panel, seed: int, device: torch.device, *, warm: bool) -> None:
        if self.grid_:
            fields = self._state[-1]
            states = fill_fields(panel, self.grid_)
            refuse_unseen(panel, fields)
            self._rate = typical_rates(panel, states, fields)
            if not warm:
                self._guess = self._guess_diffusivity(panel, states)
        super()._start_model(panel, seed, device, warm=warm)

    def _guess_diffusivity(self, panel: Panel, states: np.ndarray) -> np.ndarray | None:
        """Where a diffusivity that is learned starts, (fields,)."""
        if not is_learned(self.diffusivity):
            return None
        return guess_diffusivity(panel, states, self._state, self._laplacian(1.0))

    def _laplacian(self, diffusivity: Any) -> Laplacian:
        spacing: Any = self.spacing
        if spacing is None:
            coordinates = self.roles_.coordinates
            spacing = 1.0 if coordinates is None else coordinates.spacing(self.grid_)
        elif not isinstance(spacing, Real):
            spacing = tuple(float(step) for step in spacing)
        boundary = tuple(self.boundary) if isinstance(self.boundary, (list, tuple)) else self.boundary
        return Laplacian(diffusivity, spacing, boundary, ndim=len(self.grid_))

    def _build_problem(self, factory: TermFactory) -> Problem | FieldProblem:
        spec, sources = split_reaction(self.reaction)
        shape, scale = (factory.dim,), factory.scales.rate
        law = factory.term(spec, "reaction", shape=shape, scale=scale, sees=factory.inputs.sees)
        if not self.grid_:
            if sources:
                raise ValueError("reaction holds an array of two axes or more, a source on a grid, but y has no grid.")
            return factory.try_out(Problem(law))
        others = [] if self.operator is None else copy.deepcopy(summands(self.operator))
        laplacian = self._laplacian(read_diffusivity(self.diffusivity, self._guess))
        if any(isinstance(other, Laplacian) for other in others) and laplacian.diffusing(self._state[-1]):
            raise ValueError("operator holds a Laplacian: give its diffusivity in diffusivity=, or diffusivity=None.")
        reaction = [law, *sources] if law is not None else sources or None
        whole = Problem(reaction, operator=[laplacian, *others], sparsity=self.sparsity)
        flat = whole.flattened(self._state)
        trial = factory.trial_u[torch.arange(math.prod(self.grid_)) % len(factory.trial_u)].reshape(1, -1)
        flat.check(factory.trial_t[:1], trial, factory.trial_c[:1] if factory.trial_c.shape[1] else None)
        return flat

    def _terms(self, problem: Problem) -> dict[str, Any]:
        if problem.operator is None or not isinstance(problem.drift, Reaction):
            return {"reaction_": problem.drift, "diffusivity_": np.zeros(self.n_outputs_)}
        diffusion = problem.operator.diffusion
        assert diffusion is not None
        like = torch.zeros(self._state, dtype=torch.float64)[None]
        with torch.no_grad():
            value = diffusion.diffusivity(like.to(next(diffusion.parameters(), like).device)).cpu().numpy().copy()
        return {"reaction_": problem.drift.term, "diffusivity_": value}

    def _warn_of_unidentified(self, panel: Panel) -> None:
        if not self.grid_:
            super()._warn_of_unidentified(panel)
            return
        warn_of_rest(panel, self.grid_)
