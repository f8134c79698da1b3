"""All ways to differentiate a solution agree with each other and with finite differences."""

import functools
import math
import multiprocessing
import resource
import weakref

import pytest
import torch

from skneuralde.problems import Problem
from skneuralde.solvers import SolveRequest, Status, get_solver, integrate, solve, solver_names
from skneuralde.solvers.gradients.replay import GRADIENTS

TS = torch.tensor([[0.0, 0.2, 0.2, 0.45], [0.0, 0.1, torch.nan, torch.nan]], dtype=torch.float64)
OURS = [name for name in solver_names() if len(get_solver(name).gradients) > 1 and ":" not in name]
MODES = [(name, mode) for name in OURS for mode in get_solver(name).gradients]


class Pull(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor([0.8, 1.7], dtype=torch.float64))
        self.level = torch.nn.Parameter(torch.tensor(0.4, dtype=torch.float64))

    def forward(self, t, u):
        return self.rate * (torch.sin(3 * t) - u) - 0.3 * u**3 + self.level


class Spread(torch.nn.Module):
    def __init__(self, depends):
        super().__init__()
        self.size = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
        self.depends = depends

    def forward(self, t, u):
        return self.size * (1 + 0.5 * torch.sin(u) if self.depends else torch.ones_like(u)) * (1 + t)


