import pytest
import torch

from skneuralde.noise import Brownian
from skneuralde.problems import Problem
from skneuralde.solvers import SolveRequest, SolverError, Status, get_solver, integrate
from tests.stubs import ExactLine, times

ONE = torch.ones(1, 1, dtype=torch.float64)
LINE = Problem(lambda t, u: torch.ones_like(u))


def lengths(solver):
    return [round(h if isinstance(h, float) else h[0], 12) for _, h in solver.calls]


def test_the_path_stops_at_every_time():
    solver = ExactLine()
    values = integrate(SolveRequest(LINE, ONE, times(0, 0.25, 0.3, 0.3, 0.55), solver=solver, dt=0.1)).values
    torch.testing.assert_close(values[0, :, 0], 1 + times(0, 0.25, 0.3, 0.3, 0.55))
    assert lengths(solver) == [0.1, 0.1, 0.05, 0.05, 0.1, 0.1, 0.05]


def test_aside_the_mesh_ignores_the_times():
    solver = ExactLine()
    values = integrate(
        SolveRequest(LINE, ONE, times(0, 0.25, 0.3, 0.55), solver=solver, dt=0.1, side_steps=True)
    ).values
    torch.testing.assert_close(values[0, :, 0], 1 + times(0, 0.25, 0.3, 0.55))
    starts, steps = solver.calls[-1]
    assert lengths(solver)[:-1] == [0.1] * 5
    torch.testing.assert_close(times(*starts), times(0.2, 0.5))
    torch.testing.assert_close(times(*steps), times(0.05, 0.05))


def test_a_time_that_is_a_mesh_point_up_to_rounding_costs_no_step():
    solver = ExactLine()
    ts = torch.linspace(0, 1, 30, dtype=torch.float64)
    integrate(SolveRequest(LINE, ONE, ts, solver=solver, dt=1 / 29))
    assert len(solver.calls) == 29
    assert set(lengths(solver)) == {round(1 / 29, 12)}


@pytest.mark.parametrize("side_steps", [False, True])
def test_ragged_times_are_the_same_as_one_by_one(side_steps):
    problem = Problem(lambda t, u: -u + torch.sin(t), lambda t, u: 0.5 * u)
    ts = torch.full((4, 5), torch.nan, dtype=torch.float64)
    ts[0] = times(0, 0.1, 0.5, 0.77, 2)
    ts[1, :2] = times(0.3, 5.0)
    ts[2, :1] = times(1.0)
    ts[3, :3] = times(-1, -0.99, -0.5)
    u0 = torch.arange(1.0, 5.0, dtype=torch.float64)[:, None]
    noise = Brownian(0, torch.arange(4), torch.arange(4), 1, start=ts[:, 0], cell=0.1)
    together = integrate(
        SolveRequest(problem, u0, ts, solver=get_solver("euler"), noise=noise, dt=0.1, side_steps=side_steps)
    )
    assert together.values.isnan().all(-1).equal(ts.isnan())
    assert together.status.tolist() == [0] * 4
    torch.testing.assert_close(together.reached, times(2, 5, 1, -0.5))
    for i in range(4):
        rows, known = torch.tensor([i]), ~ts[i].isnan()
        alone = integrate(
            SolveRequest(
                problem,
                u0[rows],
                ts[i, known],
                solver=get_solver("euler"),
                noise=noise.select(rows),
                dt=0.1,
                side_steps=side_steps,
            )
        )
        assert torch.equal(alone.values[0], together.values[i, known])
        assert alone.stats.steps == together.stats.steps[i]


def test_aside_a_time_does_not_depend_on_the_others():
    problem = Problem(lambda t, u: -u + torch.sin(t), lambda t, u: 0.5 * u)
    noise = Brownian(0, torch.arange(1), torch.arange(1), 1, cell=0.1)
    arguments = {"solver": get_solver("euler"), "noise": noise, "dt": 0.1, "side_steps": True}
    many = integrate(SolveRequest(problem, ONE, times(0, 0.05, 0.33, 0.7, 9.9), **arguments)).values
    few = integrate(SolveRequest(problem, ONE, times(0, 0.33), **arguments)).values
    assert many[0, 2] == few[0, 1]


