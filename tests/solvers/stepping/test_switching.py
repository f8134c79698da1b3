import math

import pytest
import torch

from skneuralde import Jump, Problem, solve
from skneuralde.solvers import SolveRequest, SolverError, get_solver, integrate
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.registry import auto_solver


def forced(rate):
    """u' = -rate (u - cos t), whose solution follows cos t at a distance of sin t / rate."""
    return Problem(lambda t, u: -rate * (u - torch.cos(t)))


def robertson(t, u):
    x, y, z = u.unbind(-1)
    slow, mixed, fast = 0.04 * x, 1e4 * y * z, 3e7 * y * y
    return torch.stack([mixed - slow, slow - mixed - fast, fast], -1)


def van_der_pol(t, u):
    x, v = u.unbind(-1)
    return torch.stack([v, 1000.0 * (1.0 - x * x) * v - x], -1)


def lotka_volterra(t, u):
    x, y = u.unbind(-1)
    return torch.stack([1.5 * x - x * y, x * y - 3.0 * y], -1)


def pendulum(t, u):
    return torch.stack([u[..., 1], -torch.sin(u[..., 0])], -1)


def lorenz(t, u):
    x, y, z = u.unbind(-1)
    return torch.stack([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z], -1)


STIFF = {
    "robertson": (robertson, [1.0, 0.0, 0.0], 1e4),
    "van der pol": (van_der_pol, [2.0, 0.0], 2000.0),
    "forced": (forced(1e6).drift, [1.0], 1.0),
}
SMOOTH = {
    "lotka-volterra": (lotka_volterra, [1.0, 1.0], 20.0),
    "pendulum": (pendulum, [2.0, 0.0], 20.0),
    "lorenz": (lorenz, [1.0, 1.0, 1.0], 20.0),
}


def cost(monkeypatch, drift, u0, end, solver, rtol, atol=None):
    """Drift evaluations, with d for a Jacobian of d states, and the solution."""
    jacobians, linearized = [], RightHandSide.linearized_drift
    monkeypatch.setattr(
        RightHandSide,
        "linearized_drift",
        lambda self, now, u: (jacobians.append(len(u)), linearized(self, now, u))[1],
    )
    solution = solve(Problem(drift), u0, [0.0, end], solver=solver, rtol=rtol, atol=atol or 1e-3 * rtol)
    monkeypatch.undo()
    return solution.stats.drift_evaluations + (len(u0) - 1) * sum(jacobians), solution