class Cubic(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def forward(self, t, u):
        return self.rate * u**3


def make_problem(name):
    solver = get_solver(name)
    if solver.handles("diagonal"):
        calculus = "stratonovich" if name == "ees25" else "ito"
        return Problem(Pull(), Spread(True), calculus=calculus)
    return Problem(Pull(), Spread(False) if solver.handles("additive") else None, noise="additive")


def loss_of(problem, start, name, mode, *, dt=0.1, rtol=None, ts=TS):
    y0 = start * torch.tensor([[1.0, 0.5], [-0.4, 2.0]], dtype=torch.float64)
    solution = solve(
        problem, y0, ts, solver=name, rtol=rtol, atol=rtol or 0.0, dt=dt, n_paths=2, random_state=3, gradient=mode
    )
    return torch.sin(2 * solution.ys.nan_to_num()).sum()


@functools.cache
def finite_differences(name, eps=1e-5):
    """Slopes of the loss in the start and in every parameter."""
    problem, start = make_problem(name), torch.tensor(1.1, dtype=torch.float64)

    def loss(entries, i, change):
        entries[i] += change
        value = loss_of(problem, start, name, "direct").item()
        entries[i] -= change
        return value

    with torch.no_grad():
        return [
            [(loss(x.view(-1), i, eps) - loss(x.view(-1), i, -eps)) / (2 * eps) for i in range(x.numel())]
            for x in (start, *problem.parameters())
        ]


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_fixed_steps_have_the_gradient_of_finite_differences(name, mode):
    problem, start = make_problem(name), torch.tensor(1.1, dtype=torch.float64, requires_grad=True)
    inputs = [start, *problem.parameters()]
    gradient = torch.autograd.grad(loss_of(problem, start, name, mode), inputs)
    tolerance = 1e-4 if mode == "reversible" else 1e-6
    for found, slopes in zip(gradient, finite_differences(name), strict=True):
        for slope, expected in zip(found.flatten().tolist(), slopes, strict=True):
            assert abs(slope - expected) < tolerance * max(1.0, abs(expected))


@pytest.mark.parametrize(("name", "mode"), [pair for pair in MODES if get_solver(pair[0]).adaptive])
def test_adaptive_steps_have_the_same_gradient_in_every_way(name, mode):
    problem, start = make_problem(name), torch.tensor(1.1, dtype=torch.float64, requires_grad=True)
    inputs = [start, *problem.parameters()]
    direct, other = (
        torch.autograd.grad(loss_of(problem, start, name, m, dt=None, rtol=1e-1), inputs) for m in ("direct", mode)
    )
    torch.testing.assert_close(other, direct, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mode", GRADIENTS)
def test_a_shared_mesh_has_the_same_gradient(mode):
    """All paths at the same times: no path drops out."""
    problem, start = make_problem("ees25"), torch.tensor(1.1, dtype=torch.float64, requires_grad=True)
    inputs = [start, *problem.parameters()]
    ts = torch.tensor([0.0, 0.31, 1.0], dtype=torch.float64)
    direct, other = (
        torch.autograd.grad(loss_of(problem, start, "ees25", m, dt=0.05, ts=ts), inputs) for m in ("direct", mode)
    )
    torch.testing.assert_close(other, direct, rtol=1e-4 if mode == "reversible" else 1e-10, atol=1e-12)


@pytest.mark.parametrize("mode", ["direct", "checkpoint", "reversible"])
def test_reverse_mode_reaches_what_callables_capture(mode):
    raw = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    rate = raw.exp()  # has a graph of its own
    problem = Problem(lambda t, u: -rate * u, 0.2, noise="additive")
    ys = solve(problem, [1.0], [0.0, 1.0], solver="ees25", dt=0.01, random_state=0, gradient=mode, rtol=None).ys
    (gradient,) = torch.autograd.grad(ys[0, -1, 0], raw)
    quiet = solve(
        Problem(lambda t, u: -(raw.detach() + 1e-5).exp() * u, 0.2, noise="additive"),
        [1.0], [0.0, 1.0], solver="ees25", dt=0.01, random_state=0, rtol=None,
    ).ys  # fmt: skip
    assert abs(gradient.item() - (quiet - ys).detach()[0, -1, 0].item() / 1e-5) < 1e-4


@pytest.mark.parametrize("mode", GRADIENTS)
@pytest.mark.parametrize("own_graph", [False, True])
def test_tensors_that_callables_have_captured(mode, own_graph):
    """Leaves, and tensors that were computed before, which are what is asked for."""
    leaf = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    rate = leaf.square() if own_graph else leaf
    problem = Problem(lambda t, u: -rate * u)
    ys = solve(problem, [1.0], [0.0, 1.0], solver="ees25", dt=0.01, gradient=mode).ys
    found, _ = torch.autograd.grad(ys[0, -1, 0], [rate, leaf], allow_unused=True, materialize_grads=True)
    assert abs(found + torch.exp(-rate.detach())) < 1e-5


@pytest.mark.parametrize("mode", GRADIENTS)
def test_nothing_to_do_has_a_gradient_too(mode):
    y0 = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    ys = solve(Problem(Pull(), None), y0.expand(2), [0.0, 0.0], solver="ees25", dt=0.1, gradient=mode).ys
    (gradient,) = torch.autograd.grad(ys.sum(), y0)
    assert gradient.item() == 4.0


@pytest.mark.parametrize("mode", GRADIENTS)
def test_a_path_that_ceases_to_be_finite_has_the_gradient_of_what_was_reached(mode):
    """The loss does not see the times after it failed, and nor does the gradient."""
    problem = Problem(Cubic(), 0.1, noise="additive")
    inputs = [torch.tensor([[-0.1], [0.65]], dtype=torch.float64, requires_grad=True), *problem.parameters()]
    arguments = {"solver": "ees25", "dt": 0.05, "random_state": 0, "gradient": mode, "on_error": "mask"}
    # 33 and 40 steps have the same power of two above them, so that the Brownian path is the same.
    failed = solve(problem, inputs[0], [[0.0, 1.65, 2.0], [0.0, 1.65, 2.0]], **arguments)
    short = solve(problem, inputs[0], [[0.0, 1.65, 2.0], [0.0, 1.65, math.nan]], **arguments)
    assert failed.status.tolist() == [[Status.SUCCESS, Status.NON_FINITE]]
    assert torch.equal(failed.ys.isnan(), short.ys.isnan())
    gradients = [torch.autograd.grad(solution.ys.nan_to_num().sum(), inputs) for solution in (failed, short)]
    torch.testing.assert_close(*gradients)


def test_aside_no_gradient_leads_through_a_side_step_that_is_not_finite():
    start = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    problem = Problem(lambda t, u, c: torch.where(t >= c, torch.inf, -1.0) * u)
    ends = torch.tensor([[0.2], [9.0]], dtype=torch.float64)
    trajectory = integrate(SolveRequest(
        problem, start, torch.tensor([0.0, 0.15, 0.25], dtype=torch.float64), solver=get_solver("euler"), dt=0.1,
        context=ends, side_steps=True, on_error="mask",
    ))  # fmt: skip
    assert trajectory.status.tolist() == [Status.NON_FINITE, Status.SUCCESS]
    assert trajectory.values.isnan().squeeze(-1).tolist() == [[False, False, True], [False, False, False]]
    (gradient,) = torch.autograd.grad(trajectory.values.nan_to_num().sum(), start)
    torch.testing.assert_close(gradient[:, 0], torch.tensor([1 + 0.9 * 0.95, 1 + 0.9 * 0.95 + 0.81 * 0.95]).double())


def held_in_backward(mode, n_steps):
    """Tensor memory that a graph holds between the solution and its gradient, in states of one path."""
    problem = make_problem("ees25")
    y0 = torch.ones(2, dtype=torch.float64)
    saved = weakref.WeakSet()

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor
            saved.add(self)

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda held: held.tensor):
        ys = solve(
            problem, y0, [0.0, 1.0], solver="ees25", rtol=None, dt=1.0 / n_steps, random_state=0, gradient=mode,
            max_steps=n_steps,
        ).ys  # fmt: skip
    held = sum(one.tensor.numel() for one in saved)
    ys.sum().backward()
    assert all(p.grad.isfinite().all() for p in problem.parameters())
    return held


def test_memory_of_the_graph_grows_as_promised():
    few, many = 9, 81
    growth = {mode: held_in_backward(mode, many) / max(1, held_in_backward(mode, few)) for mode in GRADIENTS}
    assert growth["direct"] > 7
    assert growth["checkpoint"] < 5
    assert growth["reversible"] <= 1.5
    assert growth["forward"] <= 1.5


class Decay(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def forward(self, t, u):
        return -self.rate * u


def peak_of_long_solution(n_steps, mode, send):
    """Megabytes by which the memory of a process peaks above what it held before."""
    torch.set_num_threads(1)
    problem, y0 = Problem(Decay(), 0.1, noise="additive"), torch.ones(1, dtype=torch.float64)

    def work(n):
        solve(problem, y0, [0.0, 1.0], solver="euler", dt=1.0 / n, random_state=0, gradient=mode).ys.sum().backward()

    work(100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work(n_steps)
    send.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


@pytest.mark.slow
def test_twenty_thousand_steps_in_bounded_memory():
    context = multiprocessing.get_context("spawn")
    send = context.Queue()
    process = context.Process(target=peak_of_long_solution, args=(20_000, "checkpoint", send))
    process.start()
    growth = send.get(timeout=300)
    process.join()
    assert growth < 60  # plain autograd takes 107
