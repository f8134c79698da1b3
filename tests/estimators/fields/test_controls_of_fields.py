"""Controls of fields that act between snapshots, against closed forms."""

import numpy as np
import pytest
import torch
from torch import nn

from skneuralde import Laplacian, NeuralPDEField, Problem, solve

CENTRES = (np.arange(16) + 0.5) / 16
TIMES = 0.1 * np.arange(60)
IS_SNAPSHOT = np.arange(60) % 6 == 0
DIFFUSING = solve(
    Problem(None, operator=Laplacian(0.02, 1 / 16)), np.cos(np.pi * CENTRES)[:, None], TIMES, rtol=1e-10, atol=1e-12
).ys[0].numpy()  # fmt: skip


class Gain(nn.Module):
    """A reaction term that is a learned multiple of the control."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.3))

    def forward(self, t, u, c):
        return self.gain * c


def pulse(row, length=1, level=5.0):
    control = np.zeros(len(TIMES))
    control[row : row + length] = level
    return control


def field(control, interpolation):
    """The solution with a gain of 1: the diffusing field plus the integral of the control."""
    mean = 0.5 * (control[1:] + control[:-1])
    level = {"next": control[1:], "previous": control[:-1], "linear": mean}[interpolation]
    return DIFFUSING + np.concatenate([[0.0], np.cumsum(level * np.diff(TIMES))])[:, None, None]


def fitted(control, interpolation, stage):
    model = NeuralPDEField(
        reaction=Gain(), diffusivity=0.02, spacing=1 / 16, time=0, controls=[1],
        control_interpolation=interpolation, stages=(stage,), max_iter=8, random_state=0,
    )  # fmt: skip
    y = np.where(IS_SNAPSHOT[:, None, None], field(control, interpolation), np.nan)
    return model.fit(np.column_stack([TIMES, control]), y)


@pytest.fixture(scope="module", params=["next", "previous", "linear"])
def interpolation(request):
    return request.param


@pytest.mark.parametrize(("row", "length"), [(8, 1), (11, 1), (34, 2)])
def test_collocation_sees_controls_between_snapshots(interpolation, row, length):
    """With pieces that did not end where controls change, gains of 0.3 to 5.8 were learned."""
    model = fitted(pulse(row, length), interpolation, "collocation")
    assert next(model.reaction_.parameters()).item() == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("stage", ["shooting", "path"])
def test_so_do_solutions(interpolation, stage):
    model = fitted(pulse(15), interpolation, stage)
    assert next(model.reaction_.parameters()).item() == pytest.approx(1.0, rel=1e-6)


def test_simulation_sees_controls_between_snapshots(interpolation):
    model = fitted(pulse(15), interpolation, "collocation")
    first = 32 if interpolation == "linear" else 33
    for control in (pulse(34), pulse(34, 2, 1e3), pulse(20) - pulse(40, 2)):
        rows, exact = np.column_stack([TIMES, control]), field(control, interpolation)
        np.testing.assert_allclose(model.predict(rows)[1:], exact[1:], atol=1e-3 * np.abs(exact).max())
    calm = [model.predict(np.column_stack([TIMES, control]))[:first] for control in (pulse(34), pulse(34, 2, 1e3))]
    np.testing.assert_array_equal(*calm)
