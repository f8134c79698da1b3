"""Fits that go on keep their equation, and say so where another one is asked for."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone

from skneuralde import NeuralJumpDiffusion, NeuralPDEField, NeuralSDERegressor, Stencil

T = np.arange(60.0)[:, None]
WALK = np.cumsum(np.random.default_rng(0).normal(size=60))


def decay(t, u):
    return -u


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (
            NeuralSDERegressor(drift=[0.1, decay], max_iter=1, random_state=0),
            {
                "drift": "mlp", "diffusion": 0.5, "noise": "additive", "calculus": "stratonovich",
                "hidden_layer_sizes": (7,), "activation": "silu", "inputs": ("state",),
            },
        ),
        (
            NeuralJumpDiffusion(max_iter=1, random_state=0),
            {"jump_rate": 2.0, "jump_affect": "mlp", "max_jump_rate": 3.0},
        ),
    ],
)  # fmt: skip
def test_another_equation_is_refused(model, changes):
    model = clone(model).set_params(warm_start=True).fit(T, WALK)
    for again in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        again.set_params(max_iter=2, learning_rate_init=1e-3, rtol=1e-2).fit(T, WALK)
    for name, value in changes.items():
        other = copy.deepcopy(model).set_params(**{name: value})
        before = copy.deepcopy(other.model_.state_dict())
        with pytest.raises(ValueError, match=f"but {name} has changed since: use warm_start=False"):
            other.fit(T, WALK)
        for key, weight in other.model_.state_dict().items():
            assert torch.equal(weight, before[key])
        other.set_params(warm_start=False).fit(T, WALK)
    # What says the same is the same.
    if isinstance(model, NeuralSDERegressor):
        model.set_params(drift=(0.1, decay), hidden_layer_sizes=[50]).fit(T, WALK)


def test_another_equation_of_a_field_is_refused():
    x = np.linspace(0.0, 1.0, 8)
    t = np.linspace(0.0, 0.1, 6)
    y = (1.0 + np.exp(-t[:, None]) * np.cos(np.pi * x))[..., None]
    model = NeuralPDEField(diffusivity=0.1, spacing=1 / 7, max_iter=1, random_state=0, warm_start=True)
    model.set_params(sparsity=csr_array(np.ones((8, 8)))).fit(t[:, None], y)
    model.set_params(max_iter=2, sparsity=csr_array(np.ones((8, 8)))).fit(t[:, None], y)
    changes = {"diffusivity": 0.2, "spacing": 0.1, "boundary": "dirichlet", "sparsity": Stencil(), "reaction": None}
    for name, value in changes.items():
        with pytest.raises(ValueError, match=f"but {name} has changed since"):
            copy.deepcopy(model).set_params(**{name: value}).fit(t[:, None], y)
