"""What a call leaves behind: no memory, and nothing that later results depend on."""

import gc
import tracemalloc

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skneuralde import Jump, Laplacian, Problem, solve

LAW = torch.nn.Linear(2, 2).double()
FIELD = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)[:, None]
START = torch.tensor([0.5, 0.2], dtype=torch.float64)
PROBLEMS = {
    "tsit5": (Problem(lambda t, u: LAW(u).tanh()), START),
    "rosenbrock": (Problem(lambda t, u: -5.0 * u + t.sin()), START),
    "sosri2": (Problem(lambda t, u: -u, lambda t, u: 0.3 * u.cos()), START),
    "ees25": (Problem(lambda t, u: -u, lambda t, u: 0.3 * u.cos()), START),
    "dopri5": (Problem(lambda t, u: -u, jumps=[Jump(2.0, lambda t, u: 0.5 * u)]), START),
    "rock2": (Problem(lambda t, u: u * (1.0 - u), operator=Laplacian(0.1, 0.3)), FIELD),
    "auto": (Problem(lambda t, u: u * (1.0 - u), operator=Laplacian(0.1, 0.3)), FIELD),
}


def result(name, gradient="auto", y0=None):
    problem, start = PROBLEMS[name]
    options = {"rtol": None, "dt": 0.1} if name == "ees25" else {}
    start = start if y0 is None else y0
    return solve(problem, start, [0.0, 0.2], solver=name, random_state=0, gradient=gradient, **options).ys


def backward(name, gradient="auto"):
    y0 = PROBLEMS[name][1].clone().requires_grad_()
    return torch.autograd.grad(result(name, gradient, y0).sum(), y0)[0]


def under(context):
    def call(name):
        with context():
            return result(name)

    return call


def in_a_transform(name):
    solver = "rock2" if name == "auto" else name
    return torch.func.jvp(
        lambda y0: result(solver, y0=y0), (PROBLEMS[solver][1],), (torch.ones_like(PROBLEMS[solver][1]),)
    )


def with_an_error(name):
    def broken(t, u):
        raise ZeroDivisionError if len(u) else None

    try:
        solve(Problem(broken), START.clone().requires_grad_(), [0.0, 1.0], solver=name)
    except ZeroDivisionError:
        return


MODES = {
    "plain": result,
    "backward": backward,
    "checkpoint": lambda name: backward(name, "checkpoint"),
    "forward": lambda name: backward(name, "forward"),
    "reversible": lambda name: backward("ees25", "reversible"),
    "inference": under(torch.inference_mode),
    "no_grad": under(torch.no_grad),
    "transform": in_a_transform,
    "error": with_an_error,
}
CALLS = [(mode, name) for mode in MODES for name in PROBLEMS]


@settings(max_examples=3)
@given(st.lists(st.sampled_from(CALLS), min_size=3, max_size=6))
def test_calls_in_any_mode_leave_later_results_as_they_are(calls):
    expected = {name: (result(name), backward(name)) for name in {name for _, name in calls}}
    for mode, name in calls:
        MODES[mode](name)
    for name, (values, slope) in expected.items():
        assert torch.equal(result(name), values)
        assert torch.equal(backward(name), slope)


def test_memory_does_not_grow():
    """Of all modes and methods: objects of Python, and tensors."""

    def sizes():
        gc.collect()
        return tracemalloc.get_traced_memory()[0], sum(isinstance(x, torch.Tensor) for x in gc.get_objects())

    chosen = CALLS[::8]
    for mode, name in chosen:
        MODES[mode](name)
    tracemalloc.start()
    try:
        for mode, name in chosen:
            MODES[mode](name)
        before = sizes()
        for mode, name in 2 * chosen:
            MODES[mode](name)
        after = sizes()
    finally:
        tracemalloc.stop()
    assert after[0] - before[0] < 1e5
    assert after[1] - before[1] <= 2
