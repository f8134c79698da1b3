"""The number of paths grows when the gradient is noise, and only then."""

import torch

from skneuralde.losses import GrowingPaths, PathSquaredError
from tests.losses.test_proper import TIMES, TRUTH, bound, model, simulate


def test_it_doubles_when_noise_outweighs_the_gradient():
    paths = GrowingPaths(16, 100, every=5)
    assert paths(1) == 16
    assert [epoch for epoch in range(1, 16) if paths.is_due(epoch)] == [5, 10, 15]
    paths.judge(torch.tensor([1.0, 1.0]), torch.tensor([1.2, 0.8]))
    assert paths(5) == 16
    paths.judge(torch.tensor([1.0, 1.0]), torch.tensor([-1.0, 1.0]))
    assert paths(10) == 32
    for _ in range(4):
        paths.judge(torch.tensor([1.0]), torch.tensor([-1.0]))
    assert paths(15) == 100
    assert not paths.is_due(15)
    # A gradient that is not finite says nothing.
    undecided = GrowingPaths(4, 8, every=1)
    undecided.judge(torch.tensor([torch.nan]), torch.tensor([1.0]))
    assert undecided(1) == 4


def test_a_loss_grows_at_its_minimum_and_not_far_from_it():
    data = simulate(20)
    decay = torch.exp(-TRUTH["rate"] * torch.tensor(TIMES[1:]).double())
    share = 1 - decay
    best = float((share * (data[:, 1:] - decay * data[:, :1])).mean(0).sum() / share.square().sum())
    for level, expected in ((best + 1.0, 4), (best, 8)):
        loss = bound(PathSquaredError, data, n_paths=4)
        loss.n_paths = GrowingPaths(4, 8, every=1)
        fitted = model(level=level)
        for name, parameter in fitted.named_parameters():
            parameter.requires_grad_(name.endswith("mean"))
        for epoch in range(1, 6):
            loss.start_epoch(fitted, epoch)
        assert loss.paths == expected
