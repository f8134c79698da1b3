"""Selections of transitions, and transitions through several segments."""

import torch

from skneuralde.inference import Interval, LocalLinearisation, Moments, Transitions, random_subset
from skneuralde.problems import Problem
from tests.learnable_equations import column, direct, nonlinear


def forced(t, u, c):
    return c - 0.5 * u - 0.1 * u**3 + 0.1 * t


def several() -> Transitions:
    """Three transitions through one, three and two segments, with inputs."""
    lengths = column(0.5, 0.2, 0.3, 0.1, 0.4, 1.0)
    c0 = column(1, 2, 3, 4, 5, 6)[:, None]
    return Transitions(
        column(0.0, 1.0, -1.0)[:, None], column(0.0, 5.0, 7.0), torch.tensor([0, 1, 4, 6]), lengths, c0, -0.5 * c0
    )


def one_input_each() -> Transitions:
    inputs = column(1, 2, 3)[:, None]
    return Transitions(
        column(0.0, 1.0, -1.0)[:, None], column(0.0, 5.0, 7.0), torch.arange(4), column(0.5, 0.2, 0.3), inputs, inputs
    )


def assert_same(one: Transitions, other: Transitions) -> None:
    for name in ("state", "time", "offsets", "lengths", "c0", "c1"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_horizon():
    torch.testing.assert_close(several().horizon, column(0.5, 0.6, 1.4))


def test_select_takes_all_segments():
    chosen = several().select(torch.tensor([2, 1]))
    assert chosen.offsets.tolist() == [0, 2, 5]
    assert chosen.lengths.tolist() == [0.4, 1.0, 0.2, 0.3, 0.1]
    assert chosen.c0[:, 0].tolist() == [5, 6, 2, 3, 4]
    assert chosen.c1[:, 0].tolist() == [-2.5, -3, -1, -1.5, -2]
    assert chosen.time.tolist() == [7, 5]
    assert chosen.state[:, 0].tolist() == [-1, 1]


def test_select_in_parts_and_with_repetitions():
    for transitions in (several(), one_input_each()):
        assert_same(transitions.select(torch.arange(3)), transitions)
        once = transitions.select(torch.tensor([2, 0, 2, 1, 1]))
        assert len(once) == 5
        assert len(once.offsets) == 6
        assert_same(once, transitions.select(torch.tensor([2, 0, 1])).select(torch.tensor([0, 1, 0, 2, 2])))
        torch.testing.assert_close(once.horizon, transitions.horizon[[2, 0, 2, 1, 1]])
        assert len(transitions.select(torch.tensor([], dtype=torch.int64))) == 0


def test_several_segments_are_composed():
    problem = Problem(forced, lambda t, u: 0.2 + 0.1 * u)
    transitions, propagator = several(), LocalLinearisation(0.1)
    mean, cov = transitions.moments(problem, propagator)
    for i in range(3):
        m, p, t = transitions.state[i : i + 1], None, transitions.time[i : i + 1]
        for k in range(transitions.offsets[i], transitions.offsets[i + 1]):
            s = slice(k, k + 1)
            h = transitions.lengths[s]
            interval = Interval(t, h, transitions.c0[s], transitions.c1[s])
            m, p, _ = propagator.advance(problem, Moments(m, p), interval)
            t = t + h
        torch.testing.assert_close(mean[i], m[0], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(cov[i], p[0], rtol=1e-12, atol=1e-14)


def test_moments_of_a_selection_are_a_selection_of_moments():
    problem = Problem(forced, lambda t, u: 0.2 + 0.1 * u)
    items = torch.tensor([2, 0])
    for transitions in (several(), one_input_each()):
        whole = transitions.moments(problem, LocalLinearisation(0.1))
        part = transitions.select(items).moments(problem, LocalLinearisation(0.1))
        for one, other in zip(part, whole, strict=True):
            torch.testing.assert_close(one, other[items], rtol=1e-12, atol=1e-14)


def test_a_cut_changes_nothing_where_steps_are_exact():
    problem = Problem(lambda t, u: 1.0 - 0.7 * u, 0.3)
    whole = direct(column(2.0)[:, None], column(1.5))
    empty = torch.zeros(3, 0, dtype=torch.float64)
    cut = Transitions(whole.state, whole.time, torch.tensor([0, 3]), column(0.2, 1.0, 0.3), empty, empty)
    for one, other in zip(
        cut.moments(problem, LocalLinearisation()), whole.moments(problem, LocalLinearisation()), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=0)


def test_without_noise():
    mean, cov = several().moments(Problem(forced), LocalLinearisation(0.1))
    assert cov is None
    torch.testing.assert_close(
        mean, several().moments(Problem(forced, 0.1), LocalLinearisation(0.1, curved_drift=False))[0]
    )


def test_nothing_to_do():
    problem, start = nonlinear("pendulum")
    nothing = direct(start, column(0.4)).select(torch.tensor([], dtype=torch.int64))
    mean, cov = nothing.moments(problem, LocalLinearisation())
    assert mean.shape == (0, 2)
    assert cov.shape == (0, 2, 2)


def test_random_subset():
    transitions = direct(torch.arange(50.0).double()[:, None], torch.arange(50.0).double())
    assert_same(random_subset(transitions, 50, torch.Generator()), transitions)

    def draw(seed):
        chosen = random_subset(transitions, 20, torch.Generator().manual_seed(seed))
        assert torch.equal(chosen.state[:, 0], chosen.lengths)
        return chosen.lengths.tolist()

    assert len(set(draw(0))) == 20
    assert draw(0) == draw(0) != draw(1)
