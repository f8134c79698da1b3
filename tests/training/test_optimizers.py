"""One epoch of steps: which items, which noise, which step, which loss."""

import math
from itertools import chain

import pytest
import torch

from skneuralde.training import LBFGS, Adam, EvaluateOnly
from skneuralde.training.optimizers import mean_loss
from tests.stubs import Point, ToldLoss

CENTRES = [1.0, 2.0, -1.0, 4.0, 0.5]


def bowl(w, item):
    return 0.5 * (w[0] - CENTRES[item]) ** 2 + 0.5 * (w[1] - item) ** 2


def rosenbrock(w, item):
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def epochs(optimizer, model, objective, n=1, seed=0, factor=1.0):
    return [optimizer.run_epoch(model, objective, epoch=e, seed=seed, factor=factor) for e in range(1, n + 1)]


def test_adam_is_adam():
    model, twin = Point(0.0, 0.0), Point(0.0, 0.0)
    objective = ToldLoss(bowl, [1, 2, 3, 4, 0.5])
    losses = epochs(Adam(model, learning_rate=0.1, batch_size=10), model, objective, 5)
    adam = torch.optim.Adam(twin.parameters(), lr=0.1)
    for loss in losses:
        values = torch.stack([bowl(twin.w, i) for i in range(5)])
        mean = (objective.weight * values).sum() / objective.weight.sum()
        adam.zero_grad()
        mean.backward()
        adam.step()
        # The loss of an epoch is that met on the way.
        assert loss == pytest.approx(mean.item(), rel=1e-12)
    torch.testing.assert_close(model.w, twin.w, rtol=1e-12, atol=0)
    assert objective.epochs == [1, 2, 3, 4, 5]


def test_adam_moves_parameters_of_every_shape_that_the_loss_uses():
    models = []
    for _ in range(2):
        model = Point(0.0, 0.0)
        model.matrix = torch.nn.Parameter(torch.arange(1.0, 7.0, dtype=torch.float64).view(2, 3))
        model.unused = torch.nn.Parameter(torch.ones(4, dtype=torch.float64))
        models.append(model)
    model, twin = models
    objective = ToldLoss(lambda w, i: bowl(w, i) + (model.matrix**3).sum(), [1.0])
    epochs(Adam(model, learning_rate=0.1, batch_size=10), model, objective, 3)
    adam = torch.optim.Adam(twin.parameters(), lr=0.1)
    for _ in range(3):
        adam.zero_grad()
        (bowl(twin.w, 0) + (twin.matrix**3).sum()).backward()
        adam.step()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_every_item_once_an_epoch_in_a_new_order():
    def orders(seed):
        model, objective = Point(0.0, 0.0), ToldLoss(bowl, [1.0] * 5)
        epochs(Adam(model, learning_rate=0.1, batch_size=2), model, objective, 6, seed)
        return [list(chain(*objective.asked[k : k + 3])) for k in range(0, 18, 3)], objective

    batches, objective = orders(0)
    assert [len(batch) for batch in objective.asked] == [2, 2, 1] * 6
    assert all(sorted(batch) == list(range(5)) for batch in batches)
    assert len(set(map(tuple, batches))) > 3
    assert orders(0)[0] == batches != orders(1)[0]


def test_every_batch_has_noise_of_its_own():
    model, objective = Point(0.0, 0.0), ToldLoss(bowl, [1.0] * 5)
    epochs(Adam(model, learning_rate=0.1, batch_size=1), model, objective, 20)
    assert len(set(objective.seeds)) == 100
    other = ToldLoss(bowl, [1.0] * 5)
    epochs(Adam(model, learning_rate=0.1, batch_size=1), model, other, 20, seed=1)
    assert not set(objective.seeds) & set(other.seeds)


def test_what_has_no_weight_is_not_evaluated():
    for batch_size in (1, 10):
        model, objective = Point(0.0, 0.0), ToldLoss(bowl, [0, 1, 0, 0, 2])
        adam = Adam(model, learning_rate=0.1, batch_size=batch_size)
        assert all(map(math.isfinite, epochs(adam, model, objective, 3)))
        assert sorted({item for items in objective.asked for item in items}) == [1, 4]
    for optimizer in (LBFGS(model), EvaluateOnly()):
        objective.asked.clear()
        epochs(optimizer, model, objective)
        assert {tuple(items) for items in objective.asked} == {(1, 4)}


