"""What training of fields is made of: which snapshots teach, where solutions start, where a diffusivity starts."""

import numpy as np
import pytest
import torch

from skneuralde import Laplacian, NeuralPDEField
from skneuralde.data import Panel
from skneuralde.estimators.fields.diffusivity_guess import guess_diffusivity
from skneuralde.estimators.fields.snapshots import Snapshots

N = 64
TIMES = np.linspace(0, 1, 9)
MODE = np.cos(np.pi * np.arange(N) / (N - 1))
DECAY = np.exp(-TIMES)[:, None] * (1 + MODE)


def panel_of(values):
    """One run of a single field."""
    n, nothing = len(TIMES), np.zeros((len(TIMES), 0))
    return Panel(TIMES, values, np.ones(n), nothing, nothing, nothing, np.array([0, n]), [None], np.arange(n))


@pytest.fixture(scope="module")
def model():
    return NeuralPDEField(
        hidden_layer_sizes=(2,), spacing=1 / (N - 1), stages=("collocation",), max_iter=1, random_state=0
    ).fit(TIMES[:, None], DECAY[..., None])


def snapshots(model, values, rows):
    return Snapshots.of(model.model_, panel_of(values), rows, model._setup, model._scale)


def test_only_targets_are_balanced(model):
    """A snapshot that is held out is no end of an interval, though its neighbours are."""
    rows = np.ones(len(TIMES), dtype=bool)
    rows[[3, 8]] = False
    intervals = snapshots(model, DECAY, rows).points(model.model_, 100).intervals
    assert intervals.start.tolist() == [0, 1, 2, 4, 5, 6]
    assert intervals.stop.tolist() == [1, 2, 4, 5, 6, 7]


def test_short_solutions_lead_between_snapshots_without_noise_and_long_ones_do_as_forecasts(model):
    noise = 0.05 * np.random.default_rng(0).normal(size=DECAY.shape)
    noisy = DECAY + noise
    given = snapshots(model, noisy, np.ones(len(TIMES), dtype=bool))
    short = given.short_runs(1)
    for states, truth in ((short.start(model.model_, torch.tensor([0]))[0], DECAY[0]), (short.targets[0, 1], DECAY[1])):
        assert np.sqrt(np.mean((states.numpy() - truth) ** 2)) < 0.5 * noise.std()
    runs = given.runs()
    assert np.array_equal(runs.start(model.model_, torch.tensor([0]))[0].numpy(), noisy[0])
    assert np.array_equal(runs.targets[0].numpy(), noisy)
    # Where a solution starts is no prediction, and counts for nothing.
    counted = runs.entry_weight[0].numpy()
    assert (counted[0] == 0).all()
    assert (counted[1:] == 1).all()
    assert float(runs.weight) == (len(TIMES) - 1) * N


def test_noise_does_not_hide_a_diffusivity():
    """Noise is rough: its curvature hides that of the field, and the slope of the change on both is next to nothing."""
    x = np.arange(N) / (N - 1)
    field = sum(np.exp(-0.02 * (k * np.pi) ** 2 * TIMES)[:, None] * np.cos(k * np.pi * x) for k in (1, 2, 3))
    noise = 0.01 * np.random.default_rng(0).normal(size=field.shape)
    laplacian = Laplacian(1.0, 1 / (N - 1), ndim=1)
    for values, tolerance in ((field, 0.02), (field + noise, 0.3)):
        guess = guess_diffusivity(panel_of(values), values, (N, 1), laplacian)
        assert guess == pytest.approx([0.02], rel=tolerance)
