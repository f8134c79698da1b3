"""Faults that were found once, each with the input that showed it."""

import copy

import pytest
import torch

from skneuralde import Jump, Problem, expect, solve
from skneuralde.solvers import (
    Controller,
    PIController,
    SolveRequest,
    Status,
    Step,
    Stepper,
    get_controller,
    get_solver,
    integrate,
    solver_names,
)
from skneuralde.solvers.core.right_hand_side import Counter
from skneuralde.solvers.methods.runge_kutta.pairs import BogackiShampine
from tests.stubs import ToldError, times

ONE = torch.ones(1, 1, dtype=torch.float64)


class Blowing(Stepper):
    """An adaptive method whose state becomes infinite after time 1, with an error that is finite."""

    name, noise_kinds, adaptive, order, error_order = "blowing", ("none",), True, 1, 1

    def step(self, inputs):
        end = inputs.t + inputs.h
        return Step(torch.where(end > 1.0, torch.inf, inputs.u), torch.zeros_like(inputs.u))


def test_a_step_to_an_infinite_state_is_no_success():
    request = SolveRequest(Problem(lambda t, u: -u), ONE, times(0, 0.5, 2.0), Blowing(), on_error="mask")
    trajectory = integrate(request)
    assert trajectory.status.tolist() == [Status.NON_FINITE]
    assert trajectory.values.isnan().flatten().tolist() == [False, False, True]
    assert 0.9 < float(trajectory.reached[0]) <= 1.0


@pytest.mark.parametrize("solver", ["tsit5", "rosenbrock"])
@pytest.mark.parametrize("gradient", ["direct", "checkpoint"])
def test_states_of_a_large_batch_are_those_of_their_save_times(solver, gradient):
    """Save times of several paths are kept in blocks, whose length depends on the size of the states."""
    n = 30_000 if solver == "tsit5" else 40
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    problem = Problem(lambda t, u: -3 * scale * u * u.abs() + torch.sin(7 * t))
    y0 = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)[:, None].expand(3, n)
    ts = torch.linspace(0, 1.5, 30, dtype=torch.float64)
    with torch.no_grad():
        plain = solve(problem, y0, ts, solver=solver, rtol=1e-5).ys
    assert torch.equal(solve(problem, y0, ts, solver=solver, rtol=1e-5, gradient=gradient).ys.detach(), plain)


def test_a_solver_is_given_as_an_instance():
    problem = Problem(lambda t, u: -u)
    named = solve(problem, [1.0], [0.0, 1.0], solver="bs3").ys
    assert torch.equal(solve(problem, [1.0], [0.0, 1.0], solver=BogackiShampine()).ys, named)
    mean = expect(problem, [1.0], [0.0, 1.0], lambda ys: ys[..., -1, 0], n_paths=1, solver=BogackiShampine())
    assert torch.equal(mean, named[0, -1, 0])
    nameless = BogackiShampine()
    nameless.name = ""
    with pytest.raises(ValueError, match="must have a name"):
        solve(problem, [1.0], [0.0, 1.0], solver=nameless)


def test_statistics_steer_no_solver():
    assert vars(Counter()) == {"drift": 0, "diffusion": 0}
    solver = get_solver("rosenbrock")
    before = copy.copy(vars(solver))
    solve(Problem(lambda t, u: -u), [1.0], [0.0, 1.0], solver=solver)
    assert vars(solver) == before
    forced = solve(Problem(lambda t, u: torch.cos(t)), [0.0], [0.0, 1.0], solver=solver)
    torch.testing.assert_close(forced.ys[0, -1, 0], torch.sin(forced.ts[-1]), rtol=0, atol=2e-3)