@pytest.mark.parametrize("rtol", [1e-3, pytest.param(1e-6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", STIFF)
def test_stiff_equations_cost_about_as_much_as_with_the_stiff_method(case, rtol, monkeypatch):
    plain, expected = cost(monkeypatch, *STIFF[case], "rosenbrock", rtol)
    found, solution = cost(monkeypatch, *STIFF[case], "auto", rtol)
    assert found <= 2 * plain + 200
    torch.testing.assert_close(solution.ys, expected.ys, rtol=20 * rtol, atol=20 * rtol)
    assert solution.solver == "auto(tsit5, rosenbrock)"
    assert set(solution.stats.steps_by_method) == {"tsit5", "rosenbrock"}
    assert torch.equal(sum(solution.stats.steps_by_method.values()), solution.stats.steps)


@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
@pytest.mark.parametrize("case", SMOOTH)
def test_other_equations_stay_with_the_explicit_method(case, rtol, monkeypatch):
    plain, expected = cost(monkeypatch, *SMOOTH[case], "tsit5", rtol)
    found, solution = cost(monkeypatch, *SMOOTH[case], "auto", rtol)
    assert found <= 1.1 * plain
    assert torch.equal(solution.ys, expected.ys)
    assert int(solution.stats.steps_by_method["rosenbrock"]) == 0


@pytest.mark.parametrize("rate", [1e3, 1e6, 1e12, 1e20])
def test_any_stiffness_is_found_within_200_evaluations(rate):
    solution = solve(forced(rate), [1.0], [0.0, 1.0])
    exact = (rate * rate * math.cos(1.0) + rate * math.sin(1.0)) / (rate * rate + 1.0)
    assert abs(float(solution.ys[0, -1, 0]) - exact) < 3e-4
    assert 6 * int(solution.stats.steps_by_method["tsit5"]) < 200
    assert int(solution.stats.steps) < 60


def test_paths_switch_as_if_each_were_alone():
    problem = Problem(lambda t, u, c: -c * (u - torch.cos(t)))
    rates = torch.tensor([[1.0], [1e3], [1e6], [10.0], [1e8], [1e4]], dtype=torch.float64)
    ts = torch.linspace(0, 3, 7, dtype=torch.float64)
    together = solve(problem, torch.ones_like(rates), ts, context=rates)
    for i, rate in enumerate(rates):
        alone = solve(problem, [1.0], ts, context=rate)
        assert torch.equal(alone.ys[0], together.ys[0, i])
        for name, steps in alone.stats.steps_by_method.items():
            assert steps == together.stats.steps_by_method[name][0, i]


def test_the_explicit_method_comes_back_when_stiffness_ends():
    problem = Problem(lambda t, u: -torch.where(t < 1.0, 1e6, 1.0) * (u - torch.cos(t)))
    solution = solve(problem, [1.0], [0.0, 1.0, 6.0], rtol=1e-6, atol=1e-9)
    tail = solve(Problem(lambda t, u: torch.cos(t) - u), solution.ys[0, 1], [1.0, 6.0], rtol=1e-6, atol=1e-9)
    assert abs(solution.ys[0, -1] - tail.ys[0, -1]) < 1e-5
    late = solution.stats.steps_by_method["rosenbrock"]
    early = solve(problem, [1.0], [0.0, 1.0], rtol=1e-6, atol=1e-9).stats.steps_by_method["rosenbrock"]
    assert 0 < early <= late <= early + 30


def test_backwards_in_time():
    solution = solve(Problem(lambda t, u: 1e6 * (u - torch.cos(t))), [0.5], [1.0, 0.5, 0.0])
    assert (solution.ys[0, 1:, 0] - torch.cos(solution.ts[1:])).abs().max() < 1e-5


class StiffNetwork(torch.nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = torch.nn.Parameter(0.5 * torch.randn(2, 1, generator=generator, dtype=torch.float64))
        self.last = torch.nn.Parameter(0.5 * torch.randn(1, 2, generator=generator, dtype=torch.float64))

    def forward(self, t, u):
        stiff = torch.tensor([1.0, 3e4], dtype=u.dtype) * (torch.cos(t) - u)
        return stiff + torch.tanh(u @ self.first) @ self.last


@pytest.mark.parametrize("side_steps", [False, True])
@pytest.mark.parametrize("gradient", ["direct", "checkpoint", pytest.param("forward", marks=pytest.mark.slow)])
def test_gradients_of_a_stiff_neural_ode(gradient, side_steps):
    network = StiffNetwork()
    ts = torch.tensor([0.0, 0.004, 0.05], dtype=torch.float64)
    u0 = torch.tensor([[1.0, 3.0], [0.2, -1.0]], dtype=torch.float64, requires_grad=True)
    options = {"rtol": 1e-5, "atol": 1e-6, "gradient": gradient, "side_steps": side_steps}

    def loss(u0):
        problem = Problem(network)
        trajectory = integrate(SolveRequest(problem, u0, ts, auto_solver(problem, 2), **options))
        assert all(bool((steps > 0).all()) for steps in trajectory.stats.steps_by_method.values())
        return (trajectory.values[:, 1:] * torch.tensor([1.0, -0.7])).square().sum()

    tensors = [u0, *network.parameters()]
    gradients = torch.autograd.grad(loss(u0), tensors)
    generator = torch.Generator().manual_seed(1)
    for tensor, found in zip(tensors, gradients, strict=True):
        direction, values = torch.randn(tensor.shape, generator=generator, dtype=torch.float64), []
        with torch.no_grad():
            for shift in (1e-4, -2e-4, 1e-4):
                tensor += shift * direction
                values.append(loss(u0).item())
        expected = (values[0] - values[1]) / 2e-4
        assert abs(float((found * direction).sum()) - expected) < 1e-3 * abs(expected) + 1e-3


@pytest.mark.parametrize("bound", [None, 20.0])
def test_jumps_on_the_way_are_those_of_the_stiff_method(bound):
    """A state that decays fast jumps up at a rate of the slow one, whose jumps switch stiffness on and off."""

    def rate(t, u):
        return 3.0 + u[..., 0].cos()

    def drift(t, u):
        return torch.stack([-0.1 * u[..., 0], -1e4 * (u[..., 1] - u[..., 0])], -1)

    push = Jump(rate, lambda t, u: u + 1.0, bound=bound)
    arguments = {"n_paths": 5, "random_state": 0, "rtol": 1e-5, "atol": 1e-6}
    found, expected = (
        solve(Problem(drift, jumps=(push,)), [1.0, 1.0], [0.0, 0.5, 2.0], solver=solver, **arguments)
        for solver in ("auto", "rosenbrock")
    )
    assert torch.equal(found.jump_counts, expected.jump_counts)
    assert found.jump_counts.sum() > 10
    torch.testing.assert_close(found.jump_times[0], expected.jump_times[0], rtol=1e-3, atol=1e-4, equal_nan=True)
    torch.testing.assert_close(found.ys, expected.ys, rtol=1e-3, atol=1e-3)
    assert (found.stats.steps_by_method["rosenbrock"] > 0).all()


def test_steps_of_all_legs_count_as_steps_of_the_path():
    problem = Problem(lambda t, u: -1e6 * (u - torch.cos(t)))
    whole = solve(problem, [1.0], [0.0, 1.0]).stats
    tries = int(whole.steps + whole.rejections)
    assert torch.equal(solve(problem, [1.0], [0.0, 1.0], max_steps=tries).stats.steps, whole.steps)
    for fewer in (1, 4):
        with pytest.raises(SolverError, match="max_steps"):
            solve(problem, [1.0], [0.0, 1.0], max_steps=tries - fewer)


def test_fixed_steps_are_those_of_the_explicit_method():
    problem = Problem(lambda t, u: -u)
    found, expected = (solve(problem, [1.0], [0.0, 1.0], solver=s, rtol=None, dt=0.1).ys for s in ("auto", "tsit5"))
    assert torch.equal(found, expected)


def diagonal(n, fastest):
    rates = torch.logspace(0, fastest, n, dtype=torch.float64)
    return Problem(lambda t, u: -rates * (u - torch.cos(t))), torch.ones(n, dtype=torch.float64)


def test_many_states_go_on_with_a_stabilized_method_or_fail_with_the_reason():
    problem, u0 = diagonal(65, 4.0)
    solution = solve(problem, u0, [0.0, 1.0])
    assert solution.solver == "auto(tsit5, rock2)"
    assert abs(solution.ys[0, -1, -1] - math.cos(1.0)) < 3e-3
    problem, u0 = diagonal(65, 14.0)
    with pytest.raises(SolverError, match=r"stiff here.*'rosenbrock'.*sparsity="):
        solve(problem, u0, [0.0, 1.0])


@pytest.mark.parametrize(
    ("diffusion", "options", "advice"),
    [
        (None, {"solver": "tsit5", "max_steps": 200}, "use solver='rosenbrock'"),
        (None, {"solver": "bs3", "max_steps": 200}, "use solver='rosenbrock'"),
        (None, {"solver": "euler", "dt": 1e-3}, "use solver='rosenbrock'"),
        (lambda t, u: 0.1 * u, {"max_steps": 200}, "smaller dt"),
        (lambda t, u: 0.1 * u, {"solver": "milstein", "dt": 1e-3}, "smaller dt"),
    ],
)
def test_failures_by_stiffness_name_it(diffusion, options, advice):
    problem = Problem(lambda t, u: -1e6 * (u - torch.cos(t)), diffusion)
    with pytest.raises(SolverError, match=f"is stiff here.*{advice}"):
        solve(problem, [1.0], [0.0, 1.0], random_state=0, **options)


def test_other_failures_do_not_blame_stiffness():
    oscillator = Problem(lambda t, u: torch.stack([u[..., 1], -1e6 * u[..., 0]], -1))
    for problem, u0 in ((Problem(lambda t, u: u * u), [1.0]), (oscillator, [1.0, 0.0])):
        with pytest.raises(SolverError) as failure:
            solve(problem, u0, [0.0, 50.0], max_steps=300)
        assert "is stiff" not in str(failure.value)


@pytest.mark.parametrize("end", [1e4, 1e11])
@pytest.mark.parametrize("atol", [1e-2, 1e-3])
@pytest.mark.parametrize("side_steps", [False, True])
def test_a_step_out_of_the_stable_states_is_taken_back(side_steps, atol, end):
    """A second state as far below zero as atol allows grows without limit in the exact solution, too."""
    problem, u0 = Problem(robertson), torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.0, 0.5]], dtype=torch.float64)
    ts = torch.tensor([0.0, 1e-3, 0.1, end], dtype=torch.float64)
    found, expected = (
        integrate(SolveRequest(problem, u0, ts, solver, rtol=1e-3, atol=atol, side_steps=side_steps))
        for solver in (auto_solver(problem, 3), get_solver("rosenbrock"))
    )
    torch.testing.assert_close(found.values, expected.values, rtol=0.0, atol=3 * atol)
    assert torch.equal(sum(found.stats.steps_by_method.values()), found.stats.steps)


def test_steps_taken_back_cost_little(monkeypatch):
    for end in (1e4, 1e11):
        arguments = robertson, [1.0, 0.0, 0.0], end
        plain, _ = cost(monkeypatch, *arguments, "rosenbrock", 1e-3, atol=1e-3)
        found, _ = cost(monkeypatch, *arguments, "auto", 1e-3, atol=1e-3)
        assert found <= 2 * plain + 200


class Robertson(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(0.04, dtype=torch.float64))

    def forward(self, t, u):
        x, y, z = u.unbind(-1)
        slow, mixed, fast = self.rate * x, 1e4 * y * z, 3e7 * y * y
        return torch.stack([mixed - slow, slow - mixed - fast, fast], -1)


@pytest.mark.parametrize("gradient", ["direct", "checkpoint", "forward"])
def test_gradients_along_steps_that_were_taken_back(gradient):
    drift = Robertson()
    found, expected = (
        torch.autograd.grad(solve(Problem(drift), [1.0, 0.0, 0.0], [0.0, 40.0], **options).ys[0, -1, 0], drift.rate)[0]
        for options in ({"gradient": gradient, "rtol": 1e-3, "atol": 1e-3}, {"solver": "rosenbrock", "atol": 1e-9})
    )
    assert abs(found - expected) < 0.02 * abs(expected)


@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
@pytest.mark.parametrize("side_steps", [False, True])
def test_a_pole_remains_a_failure(side_steps, rtol):
    """The stiff method would step over it."""
    problem = Problem(lambda t, u: torch.stack([u[..., 0] ** 2, u[..., 0] - u[..., 1]], -1))
    u0, ts = torch.ones(1, 2, dtype=torch.float64), torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    options = {"rtol": rtol, "atol": rtol, "side_steps": side_steps, "on_error": "mask"}
    found, expected = (
        integrate(SolveRequest(problem, u0, ts, solver, **options))
        for solver in (auto_solver(problem, 2), get_solver("tsit5"))
    )
    assert torch.equal(found.status, expected.status)
    assert int(found.status) > 0
    torch.testing.assert_close(found.values, expected.values, equal_nan=True)
    torch.testing.assert_close(found.reached, expected.reached, rtol=1e-9, atol=0.0)


def test_the_first_steps_may_be_far_shorter_than_the_last_time_can_tell():
    for end in (1e11, 1e16):
        solution = solve(Problem(robertson), [1.0, 0.0, 0.0], [0.0, end], solver="rosenbrock", rtol=1e-6, atol=1e-9)
        assert abs(solution.ys[0, -1].sum() - 1.0) < 1e-6
        assert solution.ys[0, -1, 2] > 0.99


def turning(size, degrees):
    """A forced point whose neighbourhood turns as it decays; where the sine is 0 the tolerances differ by 1,000."""
    decay, turn = size * math.cos(math.radians(degrees)), size * math.sin(math.radians(degrees))

    def drift(t, u):
        x, y = u[:, 0] - torch.cos(t[:, 0]), u[:, 1] - torch.sin(t[:, 0])
        return torch.stack([-decay * x - turn * y, turn * x - decay * y], 1)

    return drift


@pytest.mark.parametrize("degrees", [30, 45, 60, 75, 83])
@pytest.mark.parametrize("size", [1e4, 1e5, 1e6])
def test_components_that_turn_as_they_decay(size, degrees, monkeypatch):
    plain, expected = cost(monkeypatch, turning(size, degrees), [1.0, 0.0], 0.1, "rosenbrock", 1e-3)
    found, solution = cost(monkeypatch, turning(size, degrees), [1.0, 0.0], 0.1, "auto", 1e-3)
    assert found <= 2 * plain + 200
    torch.testing.assert_close(solution.ys, expected.ys, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("frequency", [1e4, 1e5])
def test_oscillators_as_position_and_speed(frequency):
    """x'' + w x' + w^2 (x - cos t) = 0 goes on with the stiff method, whatever the units of the speed."""
    w = frequency
    problem = Problem(lambda t, u: torch.stack([u[:, 1], -w * u[:, 1] - w * w * (u[:, 0] - torch.cos(t[:, 0]))], 1))
    solution = solve(problem, [1.0, 0.0], [0.0, 1.0], max_steps=2_000)
    assert abs(float(solution.ys[0, -1, 0]) - math.cos(1.0)) < 1e-3
    assert int(solution.stats.steps_by_method["tsit5"]) < 100
