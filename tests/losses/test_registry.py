"""Names of losses, and what every loss promises: facts that agree, and copies."""

import copy
import pickle

import pytest
from sklearn.base import clone

from skneuralde.losses import Loss, TransitionLoss, get_loss, loss_names


class Weighted(TransitionLoss):
    def __init__(self, power, *, centre=0.0):
        self.power = power
        self.centre = centre

    def cost(self, predicted, target):
        return (predicted.mean - target - self.centre).abs().pow(self.power).sum(-1)


def variants():
    named = [get_loss(name) for name in loss_names()]
    return [*named, *(loss.plain() for loss in named), *(loss.for_snapshots() for loss in named)]


def test_names_are_listed():
    assert loss_names() == ["crps", "energy", "least_squares", "mean", "moments", "nll", "path_mse"]
    assert [get_loss(name).name for name in loss_names()] == loss_names()
    loss = Weighted(2.0)
    assert get_loss(loss) is loss


def test_an_unknown_name_is_refused_with_the_close_match():
    with pytest.raises(
        ValueError, match=r"unknown loss 'moment'; did you mean 'moments'\? valid names are 'auto', 'cr"
    ):
        get_loss("moment")
    with pytest.raises(ValueError, match=r"unknown loss 3; valid names.*'path_mse'; or pass a skneuralde.losses.Loss"):
        get_loss(3)


@pytest.mark.parametrize("loss", variants(), ids=repr)
def test_facts_agree(loss):
    assert loss.name in loss_names()
    assert loss.min_paths == 1 or loss.simulated
    assert loss.simulated or not (loss.antithetic or loss.compares_paths or loss.suits_weak_solvers)
    assert loss.simulated + loss.has_residual_noise + loss.of_transitions == 1
    assert loss.of_transitions or not (loss.is_likelihood or loss.can_filter)
    assert loss.plain().name == loss.for_snapshots().name == loss.name


@pytest.mark.parametrize("loss", [*variants(), Weighted(1.5)], ids=repr)
def test_losses_are_copied(loss):
    for again in (clone(loss), copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert again is not loss
        assert type(again) is type(loss)
        assert again.get_params() == loss.get_params()
        assert repr(again) == repr(loss)


def test_parameters_are_read_and_set_by_name():
    loss = Weighted(1.5)
    assert repr(loss) == "Weighted(power=1.5, centre=0.0)"
    assert loss.set_params(centre=0.2) is loss
    assert loss.get_params() == {"power": 1.5, "centre": 0.2}
    with pytest.raises(ValueError, match=r"Invalid parameter 'centr' for loss Weighted.*\['power', 'centre'\]"):
        loss.set_params(centr=1.0)


def test_a_loss_must_say_what_it_costs():
    for kind in (Loss, TransitionLoss):
        with pytest.raises(TypeError, match="abstract"):
            kind()
