import math

import pytest
import torch

from skneuralde.problems import Problem
from skneuralde.solvers import SolveRequest, SolverError, Status, get_solver, integrate, solve
from skneuralde.solvers.stepping.loop_driver import LoopDriver
from skneuralde.solvers.stepping.saving import SideStepStarts, StepIndexSaver
from tests.problems_closed_form import oscillator
from tests.stubs import ToldError, times

OURS = ["bs3", "dopri5", "tsit5"]
ONE = torch.ones(1, 1, dtype=torch.float64)
STEEP = Problem(lambda t, u: -40 * (u - torch.cos(3 * t)) + u**2 / 10)


@pytest.mark.parametrize("name", OURS)
def test_dense_output_is_as_accurate_as_its_order(name):
    """One step of forced length, looked at inside: the error falls as the length to its order plus one."""
    case, solver = oscillator(), get_solver(name)
    errors = []
    for h in (0.4, 0.1):
        ts = h * torch.linspace(0, 1, 9, dtype=torch.float64)
        values = integrate(SolveRequest(case.problem, case.u0, ts, solver=solver, rtol=1.0, atol=1e3, dt=1.0))
        assert (values.stats.steps == 1).all()
        exact = torch.stack([case.exact(case.u0, t, None) for t in ts.tolist()], 1)
        errors.append((values.values - exact)[:, 1:-1].abs().max())
    order = {"bs3": 3, "dopri5": 4, "tsit5": 4}[name]
    assert math.log(errors[0] / errors[1]) / math.log(4) > order + 0.7


