"""Equations of fields, built from an estimator's parameters."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
import torch

from skneuralde.data import Panel, Roles
from skneuralde.estimators.fields.diffusivity_guess import guess_diffusivity
from skneuralde.estimators.fields.parameters import is_learned, read_diffusivity, split_reaction
from skneuralde.estimators.model.coefficients import TermFactory
from skneuralde.problems import FieldProblem, Laplacian, Problem, Reaction
from skneuralde.terms import refuse_hidden, summands


def build_point_equation(parameters: Any, factory: TermFactory) -> Problem:
    """The equation of single points, which have no space, from the parameters of an estimator.

    Raises
    ------
    ValueError
        If a parameter needs a grid.
    """
    reaction, sources = _reaction(parameters, factory)
    if sources:
        raise ValueError("reaction holds an array of two axes or more, a source on a grid, but y has no grid.")
    return factory.try_out(Problem(reaction))


def build_field_equation(parameters: Any, roles: Roles, factory: TermFactory, panel: Panel) -> Problem | FieldProblem:
    """The flattened equation of fields on a grid, from the parameters of an estimator.

    Parameters
    ----------
    parameters
        The estimator.
    roles : Roles
    factory : TermFactory
        Of terms at single points.
    panel : Panel
        Snapshots without gaps, from which a learned diffusivity starts.

    Raises
    ------
    ValueError
        If a parameter does not fit the grid.
    """
    shape = roles.state
    assert shape is not None
    reaction, sources = _reaction(parameters, factory)
    guess = None
    if is_learned(parameters.diffusivity):
        guess = guess_diffusivity(panel, panel.values, shape, _laplacian(parameters, roles, 1.0))
    diffusivity = factory.own(read_diffusivity(parameters.diffusivity, guess), "diffusivity")
    laplacian = _laplacian(parameters, roles, diffusivity)
    others = [] if parameters.operator is None else summands(factory.own(parameters.operator, "operator"))
    if any(isinstance(other, Laplacian) for other in others) and laplacian.diffusing(shape[-1]):
        raise ValueError("operator holds a Laplacian: give its diffusivity in diffusivity=, or diffusivity=None.")
    terms = [reaction, *sources] if reaction is not None else sources or None
    flat = Problem(terms, operator=[laplacian, *others], sparsity=parameters.sparsity).flattened(shape)
    trial = factory.trial_u[torch.arange(math.prod(shape[:-1])) % len(factory.trial_u)].reshape(1, -1)
    with refuse_hidden(flat):
        flat.check(factory.trial_t[:1], trial, factory.trial_c[:1] if factory.trial_c.shape[1] else None)
    return flat


def coefficients_of(problem: Problem, shape: tuple[int, ...] | None, n_outputs: int) -> dict[str, Any]:
    """The fitted attributes that show the reaction and the diffusivity of states of this shape."""
    if problem.operator is None or shape is None or not isinstance(problem.drift, Reaction):
        return {"reaction_": problem.drift, "diffusivity_": np.zeros(n_outputs)}
    diffusion = problem.operator.diffusion
    assert diffusion is not None
    like = torch.zeros(shape, dtype=torch.float64)[None]
    with torch.no_grad():
        value = diffusion.diffusivity(like.to(next(diffusion.parameters(), like).device)).cpu().numpy().copy()
    return {"reaction_": problem.drift.term, "diffusivity_": value}


def _reaction(parameters: Any, factory: TermFactory) -> tuple[Any, list[Any]]:
    """The reaction term of single points, and the sources on the grid."""
    spec, given = split_reaction(parameters.reaction)
    sources = [factory.own(source, f"reaction[{i}]") for i, source in enumerate(given)]
    scale, sees = factory.scales.rate, factory.inputs.sees
    return factory.term(spec, "reaction", shape=(factory.dim,), scale=scale, sees=sees), sources


def _laplacian(parameters: Any, roles: Roles, diffusivity: Any) -> Laplacian:
    assert roles.state is not None
    grid = roles.state[:-1]
    spacing: Any = parameters.spacing
    if spacing is None:
        spacing = 1.0 if roles.coordinates is None else roles.coordinates.spacing(grid)
    elif not isinstance(spacing, Real):
        spacing = tuple(float(step) for step in spacing)
    given = parameters.boundary
    boundary = tuple(given) if isinstance(given, (list, tuple)) else given
    return Laplacian(diffusivity, spacing, boundary, ndim=len(grid))
