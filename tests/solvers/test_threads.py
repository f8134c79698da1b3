"""Calls in many threads at once, next to forward mode of a caller, which is global to the process."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from skneuralde import MLP, Jump, Laplacian, NeuralSDERegressor, Problem, Stencil, solve

NET = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
FIELD = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)[:, None]


def forced(t, u):
    return torch.stack([-50.0 * u[:, 0] + t[:, 0].sin(), u[:, 0] * u[:, 1]], 1)


def kinetics(t, u):
    rate = 1e4 * u[:, 1] * u[:, 2] - 0.04 * u[:, 0]
    return torch.stack([rate, -rate - 3e7 * u[:, 1] ** 2, 3e7 * u[:, 1] ** 2], 1)


def shift(u):
    return 0.5 * (u.roll(1, 1) - u)


def values(problem, y0, **options):
    return lambda: solve(problem, y0, [0.0, 0.3], random_state=0, **options).ys


def gradient(problem, y0, **options):
    def call():
        start = torch.tensor(y0, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(values(problem, start, **options)().sum(), start)[0]

    return call


def front(**options):
    return Problem(lambda t, u: u * (1.0 - u), operator=[Laplacian(0.1, 0.3), shift], **options)


def drift_with_error():
    """The drift of a fitted model, and its standard deviation by the delta method."""
    t = np.arange(40.0)
    y = np.cumsum(np.random.default_rng(0).normal(size=40))
    drift = [lambda t, u: -0.1 * u, MLP(inputs=())]
    model = NeuralSDERegressor(drift=drift, optimizer="lbfgs", diffusion=0.3, uncertainty="laplace", random_state=0)
    model.fit(t[:, None], y)
    return lambda: torch.from_numpy(np.stack(model.drift_field([[0.5], [1.0]], return_std=True)))


CALLS = {
    "dense": values(Problem(kinetics), [1.0, 0.0, 0.0], solver="rosenbrock"),
    "forced": gradient(Problem(forced), [1.0, 0.2], solver="rosenbrock"),
    "sparse": values(Problem(forced, sparsity=np.tri(2)), [1.0, 0.2], solver="rosenbrock"),
    "field": values(front(), FIELD),
    "sparse field": values(front(sparsity=Stencil(periodic=True)), FIELD),
    "spectral radius": values(front(), FIELD, solver="rock2"),
    "switching": values(Problem(forced), [1.0, 0.2]),
    "noise": values(Problem(lambda t, u: -u * t, lambda t, u: 0.3 * u.cos()), [1.0, 2.0]),
    "jumps": gradient(Problem(lambda t, u: -u, jumps=[Jump(3.0, lambda t, u: 0.5 * u)]), [1.0, 2.0]),
    "forward": gradient(Problem(lambda t, u: NET(u)), [1.0, 1.0], gradient="forward"),
    "checkpoint": gradient(Problem(lambda t, u: NET(u)), [1.0, 1.0], gradient="checkpoint"),
}


def by_transform():
    return torch.func.jvp(
        lambda x: (x.sin() * NET(x)).sum(), (torch.ones(3, 2).double(),), (torch.ones(3, 2).double(),)
    )[1]


def by_level():
    with forward_ad.dual_level():
        x = forward_ad.make_dual(torch.ones(3, 2).double(), torch.ones(3, 2).double())
        return forward_ad.unpack_dual((x.sin() * NET(x)).sum()).tangent


@pytest.mark.parametrize("own", [by_transform, by_level])
def test_calls_at_once_are_those_one_by_one(own):
    calls = {**CALLS, "standard errors": drift_with_error()}
    expected, slope = {name: call() for name, call in calls.items()}, own()
    done, wrong = threading.Event(), []

    def callers_own():
        count = 0
        while not done.is_set():
            count += 1
            if not torch.equal(own(), slope):
                wrong.append("the caller's own derivative")
        return count

    def work(worker):
        names = list(calls)
        for name in (names + names)[worker : worker + 3]:
            if not torch.equal(calls[name](), expected[name]):
                wrong.append(name)

    with ThreadPoolExecutor(17) as pool:
        derivatives = pool.submit(callers_own)
        try:
            list(pool.map(work, [k % len(calls) for k in range(16)]))
        finally:
            done.set()
    assert derivatives.result() > 10
    assert not wrong


def test_standard_errors_at_once():
    """Other parameters are tried in a copy of the model, which other threads do not see."""
    call = drift_with_error()
    expected = call()
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda _: call(), range(320)))
    assert all(torch.equal(result, expected) for result in results)


@pytest.mark.parametrize("name", CALLS)
def test_an_open_level_changes_nothing(name):
    expected = CALLS[name]()
    with forward_ad.dual_level():
        assert torch.equal(CALLS[name](), expected)