def test_weights_are_repetitions():
    ends = []
    for optimizer in (lambda m: Adam(m, learning_rate=0.1, batch_size=10), LBFGS):
        for items, weight in ((range(5), [1, 0, 3, 2, 1]), ([0, 2, 2, 2, 3, 3, 4], [1] * 7)):
            model = Point(0.0, 0.0)
            epochs(optimizer(model), model, ToldLoss(lambda w, i, items=items: bowl(w, items[i]), weight), 3)
            ends.append(model.w.detach())
        torch.testing.assert_close(*ends[-2:], rtol=1e-12, atol=1e-12)


def test_factor_scales_the_step():
    moved = []
    for factor in (1.0, 0.25, 0.0):
        model = Point(0.0, 0.0)
        epochs(Adam(model, learning_rate=0.1, batch_size=10), model, ToldLoss(bowl, [1.0] * 5), factor=factor)
        moved.append(float(model.w[0].detach()))
    assert moved == pytest.approx([0.1, 0.025, 0.0], rel=1e-6)


def test_shrunk_adam_forgets_and_takes_smaller_steps():
    model, objective = Point(0.0, 0.0), ToldLoss(bowl, [1.0] * 5)
    adam = Adam(model, learning_rate=0.1, batch_size=10)
    epochs(adam, model, objective, 3)
    adam.shrink()
    before = model.w.detach().clone()
    epochs(adam, model, objective)
    assert float((model.w.detach() - before)[0]) == pytest.approx(0.02, rel=1e-6)


def test_lbfgs_finds_the_bottom_of_a_bent_valley():
    model, objective = Point(-1.2, 1.0), ToldLoss(rosenbrock, [1.0])
    losses = epochs(LBFGS(model), model, objective, 6)
    torch.testing.assert_close(model.w.detach(), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-5)
    # The loss of an epoch is that of the weights it ends with.
    assert losses[-1] == pytest.approx(rosenbrock(model.w, 0).item())
    assert losses == sorted(losses, reverse=True)
    assert set(objective.seeds) == {0}


def test_parameters_that_are_fixed_stay():
    for make in (lambda m: Adam(m, learning_rate=0.1, batch_size=10), LBFGS):
        model = Point(0.0, 0.0)
        model.fixed = torch.nn.Parameter(torch.ones(1, dtype=torch.float64), requires_grad=False)
        epochs(make(model), model, ToldLoss(lambda w, i, m=model: bowl(w, i) * m.fixed[0], [1.0] * 5))
        assert model.fixed == 1
        assert model.w.detach().all()


def test_evaluation_changes_nothing():
    model, objective = Point(0.5, 0.0), ToldLoss(bowl, [1, 2, 3, 4, 0.5])
    loss = epochs(EvaluateOnly(), model, objective)[0]
    assert model.w.tolist() == [0.5, 0.0]
    values = [bowl(model.w, i).item() for i in range(5)]
    assert loss == pytest.approx(sum(w * v for w, v in zip([1, 2, 3, 4, 0.5], values, strict=True)) / 10.5)
    assert mean_loss(model, objective, seed=3, batch_size=2) == pytest.approx(loss, rel=1e-12)
    assert objective.asked[-3:] == [[0, 1], [2, 3], [4]]
    assert objective.seeds[-1] == 3


def test_lbfgs_forgets_the_curvature_of_a_loss_of_other_paths():
    """Where the number of paths grows, the loss is another one from then on."""

    class Growing(ToldLoss):
        def start_epoch(self, model, epoch):
            self.paths = self.version = 1 if epoch < 3 else 100

    def loss(w, item):
        # The valley turns by a right angle.
        return (w[0] - 1) ** 2 + 1e4 * w[1] ** 2 if objective.paths == 1 else 1e4 * w[0] ** 2 + (w[1] - 1) ** 2

    model, objective = Point(-1.2, 1.0), Growing(loss, [1.0])
    optimizer = LBFGS(model)
    seen = []
    for epoch in range(1, 5):
        optimizer.run_epoch(model, objective, epoch=epoch, seed=0, factor=1.0)
        seen.append(optimizer.lbfgs)
    assert seen[0] is seen[1] is not seen[2] is seen[3]
    torch.testing.assert_close(model.w.detach(), torch.tensor([0.0, 1.0], dtype=torch.float64), atol=1e-6, rtol=0)