def test_forward_mode_leaves_shared_modules_as_they_are():
    """A diffusion in another calculus stands twice in the converted problem."""

    class Noise(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

        def forward(self, t, u):
            return self.a * u

    problem, slopes = Problem(Noise(), Noise()), []
    parameters = list(problem.parameters())
    for gradient in ("direct", "forward", "forward"):
        solution = solve(problem, [1.0], [0.0, 1.0], solver="ees25", dt=0.1, gradient=gradient, random_state=0)
        slopes.append(torch.stack(torch.autograd.grad(solution.ys[0, -1, 0], parameters)))
        assert all(x is y for x, y in zip(parameters, problem.parameters(), strict=True))
    torch.testing.assert_close(torch.stack(slopes), slopes[0].expand(3, 2))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_solver_state_has_any_shape_and_must_be_restarted(axes):
    """Adams-Bashforth keeps the last drift: in a loop with rejections it is that of the accepted step."""

    class Adams(Stepper):
        name, noise_kinds, adaptive, order, error_order = "adams", ("none",), True, 1, 2

        def start_state(self, rhs, t, u, f=None):
            f = rhs.drift(rhs.at(t, u.dtype), u) if f is None else f
            return f.view(len(f), *[1] * (axes - 1), -1)

        def step(self, inputs):
            rhs, t, h, u, _, state = inputs
            f = rhs.drift(rhs.at(t, u.dtype), u)
            before = self.start_state(rhs, t, u) if state is None else state
            return Step(u + h * (1.5 * f - 0.5 * before.flatten(1)), h * (f - before.flatten(1)), f.view_as(before))

    class Forgetful(Adams):
        def start_state(self, rhs, t, u, f=None):
            return Adams.start_state(self, rhs, t, u) if f is None else None

    problem = Problem(lambda t, u: -u * torch.cos(3 * t))
    y0 = torch.tensor([[1.0, 2.0], [0.5, 4.0]], dtype=torch.float64)
    found = solve(problem, y0, [0.0, 0.7, 2.0], solver=Adams(), rtol=1e-4).ys
    y0.requires_grad_()
    with_gradient = solve(problem, y0, [0.0, 0.7, 2.0], solver=Adams(), rtol=1e-4).ys
    assert torch.equal(found, with_gradient.detach())
    exact = y0.detach() * torch.exp(-torch.sin(times(6.0)) / 3)
    torch.testing.assert_close(found[0, :, -1], exact, rtol=3e-2, atol=0)
    with pytest.raises(TypeError, match="must implement start_state"):
        solve(problem, y0, [0.0, 2.0], solver=Forgetful(), rtol=1e-4)


def test_factors_of_controllers_are_checked():
    for arguments in ({"safety": 0.0}, {"safety": -1.0}, {"shrink": 1.0}, {"growth": 1.0}):
        with pytest.raises(ValueError, match="0 < safety"):
            PIController(**arguments)


def test_arguments_of_a_wrong_kind_are_told():
    problem = Problem(lambda t, u: -u)
    for arguments, message in (
        ({"solver": BogackiShampine}, r"give BogackiShampine\(\)"),
        ({"solver": torch.zeros(2)}, "unknown solver"),
        ({"atol": None}, "atol must be a number"),
        ({"atol": "x"}, "atol must be a number"),
    ):
        with pytest.raises(ValueError, match=message):
            solve(problem, [1.0], [0.0, 1.0], **arguments)
    with pytest.raises(ValueError, match="array of numbers"):
        solve(problem, ["a"], [0.0, 1.0])
    assert repr(BogackiShampine()) == "<BogackiShampine 'bs3'>"


class Doubling(Controller):
    """Doubles an accepted step and quarters a rejected one."""

    first_state, first_error = 0.0, 0.01

    def update(self, length, proposal, ratio, controller_state, order):
        return torch.where(ratio <= 1.0, 2.0 * length, 0.25 * length), controller_state


@pytest.mark.parametrize("controller", ["pi", "predictive", PIController(safety=0.5), Doubling()])
def test_the_controller_of_the_caller_chooses_the_steps(controller):
    problem = Problem(lambda t, u: torch.cos(5 * t) - u)
    own = solve(problem, [1.0], [0.0, 3.0], solver="tsit5", rtol=1e-6)
    other = solve(problem, [1.0], [0.0, 3.0], solver="tsit5", rtol=1e-6, controller=controller)
    torch.testing.assert_close(own.ys, other.ys, rtol=0, atol=1e-5)
    assert (own.stats.steps.item() == other.stats.steps.item()) == (controller == "pi")


def test_a_controller_that_would_do_nothing_is_refused():
    problem = Problem(lambda t, u: -u)
    for arguments in ({"solver": "euler", "dt": 0.1}, {"rtol": None, "dt": 0.1}, {"solver": "torchdiffeq:dopri5"}):
        with pytest.raises(ValueError, match="has no effect"):
            solve(problem, [1.0], [0.0, 1.0], controller="pi", **arguments)
    with pytest.raises(ValueError, match="did you mean 'predictive'"):
        get_controller("predictiv")
    with pytest.raises(ValueError, match="Controller instance"):
        solve(problem, [1.0], [0.0, 1.0], controller=3)


def test_a_solver_state_that_cannot_be_restarted_is_told():
    class Forgetful(ToldError):
        def start_state(self, rhs, t, u, f=None):
            return None if f is None else f

        def step(self, inputs):
            return super().step(inputs)._replace(solver_state=inputs.u)

    jumping = Problem(lambda t, u: -u, jumps=(Jump(5.0, lambda t, u: u / 2),))
    with pytest.raises(TypeError, match="must implement start_state"):
        solve(jumping, [1.0], [0.0, 1.0], solver=Forgetful(lambda t, h: torch.zeros_like(t)), random_state=0)


@pytest.mark.parametrize(
    "name", [n for n in solver_names() if get_solver(n).handles_jumps and get_solver(n).handles(None)]
)
def test_every_method_starts_anew_after_a_jump(name):
    problem = Problem(lambda t, u: -u, jumps=(Jump(3.0, lambda t, u: u / 2),))
    dt = None if get_solver(name).adaptive else 1e-3
    solution = solve(problem, [1.0], [0.0, 1.0], solver=name, rtol=1e-6, atol=1e-8, dt=dt, n_paths=3, random_state=0)
    exact = torch.exp(-solution.ts[-1]) * 0.5 ** solution.jump_counts[:, 0].double()
    assert solution.jump_counts.max() > 1
    torch.testing.assert_close(solution.ys[:, -1, 0], exact, rtol=2e-3, atol=0)


@pytest.mark.parametrize("name", [n for n in solver_names() if n.startswith("torchsde")])
def test_methods_of_torchsde_have_every_gradient(name):
    """By forward mode it was zero."""
    calculus = get_solver(name).calculus[0]
    problem = Problem(lambda t, u: -u, lambda t, u: 0.1 * u, calculus=calculus)
    start = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    slopes = []
    for gradient in get_solver(name).gradients:
        solution = solve(problem, start, [0.0, 1.0], solver=name, dt=0.1, gradient=gradient, random_state=0)
        slopes.append(torch.autograd.grad(solution.ys[0, -1, 0], start)[0])
    assert slopes[0] > 0.2
    assert len(slopes) == 3
    torch.testing.assert_close(slopes[1:], slopes[:1] * 2)
