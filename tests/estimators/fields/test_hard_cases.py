"""`NeuralPDEField` on data at the edge of what it takes."""

import numpy as np
import pytest
import torch
from torch import nn

from skneuralde import NeuralPDEField

N = 8
TIMES = np.linspace(0, 1, 5)
MODE = np.cos(np.pi * np.arange(N) / (N - 1))


def snapshots(*, fields=1):
    """A mode that decays, ``(5, 8, fields)``."""
    return np.exp(-TIMES)[:, None, None] * (1 + MODE)[None, :, None] * np.arange(1, fields + 1)


def test_initial_states_are_learned_where_a_run_has_one_row():
    y = snapshots()
    X = np.column_stack([np.r_[TIMES, 0.0], [0] * 5 + [1]])
    fields = np.concatenate([y, 3 * y[:1]])
    model = NeuralPDEField(
        reaction=lambda t, u: -u, diffusivity=0.0, series=1, initial_state="learn", optimizer="lbfgs", random_state=0
    ).fit(X, fields)
    # The law and the diffusivity are known: what is left is where the runs start.
    assert np.abs(model.predict(X) - fields).max() < 0.01


def test_a_field_that_was_never_observed_is_named():
    y = snapshots(fields=2)
    y[..., 1] = np.nan
    with pytest.raises(ValueError, match=r"Field 1 of y was never observed"):
        NeuralPDEField().fit(TIMES[:, None], y)


def test_short_solutions_say_nothing_of_initial_states():
    known = NeuralPDEField(
        reaction=lambda t, u: -u, diffusivity=0.0, initial_state="learn", stages=("shooting",), random_state=0
    )
    with pytest.raises(ValueError, match=r"stages names 'shooting'.*stages=\('path',\)"):
        known.fit(TIMES[:, None], snapshots())


def test_a_run_starts_where_every_field_was_seen():
    """The first snapshot lacks one whole field: it is no state, and the run starts at the second."""
    y = snapshots(fields=2)
    y[0, :, 1] = np.nan
    model = NeuralPDEField(reaction=lambda t, u: -u, diffusivity=0.0, random_state=0).fit(TIMES[:, None], y)
    assert np.abs(model.predict(TIMES[1:, None]) - y[1:]).max() < 1e-3
    with pytest.raises(ValueError, match="before the first snapshot"):
        model.predict(TIMES[:1, None])
    y[:, :, 1] = np.nan
    y[::2, :, 0], y[::2, :, 1] = np.nan, 1.0
    with pytest.raises(ValueError, match="No snapshot in y shows every field"):
        NeuralPDEField().fit(TIMES[:, None], y)


def test_a_snapshot_nobody_took_does_not_hide_the_noise():
    """Rows that were only asked for, NaN everywhere, are left out where noise is told from roughness."""
    rng = np.random.default_rng(0)
    x, times = np.linspace(0, 1, 32), np.linspace(0, 1, 9)
    y = np.exp(-times)[:, None] * np.cos(np.pi * x) + 0.01 * rng.normal(size=(9, 32))
    options = {"reaction": lambda t, u: 0 * u, "spacing": 1 / 31, "stages": ("collocation",), "random_state": 0}
    learned = NeuralPDEField(**options).fit(times[:, None], y[..., None]).diffusivity_
    with_gap = np.insert(times, 4, 0.44), np.insert(y, 4, np.nan, axis=0)
    again = NeuralPDEField(**options).fit(with_gap[0][:, None], with_gap[1][..., None]).diffusivity_
    assert learned == pytest.approx([np.pi**-2], rel=0.1)
    assert again == pytest.approx(learned, rel=0.02)


def test_fields_whose_sensors_are_at_different_points():
    """No point has both fields, so that no balance is complete: solutions tell what there is to tell."""
    y = snapshots(fields=2)
    y[:, ::2, 0], y[:, 1::2, 1] = np.nan, np.nan

    class Decay(nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = nn.Parameter(torch.tensor(0.5))

        def forward(self, t, u):
            return -self.rate * u

    model = NeuralPDEField(reaction=Decay(), diffusivity=0.0, random_state=0, max_iter=5).fit(TIMES[:, None], y)
    assert "collocation" not in [stage["stage"] for stage in model.stages_]
    assert float(next(model.reaction_.parameters()).detach()) == pytest.approx(1.0, abs=0.05)
