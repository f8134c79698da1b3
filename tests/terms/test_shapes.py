"""Coefficients keep the shapes that their annotations promise."""

import pytest
import torch
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from skneuralde.terms import MLP, Constant, Inputs, Known, Network, Sum

SCALES = {None: torch.ones(2), "softplus": torch.ones(2), "cholesky": torch.eye(2)}


def network(positive):
    generator = torch.Generator().manual_seed(0)
    inputs = Inputs.unit(2, n_context=1)
    return Network(MLP((4,)), inputs, SCALES[positive], positive=positive, generator=generator, name="drift")


@pytest.mark.parametrize(
    "term",
    [
        *map(network, SCALES),
        Constant(torch.tensor(1.0)),
        Constant(torch.ones(2, 3)),
        Known(lambda t, u: u**2, "drift"),
        Sum([Constant(torch.tensor(1.0)), network(None)]),
    ],
)
def test_shapes_are_as_annotated(term):
    t, u, c = (torch.ones(5, n, dtype=torch.float64) for n in (1, 2, 1))
    jaxtyped(type(term).forward, typechecker=beartype)(term, t, u, c)
    jaxtyped(type(term).linearize, typechecker=beartype)(term, t, u, c)
    with pytest.raises(TypeCheckError):
        jaxtyped(type(term).forward, typechecker=beartype)(term, t[:, 0], u, c)
