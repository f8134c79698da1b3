"""What is learned from fields that py-pde has simulated, by `tools/pypde_fields.py`, against what its equations say."""

from pathlib import Path

import numpy as np
import pytest

from skneuralde import NeuralPDEField

DATA = Path(__file__).parents[1] / "data" / "pypde_fields.npz"


@pytest.fixture(scope="module")
def data():
    with np.load(DATA) as file:
        return dict(file)


def fit(data, name, reaction, diffusivity, boundary, noise=0.0, **settings):
    """A model of one data set, with noise in standard deviations of each field."""
    values = data[f"{name}_values"]
    shocks = np.random.default_rng(0).standard_normal(values.shape)
    seen = values + noise * values.std(axis=tuple(range(values.ndim - 1))) * shocks
    model = NeuralPDEField(
        reaction, diffusivity, spacing=data[f"{name}_spacing"], boundary=boundary, random_state=0, **settings
    )
    return model.fit(data[f"{name}_times"][:, None], seen)


def logistic_error(model, data):
    """Relative L2 error of the learned u (1 - u) over the range that the field has visited."""
    u = np.linspace(data["fisher_values"].min(), data["fisher_values"].max(), 201)
    true = u * (1.0 - u)
    return np.linalg.norm(model.reaction_field(u[:, None])[:, 0] - true) / np.linalg.norm(true)


def test_the_diffusivity_of_heat_is_recovered(data):
    model = fit(data, "heat", None, "learn", "periodic")
    np.testing.assert_allclose(model.diffusivity_, data["heat_diffusivity"], rtol=0.01)


def test_the_reaction_of_a_spreading_species_is_learned(data):
    model = fit(data, "fisher", "mlp", 0.01, "neumann_cell")
    assert logistic_error(model, data) < 0.02


def test_reaction_and_diffusivity_of_a_spreading_species_are_learned_together(data):
    model = fit(data, "fisher", "mlp", "learn", "neumann_cell")
    assert logistic_error(model, data) < 0.02
    np.testing.assert_allclose(model.diffusivity_, data["fisher_diffusivity"], rtol=0.01)


@pytest.mark.slow
def test_the_reaction_is_learned_through_noise(data):
    model = fit(data, "fisher", "mlp", 0.01, "neumann_cell", noise=0.01, max_iter=9, hidden_layer_sizes=(16,))
    assert logistic_error(model, data) < 0.10


@pytest.mark.slow
def test_snapshots_that_are_far_apart_take_patience(data):
    """Law and bridges improve each other by a few percent in each of many epochs, from diffusivities 60% off to 3%.

    Collocation that ends early is off by half.
    """
    model = fit(data, "gray_scott", "mlp", "learn", "periodic", stages=("collocation",))
    np.testing.assert_allclose(model.diffusivity_, data["gray_scott_diffusivity"], rtol=0.05)
    u, v = data["gray_scott_values"].reshape(-1, 2).T
    true = np.stack([-u * v**2 + 0.04 * (1 - u), u * v**2 - 0.1 * v], -1)
    learned = model.reaction_field(data["gray_scott_values"].reshape(-1, 2))
    assert (np.linalg.norm(learned - true, axis=0) < 0.15 * np.linalg.norm(true, axis=0)).all()