@pytest.mark.parametrize("name", OURS)
def test_the_times_wanted_do_not_move_the_steps(name):
    few = integrate(SolveRequest(STEEP, ONE, times(0, 2), solver=get_solver(name)))
    many = integrate(SolveRequest(STEEP, ONE, torch.linspace(0, 2, 100, dtype=torch.float64), solver=get_solver(name)))
    assert torch.equal(few.stats.steps, many.stats.steps)
    torch.testing.assert_close(few.values[:, -1], many.values[:, -1], rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", OURS)
def test_aside_a_time_does_not_depend_on_the_others(name):
    arguments = {"solver": get_solver(name), "side_steps": True}
    many = integrate(SolveRequest(STEEP, ONE, times(0, 0.01, 0.1, 0.7, 0.7, 5.0), **arguments)).values
    for i in range(1, 6):
        ts = times(0, 0.01, 0.1, 0.7, 0.7, 5.0)[[0, i]]
        assert torch.equal(integrate(SolveRequest(STEEP, ONE, ts, **arguments)).values[:, 1], many[:, i])


def test_aside_nothing_is_asked_beyond_a_time_and_the_result_is_as_accurate():
    case, seen = oscillator(), []
    drift = case.problem.drift
    problem = Problem(lambda t, u: (seen.append(t.max().item()), drift(t, u))[1])
    ts = times(0, 0.3, 2.9)
    values = integrate(
        SolveRequest(problem, case.u0, ts, solver=get_solver("tsit5"), rtol=1e-8, atol=1e-8, side_steps=True)
    ).values
    assert max(seen) <= 2.9
    exact = torch.stack([case.exact(case.u0, t, None) for t in ts.tolist()], 1)
    torch.testing.assert_close(values, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side_steps", [False, True])
@pytest.mark.parametrize("name", OURS)
def test_values_with_and_without_gradient_are_the_same(name, side_steps):
    ts = torch.full((3, 4), torch.nan, dtype=torch.float64)
    ts[0] = times(0, 0.5, 0.51, 3)
    ts[1, :2] = times(2, 1.97)
    ts[2, :1] = times(1)
    u0 = torch.tensor([[1.0], [-2.0], [3.0]], dtype=torch.float64)
    plain = integrate(SolveRequest(STEEP, u0, ts, solver=get_solver(name), side_steps=side_steps))
    traced = integrate(
        SolveRequest(STEEP, u0.clone().requires_grad_(), ts, solver=get_solver(name), side_steps=side_steps)
    )
    assert not plain.values.requires_grad
    torch.testing.assert_close(plain.values, traced.values.detach(), rtol=1e-14, atol=0, equal_nan=True)
    assert torch.equal(plain.stats.steps, traced.stats.steps)
    with torch.no_grad():
        quiet = integrate(
            SolveRequest(STEEP, u0.clone().requires_grad_(), ts, solver=get_solver(name), side_steps=side_steps)
        ).values
    assert not quiet.requires_grad


def remember_and_replay(monkeypatch, cls, method, memory, replay):
    """Append what `method` returns to `memory`, or return the next entry of `replay` where there is one."""
    original = getattr(cls, method)

    def frozen(self, *args):
        if replay:
            return replay.pop(0)
        memory.append(original(self, *args))
        return memory[-1]

    monkeypatch.setattr(cls, method, frozen)


@pytest.mark.parametrize("side_steps", [False, True])
@pytest.mark.parametrize("name", OURS)
def test_gradient_is_exact_on_the_frozen_mesh(name, side_steps, monkeypatch):
    """With the steps repeated for other parameters, the difference quotient is the gradient."""
    memory, replay = [], []
    remember_and_replay(monkeypatch, LoopDriver, "_mesh", memory, replay)
    remember_and_replay(monkeypatch, SideStepStarts if side_steps else StepIndexSaver, "result", memory, replay)
    parameter = torch.nn.Parameter(torch.tensor([0.7, 1.3], dtype=torch.float64))
    u0 = torch.tensor([[1.0, 0.5], [3.0, -1.0]], dtype=torch.float64, requires_grad=True)

    def value():
        problem = Problem(lambda t, u: -parameter * u**3 + torch.sin(5 * t) * u.flip(-1))
        ts = torch.stack([times(0, 0.4, 1.1), times(0.5, 2.0, torch.nan)])
        out = integrate(
            SolveRequest(problem, u0, ts, solver=get_solver(name), rtol=1e-2, atol=1e-2, side_steps=side_steps)
        ).values
        return torch.sin(out[~ts.isnan()]).sum()

    gradients = torch.autograd.grad(value(), [parameter, u0])
    found = list(memory)
    for tensor, gradient in zip([parameter, u0], gradients, strict=True):
        for i in range(tensor.numel()):
            sides = []
            for eps in (1e-6, -1e-6):
                with torch.no_grad():
                    tensor.view(-1)[i] += eps
                replay[:] = found
                sides.append(value().item())
                assert not replay
                with torch.no_grad():
                    tensor.view(-1)[i] -= eps
            torch.testing.assert_close(gradient.flatten()[i].item(), (sides[0] - sides[1]) / 2e-6, rtol=1e-6, atol=1e-8)


def test_gradient_reaches_tensors_that_are_no_parameters():
    rate = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    values = integrate(
        SolveRequest(Problem(lambda t, u: -rate * u), ONE, times(0, 1), solver=get_solver("tsit5"), rtol=1e-9)
    ).values
    (gradient,) = torch.autograd.grad(values[0, 1, 0], rate)
    torch.testing.assert_close(gradient.item(), -math.exp(-0.5), rtol=1e-7, atol=0)


def test_gradient_survives_a_path_that_fails():
    problem = Problem(lambda t, u: u**2)
    u0 = torch.tensor([[1.0], [-1.0]], dtype=torch.float64, requires_grad=True)
    trajectory = integrate(
        SolveRequest(problem, u0, times(0, 0.5, 2.0), solver=get_solver("tsit5"), rtol=1e-5, on_error="mask")
    )
    assert trajectory.status.tolist() == [Status.STEP_TOO_SMALL, Status.SUCCESS]
    trajectory.values[1].sum().backward()
    assert u0.grad[0] == 0
    torch.testing.assert_close(u0.grad[1].item(), 1 + 1 / 1.5**2 + 1 / 3**2, rtol=1e-3, atol=0)


def test_the_tolerance_of_each_component_counts():
    problem = Problem(lambda t, u: torch.cos(t * torch.tensor([1.0, 50.0], dtype=torch.float64)))
    u0 = torch.zeros(1, 2, dtype=torch.float64)
    loose = integrate(
        SolveRequest(problem, u0, times(0, 5), solver=get_solver("tsit5"), atol=times(1e-6, 1e3))
    ).stats.steps
    tight = integrate(SolveRequest(problem, u0, times(0, 5), solver=get_solver("tsit5"), atol=1e-6)).stats.steps
    assert loose < tight / 4


def test_a_rejected_step_is_tried_again_shorter():
    solver = ToldError(lambda t, h: torch.where(h > 0.3, 1e-3, 1e-9))
    trajectory = integrate(SolveRequest(Problem(0.0), ONE, times(0, 1), solver=solver, dt=1.0, rtol=1e-6, atol=1e-6))
    assert trajectory.stats.rejections.item() > 0
    assert trajectory.stats.smallest_step.item() < 0.3
    accepted = [h[0] for _, h in solver.tried if h[0] <= 0.3]
    assert math.isclose(sum(accepted), 1.0, rel_tol=1e-12)


def test_every_path_has_its_own_step():
    """One path is rejected whenever the step is not small; the others are done in one step."""
    solver = ToldError(lambda t, h: torch.where((t >= 10) & (h > 0.1), 1e3, 1e-12))
    ts = torch.stack([times(0, 1), times(10, 11), times(0, 1)])
    trajectory = integrate(SolveRequest(Problem(0.0), ONE.repeat(3, 1), ts, solver=solver, dt=1.0))
    assert trajectory.stats.steps[[0, 2]].tolist() == [1, 1]
    assert trajectory.stats.rejections[[0, 2]].tolist() == [0, 0]
    assert trajectory.stats.steps[1] > 10 - 1
    # Finished paths are no longer worked on.
    assert len(solver.tried[-1][0]) == 1


@pytest.mark.parametrize(
    ("error", "status"), [(math.nan, Status.NON_FINITE), (math.inf, Status.NON_FINITE), (1.0, Status.STEP_TOO_SMALL)]
)
def test_a_step_that_never_succeeds_ends(error, status):
    solver = ToldError(lambda t, h: torch.full_like(t, error))
    with pytest.raises(SolverError) as caught:
        integrate(SolveRequest(Problem(0.0), ONE, times(0, 1), solver=solver))
    assert caught.value.status == status
    assert caught.value.time == 0.0
    assert len(solver.tried) < 100


def test_the_number_of_steps_is_bounded():
    with pytest.raises(SolverError, match=r"max_steps after 7 steps.*raise max_steps") as caught:
        integrate(
            SolveRequest(oscillator().problem, oscillator().u0, times(0, 100), solver=get_solver("tsit5"), max_steps=7)
        )
    assert caught.value.status == Status.MAX_STEPS


def test_a_state_at_zero_and_at_rest_gets_going():
    problem = Problem(lambda t, u: t.clamp_min(0) ** 2 * 3 + 0 * u)
    for scale in (1e-6, 1.0, 1e6):
        zero = torch.zeros(1, 1, dtype=torch.float64)
        values = integrate(SolveRequest(problem, zero, times(0, scale), solver=get_solver("tsit5"))).values
        torch.testing.assert_close(values[0, 1, 0].item(), scale**3, rtol=1e-3, atol=1e-6)


def test_device_is_asked_rarely(monkeypatch):
    """Off the CPU a question waits for the device: the loop asks once in eight steps."""
    from skneuralde.solvers.stepping import loop

    asked = []
    original = torch.Tensor.__int__
    monkeypatch.setattr(torch.Tensor, "__int__", lambda self: (asked.append(1), original(self))[1])
    monkeypatch.setattr(loop, "check_interval", lambda device: 8)
    ts = torch.linspace(0, 2, 50, dtype=torch.float64)
    rare = integrate(SolveRequest(STEEP, ONE, ts, solver=get_solver("tsit5")))
    n_rare = len(asked)
    monkeypatch.undo()
    often = integrate(SolveRequest(STEEP, ONE, ts, solver=get_solver("tsit5")))
    assert torch.equal(rare.values, often.values)
    assert n_rare < often.stats.steps.item() / 4


@pytest.mark.parametrize(("solver", "diffusion"), [("tsit5", None), ("sosri2", lambda t, u: 0.5 * u)])
def test_a_component_that_stays_at_zero_needs_no_absolute_tolerance(solver, diffusion):
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    solution = solve(Problem(lambda t, u: -u, diffusion), start, [0.0, 1.0], solver=solver, atol=0.0, random_state=0)
    assert bool((solution.ys[..., 0] > 0).all())
    assert bool((solution.ys[..., 1] == 0).all())
