"""`NeuralPDEField` on data at the edge of what it takes."""

import numpy as np
import pytest

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
