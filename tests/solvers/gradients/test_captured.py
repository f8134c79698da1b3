"""Gradients in tensors that callables capture, also where they are used only later or only in some states."""

import types
from functools import partial

import pytest
import torch

from skneuralde import Jump, Problem, solve
from skneuralde.solvers.gradients.captured import captured_tensors

RATE = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
HIDDEN = {}


def is_late(t, u):
    return float(t.detach().min()) > 0.5 or float(u.detach().min()) < 0.6


def decay(t, u, rate):
    return -rate * u if is_late(t, u) else -u


def of_global(t, u):
    return decay(t, u, RATE)


def of_closure(rate):
    return lambda t, u: decay(t, u, rate)


def of_attribute(rate):
    owner = types.SimpleNamespace(deep={"rates": [rate]})
    return lambda t, u: decay(t, u, owner.deep["rates"][0])


def of_method(rate):
    class Law:
        __slots__ = ("rate",)

        def drift(self, t, u):
            return decay(t, u, self.rate)

    law = Law()
    law.rate = rate
    return law.drift


def of_class(rate):
    class Law:
        shared = rate

        def __call__(self, t, u):
            return decay(t, u, self.shared)

    return Law()


def of_default(rate):
    def drift(t, u, k=rate):
        return decay(t, u, k)

    return drift


def of_module_attribute(rate):
    class Law(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.plain = (rate,)

        def forward(self, t, u):
            return decay(t, u, self.plain[0])

    return Law()


FORMS = {
    "closure": of_closure,
    "attribute": of_attribute,
    "method": of_method,
    "class": of_class,
    "default": of_default,
    "partial": lambda rate: partial(decay, rate=rate),
    "module": of_module_attribute,
    "global": lambda rate: of_global,
    "function of a global": lambda rate: lambda t, u: of_global(t, u),
    "computed": lambda rate: of_closure(rate * 1.0),
}
OPTIONS = [{}, {"solver": "tsit5", "rtol": 1e-6}, {"solver": "ees25", "rtol": None, "dt": 0.05}]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_tensors_that_are_used_later(form, options):
    problem, found = Problem(FORMS[form](RATE)), []
    for mode in ("direct", "checkpoint", "forward", *(["reversible"] if "dt" in options else [])):
        ys = solve(problem, torch.ones(1, dtype=torch.float64), [0.0, 1.0], gradient=mode, **options).ys
        found.append(torch.autograd.grad(ys[0, -1, 0], RATE, retain_graph=True)[0])
    assert abs(found[0]) > 0.1
    for slope in found[1:3]:
        torch.testing.assert_close(slope, found[0], rtol=1e-7, atol=0)
    # Reversible steps are undone up to terms of high order.
    assert abs(found[-1] - found[0]) < 1e-4


@pytest.mark.parametrize("mode", ["direct", "checkpoint", "forward"])
def test_inputs_and_jumps_that_use_a_tensor_later(mode):
    size = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    late = lambda t: (t > 0.5).double()[..., None] * size  # noqa: E731
    ys = solve(Problem(lambda t, u, c: c), [0.0], [0.0, 1.0], context=late, stops=[0.5], gradient=mode).ys
    torch.testing.assert_close(torch.autograd.grad(ys[0, -1, 0], size)[0], torch.tensor(0.5).double())
    jump = Jump(20.0, lambda t, u: u + size if float(t.max()) > 0.5 else u)
    solution = solve(Problem(None, jumps=(jump,)), [0.0], [0.0, 1.0], random_state=0, gradient=mode)
    jumps = (solution.jump_times[0] > 0.5).sum()
    assert torch.autograd.grad(solution.ys[0, -1, 0], size)[0] == jumps > 2


@pytest.mark.parametrize("mode", ["checkpoint", "forward", "reversible"])
def test_a_tensor_out_of_reach_is_refused(mode):
    HIDDEN["rate"] = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    problem = Problem(eval('lambda t, u: -(globals()["HIDDEN"]["rate"] if float(t[0]) > 0.5 else 1.0) * u', globals()))
    with pytest.raises(RuntimeError, match=r"is not within its reach.*gradient='direct'"):
        solve(problem, y0, [0.0, 1.0], solver="ees25", dt=0.1, gradient=mode).ys.sum().backward()


@pytest.mark.parametrize("mode", ["direct", "checkpoint", "forward", "reversible"])
def test_a_drift_with_a_derivative_of_its_own(mode):
    """The leaves that it makes are no tensors of the caller, whether it keeps them or not."""
    kept = []

    def force(t, u):
        with torch.enable_grad():
            x = u if u.requires_grad else u.detach().requires_grad_()
            inner = torch.ones_like(u, requires_grad=True)
            kept[:] = [inner]
            potential = (0.25 * x**4 * inner).sum()
            return -torch.autograd.grad(potential, x, create_graph=torch.is_grad_enabled())[0]

    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    ys = solve(Problem(force), y0, [0.0, 1.0], solver="ees25", dt=0.05, gradient=mode).ys
    # u = (1/y0^2 + 2 t)^(-1/2)
    assert abs(torch.autograd.grad(ys[0, -1, 0], y0)[0] - 3.0**-1.5) < 1e-3


def test_unused_tensors_cost_nothing():
    """Forward mode takes no direction for them, and packages are not searched."""
    unused = torch.zeros(3000, 3000, dtype=torch.float64, requires_grad=True)
    law = of_closure(RATE)
    problem = Problem(lambda t, u: law(t, u) if len(u) else unused.sum())
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    solve(problem, y0, [0.0, 1.0], gradient="forward").ys.sum().backward()
    assert unused.grad is None
    assert len(list(captured_tensors(lambda x: torch.nn.functional.relu(x)))) == 0