@pytest.mark.parametrize("cell", [0.1, 0.4, 0.17, 3.0])
def test_the_path_of_the_noise_does_not_depend_on_its_cells_fitting_the_mesh(cell):
    noise = Brownian(0, torch.arange(50), torch.arange(50), 1, cell=cell)
    zero = torch.zeros(50, 1, dtype=torch.float64)
    ts = times(0, 0.05, 0.33, 0.7, 1.31)
    values = integrate(
        SolveRequest(Problem(0.0, 1.0), zero, ts, solver=get_solver("euler"), noise=noise, dt=0.1)
    ).values
    for j, t in enumerate(ts.tolist()):
        end = torch.full((50,), t / cell, dtype=torch.float64)
        expected, _ = noise.between(torch.zeros_like(end), end)
        torch.testing.assert_close(values[:, j], expected)


def test_noise_drawn_in_blocks_is_the_same(monkeypatch):
    problem, noise = Problem(lambda t, u: -u, 1.0), Brownian(0, torch.arange(3), torch.arange(3), 1, cell=0.1)
    arguments = {"solver": get_solver("euler"), "noise": noise, "dt": 0.1}
    ts = times(0, 0.25, 3.3).repeat(3, 1)
    ts[1, 2:] = torch.nan
    whole = integrate(SolveRequest(problem, ONE.repeat(3, 1), ts, **arguments)).values
    monkeypatch.setattr("skneuralde.solvers.mesh.increments._BLOCK", 12)
    assert torch.equal(
        integrate(SolveRequest(problem, ONE.repeat(3, 1), ts, **arguments)).values.nan_to_num(), whole.nan_to_num()
    )


def test_an_infinite_state_is_found_even_between_times():
    problem = Problem(lambda t, u: torch.where((t > 1.0) & (t < 1.5), torch.inf * u, -u))
    trajectory = integrate(
        SolveRequest(problem, ONE, times(0, 0.5, 3.0), solver=get_solver("euler"), dt=0.1, on_error="mask")
    )
    assert trajectory.status.tolist() == [Status.NON_FINITE]
    assert trajectory.values.isnan().flatten().tolist() == [False, False, True]
    assert trajectory.stats.steps.item() == 11
    torch.testing.assert_close(trajectory.reached, times(1.1))
    with pytest.raises(SolverError, match=r"stopped at time 1\.1 with status non_finite after 11 steps") as caught:
        integrate(SolveRequest(problem, ONE, times(0, 0.5, 3.0), solver=get_solver("euler"), dt=0.1))
    assert caught.value.status == Status.NON_FINITE
    assert caught.value.n_steps == 11


def test_more_steps_than_allowed_leave_what_was_reached():
    trajectory = integrate(
        SolveRequest(LINE, ONE, times(0, 0.45, 1e12), solver=ExactLine(), dt=0.1, max_steps=8, on_error="mask")
    )
    assert trajectory.status.tolist() == [Status.MAX_STEPS]
    torch.testing.assert_close(trajectory.values[0, :, 0], times(1, 1.45, torch.nan), equal_nan=True)


def test_steps_far_below_the_distance_of_the_times_are_bounded_too():
    """So many halvings that no integer holds them."""
    noise = Brownian(0, torch.arange(1), torch.arange(1), 1, cell=2.0**70)
    arguments = {"solver": get_solver("euler"), "noise": noise, "dt": 2.0**-10, "max_steps": 3, "on_error": "mask"}
    trajectory = integrate(SolveRequest(Problem(0.0, 1.0), ONE, times(0, 2.0**-10, 2.0**70), **arguments))
    assert trajectory.status.tolist() == [Status.MAX_STEPS]
    assert 0 < abs(trajectory.values[0, 1, 0] - 1) < 5 * 2.0**-5


def test_gradients_do_not_see_padding_or_finished_paths():
    """A finished path's coefficient would have an infinite slope at its last state."""
    problem = Problem(lambda t, u: -torch.sqrt(u.clamp_min(0)))
    u0 = torch.tensor([[0.015625], [4.0]], dtype=torch.float64, requires_grad=True)
    ts = torch.stack([times(0, 0.125, torch.nan), times(0, 0.5, 1.0)])
    values = integrate(SolveRequest(problem, u0, ts, solver=get_solver("euler"), dt=0.125)).values
    assert values[0, 1] == 0
    values[~ts.isnan()].sum().backward()
    assert u0.grad.isfinite().all()
