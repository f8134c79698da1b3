"""Transitions that are selected from a record of series, against those that are written out."""

import pytest
import torch

from skneuralde.inference import FlatSeries, LazyRows, SeriesTransitions, Transitions
from tests.learnable_equations import column

#: Two series of four and three rows.
TIMES = column(0.0, 1.0, 3.0, 3.5, 10.0, 10.25, 12.0)
STATE = column(*range(7))[:, None]
CONTEXT = column(1, 1, 1, 1, 2, 2, 2)[:, None]
CONTROLS = 10.0 * STATE
NONE = torch.empty(7, 0).double()


def between(pairs, interpolation="next", controls=CONTROLS, cov=None) -> SeriesTransitions:
    start, stop = torch.tensor(pairs, dtype=torch.int32).T
    return SeriesTransitions(FlatSeries(TIMES, STATE, CONTEXT, controls, interpolation, cov), start, stop)


@pytest.mark.parametrize(
    ("interpolation", "left", "right"),
    [
        ("next", [10, 20, 50, 60], None),
        ("previous", [0, 10, 40, 50], None),
        ("linear", [0, 10, 40, 50], [10, 20, 50, 60]),
    ],
)
def test_a_knot_at_every_row_between(interpolation, left, right):
    found = between([(0, 2), (4, 6)], interpolation).all()
    assert found.offsets.tolist() == [0, 2, 4]
    assert found.lengths.tolist() == [1.0, 2.0, 0.25, 1.75]
    assert found.state[:, 0].tolist() == [0, 4]
    assert found.time.tolist() == [0, 10]
    assert found.c0.tolist() == [[c, u] for c, u in zip([1, 1, 2, 2], left, strict=True)]
    if right is None:
        assert found.c1 is found.c0
    else:
        assert found.c1[:, 1].tolist() == right


def test_without_controls_a_transition_is_one_segment():
    found = between([(0, 2), (4, 6)], controls=NONE).all()
    assert found.is_direct
    assert found.lengths.tolist() == [3.0, 2.0]
    assert found.c0.tolist() == [[1], [2]]


@pytest.mark.parametrize("pairs", [[(0, 1), (1, 2), (4, 5)], [(0, 3), (1, 2), (4, 6)]])
def test_selects_what_transitions_select(pairs):
    cov = torch.arange(7.0).double()[:, None, None]
    source = between(pairs, "linear", cov=cov)
    for items in (torch.tensor([2, 0, 2, 1]), torch.tensor([], dtype=torch.int64)):
        one, other = source.select(items), source.all().select(items)
        assert len(one) == len(items)
        for name in Transitions.__dataclass_fields__:
            assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_gathered_rows():
    rows = LazyRows(STATE, torch.tensor([5, 0, 3], dtype=torch.int32))
    assert rows.index_select(0, torch.tensor([2, 2, 0]))[:, 0].tolist() == [3, 3, 5]
