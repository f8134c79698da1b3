"""When training slows down and stops."""

import math

from skneuralde.training import StoppingRule


def run(rule, losses):
    """The step factors of the epochs up to the last."""
    factors = []
    for epoch, loss in enumerate(losses, 1):
        factors.append(rule.factor(epoch))
        if rule.is_over(epoch, loss):
            break
    return factors


def test_cools_down_before_the_end():
    falling = [1.0 / epoch for epoch in range(1, 100)]
    factors = run(StoppingRule(max_iter=8, tol=1e-4, patience=3, cooldown=4), falling)
    assert factors == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


def test_no_improvement_brings_the_cooldown_forward():
    # The best is the second; three epochs later, at the fifth, patience ends.
    losses = [2.0, 1.0, 1.0, 1.5, 1.0] + [0.9] * 50
    factors = run(StoppingRule(max_iter=50, tol=1e-4, patience=3, cooldown=4), losses)
    assert factors == [1] * 5 + [1, 0.75, 0.5, 0.25]


def test_what_happens_while_cooling_changes_nothing():
    stale = [1.0] * 4 + [0.5, 0.5, 0.5, 0.5, 0.5]
    assert len(run(StoppingRule(max_iter=50, tol=0, patience=2, cooldown=5), stale * 3)) == 3 + 5
    assert len(run(StoppingRule(max_iter=8, tol=0, patience=1, cooldown=7), [1.0] * 30)) == 8


def test_improvements_below_tol_do_not_count():
    def creeping(step):
        return [1.0 - step * epoch for epoch in range(40)]

    assert len(run(StoppingRule(max_iter=40, tol=0.01, patience=5, cooldown=0), creeping(0.009))) == 6
    assert len(run(StoppingRule(max_iter=40, tol=0.01, patience=5, cooldown=0), creeping(0.011))) == 40


def test_without_cooldown_it_stops_at_once():
    assert run(StoppingRule(max_iter=50, tol=0, patience=2, cooldown=0), [1.0] * 50) == [1, 1, 1]


def test_without_patience_it_goes_to_the_end():
    assert len(run(StoppingRule(max_iter=30, tol=0, patience=None, cooldown=3), [1.0] * 50)) == 30


def test_a_cooldown_as_long_as_training():
    factors = run(StoppingRule(max_iter=4, tol=0, patience=1, cooldown=100), [1.0] * 50)
    assert factors == [1, 0.75, 0.5, 0.25]


def test_one_epoch():
    assert run(StoppingRule(max_iter=1, tol=0, patience=1, cooldown=1), [1.0] * 5) == [1]


def test_a_loss_that_is_not_a_number_is_no_improvement():
    assert len(run(StoppingRule(max_iter=50, tol=0, patience=3, cooldown=0), [1.0] + [math.nan] * 50)) == 4


def test_improvements_that_count_together():
    def creeping(step):
        return [1.0 - step * epoch for epoch in range(40)]

    assert len(run(StoppingRule(max_iter=40, tol=0.01, patience=5, cooldown=0, cumulative=True), creeping(0.003))) == 40
    assert len(run(StoppingRule(max_iter=40, tol=0.01, patience=5, cooldown=0, cumulative=True), creeping(0.0019))) == 6
