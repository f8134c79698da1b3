"""Answers at a row never depend on later rows of its series, whatever is missing."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skneuralde import NeuralJumpDiffusion, NeuralPDEField, NeuralSDERegressor

N_KNOWN, N_ROWS = 20, 8
RNG = np.random.default_rng(0)
KNOWN = np.column_stack([np.arange(float(N_KNOWN)), 0.3 * RNG.normal(size=N_KNOWN)])
Y = 0.1 * np.cumsum(RNG.normal(size=N_KNOWN))


def follow(t, u, c):
    return c - 0.3 * u


def swing(t, u, c):
    return torch.cat([u[:, 1:], c - u[:, :1] - 0.5 * u[:, 1:]], 1)


HIDDEN = {
    "drift": swing, "diffusion": 0.1, "n_states": 2, "observation_noise": 0.1,
    "observation": lambda u: u[:, :1] + 0.1 * u[:, :1] ** 3,
}  # fmt: skip
JUMPS = {"drift": 0.0, "diffusion": 0.1, "jump_affect": lambda t, u, c: u + 1.0 + c}
MODELS = {
    "noise": (NeuralSDERegressor, {"drift": follow, "diffusion": 0.1}),
    "noise that follows the control": (NeuralSDERegressor, {"drift": 0.0, "diffusion": lambda t, u, c: 0.1 + c.abs()}),
    "from the start": (NeuralSDERegressor, {"drift": follow, "diffusion": 0.1, "loss": "energy", "solver": "euler"}),
    "no noise": (NeuralSDERegressor, {"drift": follow, "diffusion": None}),
    "fixed steps": (NeuralSDERegressor, {"drift": follow, "diffusion": None, "solver": "torchdiffeq:rk4"}),
    "hidden states": (NeuralSDERegressor, HIDDEN),
    "jumps": (NeuralJumpDiffusion, {**JUMPS, "jump_rate": lambda t, u, c: 0.1 + c[:, 0].abs()}),
    "jumps of paths": (NeuralJumpDiffusion, {**JUMPS, "jump_rate": 0.5, "loss": "mean"}),
    "fields": (NeuralPDEField, {"reaction": follow, "diffusivity": 0.02, "spacing": 0.2, "time": 0}),
}


@cache
def fitted(name, interpolation):
    estimator, options = MODELS[name]
    y = Y if name != "fields" else Y[:, None, None] + np.cos(np.arange(5.0))[:, None]
    model = estimator(controls=[1], control_interpolation=interpolation, max_iter=1, random_state=0, **options)
    return model.set_params(**({} if name == "fields" else {"n_predict_paths": 2})).fit(KNOWN, y)


@st.composite
def frames(draw, interpolation):
    """Rows after those of `fit` and their y, the same with other later rows, and the number of earlier rows."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    gaps = rng.choice([0.01, 0.5, 1.0, 2.0], size=N_ROWS) if draw(st.booleans()) else np.ones(N_ROWS)
    control = np.where(rng.random(N_ROWS) < 0.3, rng.choice([0.5, 1.0, -3.0], size=N_ROWS), 0.0)
    y = np.where(rng.random(N_ROWS) < draw(st.sampled_from([0.0, 0.5, 0.9])), np.nan, rng.normal(size=N_ROWS))
    y[0] = 0.5
    if interpolation != "linear":  # which looks ahead
        control[rng.random(N_ROWS) < draw(st.sampled_from([0.0, 0.5]))] = np.nan
    rows, at = np.column_stack([N_KNOWN - 1 + np.cumsum(gaps), control]), draw(st.integers(1, N_ROWS - 1))
    others, other_y = rows.copy(), y.copy()
    others[at:, 1] = rng.choice([5.0, 0.0, -4.0], size=N_ROWS - at)
    other_y[at:] = np.where(rng.random(N_ROWS - at) < 0.5, np.nan, 3.0)
    keep = slice(draw(st.sampled_from([at, at + 1, N_ROWS])))
    return rows, y, others[keep], other_y[keep], at


def answers(model, rows, y, at):
    found = {"predict": model.predict(rows)}
    if not isinstance(model, NeuralPDEField):
        found["sample"] = np.moveaxis(model.sample(rows, n_samples=2, random_state=0), 1, 0)
        found["log_likelihood"] = model.log_likelihood(rows, y)
    if hasattr(model, "jump_probability") and model.loss != "mean":
        found["jump_probability"] = model.jump_probability(rows, y)
    return {name: values[:at] for name, values in found.items()}


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=4)
@given(st.data())
def test_later_rows_never_change_earlier_answers(name, data):
    interpolation = data.draw(st.sampled_from(["next", "previous", "linear"]))
    model = fitted(name, interpolation)
    rows, y, others, other_y, at = data.draw(frames(interpolation))
    first, second = answers(model, rows, y, at), answers(model, others, other_y, at)
    for kind, values in first.items():
        if len(rows) == len(others):
            np.testing.assert_array_equal(values, second[kind], err_msg=kind)
        else:  # sums of other numbers of rows may be rounded in another way
            np.testing.assert_allclose(values, second[kind], rtol=1e-9, atol=1e-12, err_msg=kind)
