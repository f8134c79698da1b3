"""Context and controls over time."""

import math

import pytest
import torch

from skneuralde.inference import InputPath
from skneuralde.inference.inputs import RepeatedInputs

INF = math.inf


def path(interpolation, q=1):
    """Two series with a context column; the first has three knots, the second two."""
    knots = torch.tensor([[0.0, 1.0, 3.0], [10.0, 20.0, INF]], dtype=torch.float64)
    controls = torch.tensor([[[1.0], [2.0], [6.0]], [[-1.0], [-3.0], [-3.0]]], dtype=torch.float64)[..., :q]
    return InputPath(torch.tensor([[100.0], [200.0]], dtype=torch.float64), knots, controls, interpolation)


@pytest.mark.parametrize(
    ("interpolation", "first", "second"),
    [
        # Before, on and between the knots, on the last, and after.
        ("next", [1, 2, 2, 6, 6, 6, 6], [-1, -3, -3, -3, -3, -3, -3]),
        ("previous", [1, 1, 1, 2, 2, 6, 6], [-1, -1, -1, -1, -3, -3, -3]),
        ("linear", [1, 1, 1.5, 2, 4, 6, 6], [-1, -1, -1.5, -2, -3, -3, -3]),
    ],
)
def test_interpolation(interpolation, first, second):
    t = torch.tensor([[-1, 0, 0.5, 1, 2, 3, 9], [9, 10, 12.5, 15, 20, 21, 99]], dtype=torch.float64)
    values = path(interpolation).on_grid(t)
    assert values.shape == (2, 7, 2)
    assert (values[0, :, 0] == 100).all()
    assert (values[1, :, 0] == 200).all()
    assert values[0, :, 1].tolist() == first
    assert values[1, :, 1].tolist() == second


@pytest.mark.parametrize("interpolation", ["next", "previous", "linear"])
def test_one_time_per_series(interpolation):
    t = torch.tensor([0.5, 12.5], dtype=torch.float64)
    inputs = path(interpolation)
    assert torch.equal(inputs(t), inputs.on_grid(t[:, None])[:, 0])


def test_a_single_knot_holds_for_ever():
    inputs = InputPath(torch.zeros(1, 0), torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1, 1), 5.0), "linear")
    assert inputs.on_grid(torch.tensor([[-1.0, 0.0, 1.0]], dtype=torch.float64)).flatten().tolist() == [5, 5, 5]


def test_times_stay_exact_where_states_are_single_precision():
    start = 1e9
    knots = torch.tensor([[start, start + 1.0]], dtype=torch.float64)
    inputs = InputPath(torch.zeros(1, 0), knots, torch.tensor([[[0.0], [1.0]]]), "linear")
    value = inputs(torch.tensor([start + 0.25], dtype=torch.float64))
    assert value.dtype == torch.float32
    assert value.item() == 0.25


def test_select_repeats_and_reorders():
    t = torch.tensor([12.5, 0.5, 15.0], dtype=torch.float64)
    chosen = path("linear").select(torch.tensor([1, 0, 1]))
    assert chosen(t).tolist() == [[200, -1.5], [100, 1.5], [200, -2]]


def test_resolved_is_no_more_than_needed():
    inputs = path("linear")
    assert inputs.resolved() is inputs
    constant = path("linear", q=0)
    assert constant.resolved() is constant.context
    nothing = InputPath(torch.zeros(2, 0), constant.knots, constant.controls, "linear")
    assert nothing.resolved() is None


def test_repeated_inputs_are_those_of_a_repeated_selection():
    inputs = path("linear")
    t = torch.tensor([[0.5, 2.0], [12.5, 15.0]], dtype=torch.float64).repeat(3, 1)
    repeated, plain = RepeatedInputs(inputs, 3), inputs.select(torch.tensor([0, 1] * 3))
    assert torch.equal(repeated.on_grid(t), plain.on_grid(t))
    assert torch.equal(repeated(t[:, 0]), plain(t[:, 0]))


@pytest.mark.parametrize("interpolation", ["next", "previous", "linear"])
def test_paths_of_one_series_share_its_controls(interpolation):
    one = path(interpolation).select(torch.tensor([0]))
    many = one.select(torch.tensor([0] * 5))
    assert many.controls is one.controls
    t = torch.tensor([-1.0, 0.5, 1.0, 2.0, 9.0], dtype=torch.float64)
    assert torch.equal(many(t), one.on_grid(t[None])[0])
