"""Rates below a bound, moves, and what an estimator takes for the rate and the effect of a jump."""

import pytest
import torch

from skneuralde.terms import (
    MLP,
    BoundedRate,
    GaussianAffect,
    Inputs,
    JumpNetworks,
    KnownAffect,
    MoveBy,
    SetState,
    SumAffect,
    rate_bound,
    resolve_affect,
    resolve_rate,
)
from skneuralde.terms.derivatives import value_and_jacobian

T = torch.zeros(5, 1, dtype=torch.float64)
U = torch.linspace(-2, 2, 10, dtype=torch.float64).view(5, 2)


def networks(**changes):
    values = {
        "default": MLP((4,)),
        "inputs": Inputs.unit(2),
        "generator": torch.Generator().manual_seed(0),
        "rate": 0.1,
        "max_rate": 5.0,
        "size": torch.tensor([2.0, 3.0], dtype=torch.float64),
        "shift": torch.zeros(2, dtype=torch.float64),
        "move": torch.tensor([-2.0, 3.0], dtype=torch.float64),
        "floor": torch.tensor([0.1, 0.2], dtype=torch.float64),
    }
    return JumpNetworks(**{**values, **changes})


class Trainable(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.size = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, t, u, z):
        return u + self.size * z


def test_a_fresh_rate_is_near_its_start_and_below_its_bound():
    rate = resolve_rate("mlp", name="jump_rate", networks=networks())
    assert isinstance(rate, BoundedRate)
    assert rate(T, U).shape == (5,)
    torch.testing.assert_close(rate(T, U), torch.full((5,), 0.1, dtype=torch.float64), rtol=0.3, atol=0)
    with torch.no_grad():
        rate.raw.layers[-1].bias += 100.0
    assert (rate(T, U) <= 5.0).all()
    assert rate_bound(rate) == 5.0


def test_jacobian_of_a_bounded_rate():
    rate = resolve_rate(MLP((3, 4)), name="jump_rate", networks=networks())
    value, slope = rate.linearize(T, U)
    exact_value, exact_slope = value_and_jacobian(lambda u, t: rate(t, u), U, T)
    torch.testing.assert_close(value, exact_value)
    torch.testing.assert_close(slope, exact_slope)


def test_curvature_of_a_bounded_rate():
    rate = resolve_rate(MLP((3, 4)), name="jump_rate", networks=networks())
    cov = torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=torch.float64).expand(5, -1, -1)
    value, slope, bend = rate.curvature(T, U, None, cov)
    torch.testing.assert_close((value, slope), rate.linearize(T, U))
    step = 1e-4 * torch.eye(2, dtype=torch.float64)
    differences = [(rate.linearize(T, U + h)[1] - rate.linearize(T, U - h)[1]) / 2e-4 for h in step]
    torch.testing.assert_close(bend, (torch.stack(differences, 1) * cov).sum((1, 2)), rtol=1e-5, atol=1e-10)


def test_bounds_of_sums():
    mixed = resolve_rate([0.5, "mlp"], name="jump_rate", networks=networks())
    assert rate_bound(mixed) == 5.5
    assert rate_bound(resolve_rate([lambda t, u: u[:, 0] ** 2, "mlp"], name="r", networks=networks())) is None
    torch.testing.assert_close(mixed(T, U), torch.full((5,), 0.6, dtype=torch.float64), rtol=0.1, atol=0)


@pytest.mark.parametrize("spec", [None, -1.0, [1.0, 2.0], "gaussian", "poisson"])
def test_rates_that_are_none(spec):
    with pytest.raises(ValueError, match="jump_rate"):
        resolve_rate(spec, name="jump_rate", networks=networks())


def test_fresh_effects():
    gaussian = resolve_affect("gaussian", name="jump_affect", networks=networks())
    assert isinstance(gaussian, GaussianAffect)
    torch.testing.assert_close(
        gaussian.std(T, U), torch.tensor([[2.1, 3.2]], dtype=torch.float64).expand(5, -1), rtol=0.2, atol=0
    )
    moved = resolve_affect("mlp", name="jump_affect", networks=networks())
    assert isinstance(moved, MoveBy)
    assert not moved.uses_marks
    change = moved(T, U, None, torch.zeros_like(U)) - U
    assert (change[:, 0] < -1).all()
    assert (change[:, 1] > 1).all()


def test_a_learned_deviation_stays_above_its_floor():
    gaussian = resolve_affect("gaussian", name="jump_affect", networks=networks())
    with torch.no_grad():
        for p in gaussian.std.parameters():
            p.fill_(-50.0)
    assert (gaussian.std(T, U) >= torch.tensor([0.1, 0.2], dtype=torch.float64)).all()


def test_effects_of_every_kind():
    made = networks()
    assert isinstance(resolve_affect(lambda t, u: 0.5 * u, name="a", networks=made), KnownAffect)
    state = resolve_affect([1.0, 2.0], name="a", networks=made)
    assert isinstance(state, SetState)
    assert state(T, U, None, U).tolist() == [[1.0, 2.0]] * 5
    module = Trainable()
    copied = resolve_affect(module, name="a", networks=made)
    assert copied.uses_marks
    assert copied.function is not module
    mixed = resolve_affect([lambda t, u: -0.5 * u, "gaussian"], name="a", networks=made)
    assert isinstance(mixed, SumAffect)
    assert mixed.uses_marks


@pytest.mark.parametrize("spec", [None, "gauss", MLP, lambda u: u, [1.0, 2.0, 3.0]])
def test_effects_that_are_none(spec):
    with pytest.raises(ValueError, match="jump_affect"):
        resolve_affect(spec, name="jump_affect", networks=networks())
