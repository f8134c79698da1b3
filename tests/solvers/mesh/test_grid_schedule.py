"""Fixed steps whose paths stop on their own: which steps they are, and that each is what its path alone would make."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from skneuralde import Jump, Problem, solve
from skneuralde.problems import in_calculus
from skneuralde.solvers import StepInput, integrate
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.mesh import increments
from skneuralde.solvers.mesh.grid_schedule import GridSchedule, StepSchedule, snapped
from skneuralde.solvers.mesh.mesh import Mesh
from skneuralde.solvers.mesh.outputs import OneStatePerRow
from tests.requests import request_of

TIMES = [0.0, 0.25, 0.3, 1.0]
#: Of the Poisson processes of two channels.
RATES = 5.0, 12.0


def points_of(last, *stops):
    """Mesh points up to a time, from what is between the boundaries of cells."""
    inside = {stop for stop in stops if stop != np.floor(stop) and np.isfinite(stop)}
    return sorted({float(k) for k in range(int(np.floor(last)) + 1)} | inside)


@pytest.mark.parametrize("side_steps", [False, True])
@pytest.mark.parametrize("max_steps", [1000, 6])
def test_a_schedule_is_its_mesh_points(side_steps, max_steps):
    rng = np.random.default_rng(0)
    batch, n_times = 50, 4
    save_times = np.sort(rng.uniform(0.0, 8.0, (batch, n_times)), 1)
    save_times[:, 1] = np.floor(save_times[:, 1])
    save_times.sort(1)
    save_times[:5, 2:] = np.inf
    stops = np.sort(rng.uniform(0.0, 9.0, (batch, 5)), 1)
    stops[stops > np.where(np.isfinite(save_times), save_times, 0.0).max(1, keepdims=True)] = np.inf
    stops[7, 1] = stops[7, 0]
    stops[8, 0] = np.floor(stops[8, 0])
    stops.sort(1)
    positions, shuffled = torch.as_tensor(save_times), torch.as_tensor(rng.permuted(stops, axis=1))
    schedule = GridSchedule.make(positions, side_steps=side_steps, max_steps=max_steps, stops=shuffled)
    for i in range(batch):
        real = save_times[i][np.isfinite(save_times[i])]
        points = points_of(real.max(), *stops[i], *([] if side_steps else real))
        count = min(len(points) - 1, max_steps)
        assert int(schedule.count[i]) == count
        every = torch.arange(count + 1).expand(batch, -1)
        assert schedule.place(every)[i].tolist() == points[: count + 1]
        assert schedule.cell(every)[i].tolist() == [int(np.floor(point)) for point in points[: count + 1]]
        lengths = np.diff(points[: count + 1])
        for j, time in enumerate(real):
            before = np.searchsorted(points, time, side="right") - 1
            if before > max_steps:
                assert int(schedule.state[i, j]) == max_steps + 1
                continue
            assert int(schedule.state[i, j]) == before
            assert float(schedule.rest[i, j]) == pytest.approx(time - points[before], abs=1e-15)
        row, step, begin, end = schedule.parts
        mine = row == i
        parts = [k for k in range(count) if lengths[k] != 1.0]
        assert step[mine].tolist() == parts
        assert begin[mine].tolist() == [points[k] for k in parts]
        assert end[mine].tolist() == [points[k + 1] for k in parts]
        assert float(schedule.shortest[i]) == (lengths.min() if count else np.inf)


def test_a_schedule_that_begins_later():
    stops = torch.tensor([[0.5, 1.5, 1.75], [0.25, torch.inf, torch.inf]], dtype=torch.float64)
    schedule = GridSchedule.make(
        torch.tensor([[0.0, 3.0]], dtype=torch.float64), side_steps=False, max_steps=100, stops=stops
    )
    assert schedule.step_to(torch.tensor([[0.0, 1.5, 3.0, torch.inf]] * 2, dtype=torch.float64))[:, :3].tolist() == [
        [-1, 2, 5],
        [-1, 1, 3],
    ]
    later = schedule.since(torch.tensor([3, 0]))
    assert later.count.tolist() == [3, 4]
    assert later.place(torch.arange(4).expand(2, -1)).tolist() == [[1.5, 1.75, 2.0, 3.0], [0.0, 0.25, 1.0, 2.0]]
    assert later.parts.step.tolist() == [0, 1, 0, 1]
    assert later.state.tolist() == [[0, 3], [0, 4]]


def test_a_route_through_points():
    points = [[0.0, 0.25, 1.0, 2.0], [2.5, 2.75, 3.0, np.inf], [3.0, np.inf, np.inf, np.inf]]
    schedule = StepSchedule.through(torch.tensor(points, dtype=torch.float64), torch.tensor([3, 2, 0]))
    assert schedule.place(torch.arange(3).expand(3, -1))[:2].tolist() == [[0.0, 0.25, 1.0], [2.5, 2.75, 3.0]]
    assert schedule.place(torch.tensor([[3], [2], [0]])).flatten().tolist() == [2.0, 3.0, 3.0]
    assert schedule.parts.row.tolist() == [0, 0, 1, 1]
    assert schedule.parts.step.tolist() == [0, 1, 0, 1]
    assert schedule.shortest.tolist() == [0.25, 0.25, np.inf]


def candidates(request, i):
    """When a path may jump: channel and number of the arrival by time."""
    poisson, end = request.poisson.select(torch.tensor([i])), torch.tensor([[TIMES[-1]]], dtype=torch.float64)
    found = {}
    for channel, rate in enumerate(RATES):
        found |= {time / rate: (channel, n) for n, time in enumerate(poisson.arrivals(channel, rate * end)[0].tolist())}
    return found


def path_alone(request, dt, i):
    """States at the times save_times, and the jumps, by the steps of one path; its noise is asked for step by step."""
    row, solver = torch.tensor([i]), request.solver
    start, end = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), TIMES[-1], dtype=torch.float64)
    problem = in_calculus(request.problem, solver.calculus)
    equation, u, state = RightHandSide(problem, None, start, end), request.u0[row], None
    may_jump = candidates(request, i)
    points = sorted({k * dt for k in range(round(TIMES[-1] / dt))} | set(TIMES) | set(may_jump))
    points = [x for x, following in pairwise([*points, np.inf]) if following - x > 1e-12]
    found, jumps = [u], []
    for begin, stop in pairwise(points):
        noise = None
        if request.noise is not None:
            source = increments.IncrementSource.of_steps(request.noise, start, dt, solver, u.dtype)
            noise = source.over(row, *(snapped(torch.tensor([x / dt], dtype=torch.float64)) for x in (begin, stop)))
        t, h = start + begin, torch.full_like(u[:, :1], stop - begin)
        step = solver.step(StepInput(equation, t, h, u, noise, state))
        u, state = step.u1, step.solver_state
        if stop in may_jump:
            channel, number = may_jump[stop]
            jump, here = problem.jumps[channel], (channel, row, torch.tensor([number]))
            if channel == 0 or request.poisson.choices(*here) * RATES[channel] < jump.rate(start + stop, u):
                jumps.append((channel, stop))
                marks = jump.draw(request.poisson.normals(*here, u.shape[1]).to(u.dtype))
                u = jump.affect(start + stop, u, None, marks)
                state = None if state is None else solver.start_state(equation, start + stop, u)
        if min(abs(stop - time) for time in TIMES) < 1e-12:
            found.append(u)
    return torch.cat(found), jumps


@pytest.mark.parametrize("dt", [0.125, 0.1])
@pytest.mark.parametrize("block", [2**20, 25])
@pytest.mark.parametrize("name", ["euler", "milstein", "sosri2", "platen", "ees25", "bs3", "rosenbrock"])
def test_every_path_makes_the_steps_that_it_would_make_alone(monkeypatch, name, block, dt):
    monkeypatch.setattr(increments, "_BLOCK", block)
    jumps = (
        Jump(RATES[0], lambda t, u: 0.7 * u),
        Jump(lambda t, u: 6.0 * (1.0 + t) * u[:, :1].sigmoid(), lambda t, u, z: u + 0.1 * z, bound=RATES[1]),
    )
    noisy = name not in ("bs3", "rosenbrock")
    problem = Problem(lambda t, u: torch.sin(3.0 * t) - u, (lambda t, u: 0.3 * u) if noisy else None, jumps=jumps)
    request = request_of(
        problem,
        torch.tensor([1.0, 2.0], dtype=torch.float64),
        TIMES,
        solver=name,
        rtol=None,
        dt=dt,
        n_paths=5,
        random_state=0,
        max_steps=1000,
        gradient="direct",
    )
    trajectory = integrate(request)
    assert len(trajectory.jumps.path) > 25
    assert len(trajectory.jumps.channel.unique()) == 2
    for i in range(5):
        alone, jumps = path_alone(request, dt, i)
        torch.testing.assert_close(trajectory.values[i], alone, rtol=1e-11, atol=1e-13)
        own = trajectory.jumps.where(trajectory.jumps.path == i)
        assert sorted(zip(own.channel.tolist(), own.elapsed.tolist(), strict=True)) == sorted(jumps)


@pytest.mark.parametrize("gradient", ["checkpoint", "forward"])
def test_all_gradients_are_the_same(monkeypatch, gradient):
    monkeypatch.setattr(increments, "_BLOCK", 90)
    slopes = []
    for way in ("direct", gradient):
        scale = torch.nn.Linear(2, 2, dtype=torch.float64)
        with torch.no_grad():
            scale.weight.copy_(torch.tensor([[0.7, 0.1], [0.0, 0.9]]))
            scale.bias.fill_(0.1)
        problem = Problem(lambda t, u: -u, lambda t, u: 0.3 * u, jumps=(Jump(5.0, After(scale)),))
        options = {"dt": 0.125, "rtol": None, "n_paths": 20, "random_state": 0, "gradient": way}
        ys = solve(problem, [1.0, 2.0], TIMES, **options).ys
        slopes.append(torch.autograd.grad(ys.square().sum(), list(problem.parameters())))
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


class After(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, t, u):
        return self.layer(u)


def test_paths_that_explode_and_paths_that_need_too_many_steps():
    burst = Problem(None, lambda t, u: 0.1 * u, jumps=(Jump(2.0, lambda t, u: u * 1e200),))
    options = {"solver": "euler", "dt": 0.25, "n_paths": 50, "random_state": 0, "on_error": "mask"}
    solution = solve(burst, [1.0], TIMES, **options)
    failed = solution.status != 0
    assert 0 < int(failed.sum()) < 50
    assert torch.equal(failed, solution.jump_counts[:, 0] >= 2)
    needed = solve(Problem(None, None, jumps=(Jump(3.0, lambda t, u: u + 1.0),)), [0.0], TIMES, **options)
    fewer = solve(Problem(None, None, jumps=(Jump(3.0, lambda t, u: u + 1.0),)), [0.0], TIMES, max_steps=7, **options)
    assert torch.equal(fewer.status != 0, needed.stats.steps > 7)
    assert 0 < int((fewer.status != 0).sum()) < 50


def test_a_path_that_takes_no_step_has_no_smallest_one():
    times = torch.tensor([[0.0, 0.5], [0.0, torch.nan]], dtype=torch.float64)
    problem = Problem(lambda t, u: -u, lambda t, u: 0.1 * u)
    start = torch.ones(2, 1, dtype=torch.float64)
    smallest = solve(problem, start, times, solver="euler", dt=0.125, random_state=0).stats.smallest_step
    assert smallest.flatten().tolist() == [0.125, np.inf]


def test_save_times_states_beyond_what_short_numbers_count():
    point = torch.tensor([40_000, 3, 0, 33_000, 40_000])
    path = torch.arange(5)
    mesh = Mesh(lambda first, last: iter(()), [5] * 40_000, None)
    save_times = OneStatePerRow(point, path, mesh)
    assert list(save_times.places) == [2, 32_999, 39_999]
    kept = [torch.full((len(place.rows), 1), float(k + 1)) for k, place in save_times.places.items()]
    assert save_times.pick(torch.zeros(5, 1), kept).flatten().tolist() == point.tolist()


def test_a_cell_may_be_longer_than_all_times():
    problem = Problem(lambda t, u: -u, lambda t, u: 0.1 * u, jumps=(Jump(300.0, lambda t, u: u / 2),))
    options = {"solver": "sosri2", "rtol": None, "n_paths": 1000, "random_state": 0}
    long, exact = (solve(problem, [1.0], [0.0, 0.01], dt=dt, **options) for dt in (1.0, 0.01 / 16))
    assert torch.equal(long.jump_counts, exact.jump_counts)
    assert long.stats.steps.flatten().tolist() == (long.jump_counts[:, 0] + 1).tolist()
    # Nothing is drawn beyond the times: a cell of so many of the noise's would not fit into memory.
    times = torch.tensor([[0.0, 0.01], [0.0, 0.02]], dtype=torch.float64)
    wiener, start = Problem(None, 0.3, noise="additive"), torch.zeros(2, 1, dtype=torch.float64)
    ends = solve(wiener, start, times, solver="euler", dt=1e6, n_paths=500, random_state=0).ys[:, :, 1, 0]
    assert bool((ends.std(0) / (0.3 * times[:, 1].sqrt()) - 1.0).abs().max() < 4 * (0.5 / 500) ** 0.5)
