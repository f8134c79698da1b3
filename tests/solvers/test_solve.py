import math

import numpy as np
import pytest
import torch

from skneuralde.problems import Problem
from skneuralde.solvers import SolverError, solve

DECAY = Problem(lambda t, u: -u)
NOISY = Problem(lambda t, u: -u, 0.5)


def test_shapes_without_and_with_batches():
    ts = [0.0, 0.5, 1.0]
    assert solve(DECAY, [1.0, 2.0], ts).ys.shape == (1, 3, 2)
    assert solve(DECAY, np.ones((4, 5, 2)), ts).ys.shape == (1, 4, 5, 3, 2)
    solution = solve(NOISY, np.ones((4, 5, 2)), ts, n_paths=7, dt=0.25, random_state=0)
    assert solution.ys.shape == (7, 4, 5, 3, 2)
    assert solution.status.shape == solution.stats.steps.shape == (7, 4, 5)
    assert solution.mean().shape == solution.std().shape == solution.quantile(0.5).shape == (4, 5, 3, 2)
    assert solution.quantile([0.1, 0.9]).shape == (2, 4, 5, 3, 2)
    assert solution.solver == "sosri2"


def test_the_batch_is_solved_as_one_by_one():
    u0 = torch.arange(6.0, dtype=torch.float64).reshape(3, 2, 1)
    ts = torch.tensor([[0.0, 1.0, 2.0], [0.5, 3.0, torch.nan]], dtype=torch.float64).repeat(3, 1, 1)
    solution = solve(DECAY, u0, ts, rtol=1e-8, atol=1e-8)
    exact = u0[..., None, :] * torch.exp(-(ts - ts[..., :1]))[..., None]
    torch.testing.assert_close(solution.ys[0], exact, rtol=1e-6, atol=1e-6, equal_nan=True)
    assert solution.ts.shape == (3, 2, 3)


def test_paths_of_an_equation_without_noise_are_the_same():
    ys = solve(DECAY, [1.0], [0.0, 1.0], n_paths=3).ys
    assert ys.shape == (3, 2, 1)
    assert torch.equal(ys[0], ys[2])


@pytest.mark.parametrize(
    ("y0", "dtype", "expected"),
    [
        ([1], None, torch.float64),
        ([1.0], None, torch.float64),
        (np.ones(1, dtype=np.float32), None, torch.float32),
        (np.ones(1), None, torch.float64),
        (torch.ones(1), None, torch.float32),
        (torch.ones(1), torch.float64, torch.float64),
        (np.ones(1, dtype=int), torch.float32, torch.float32),
    ],
)
def test_dtype(y0, dtype, expected):
    assert solve(DECAY, y0, [0.0, 1.0], dtype=dtype).ys.dtype == expected


def test_plain_numbers_take_the_type_of_the_parameters():
    class Drift(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(1, 1)

        def forward(self, t, u):
            return self.linear(u)

    assert solve(Problem(Drift()), [1.0], [0, 1]).ys.dtype == torch.float32


def test_the_same_seed_gives_the_same_paths_and_none_gives_new_ones():
    def ys(random_state):
        return solve(NOISY, [1.0], [0.0, 1.0], solver="euler", dt=0.1, n_paths=2, random_state=random_state).ys

    assert torch.equal(ys(3), ys(3))
    assert torch.equal(ys(np.random.RandomState(3)), ys(np.random.RandomState(3)))
    assert torch.equal(ys(np.random.default_rng(3)), ys(np.random.default_rng(3)))
    different = [ys(3), ys(4), ys(None), ys(None), ys(3)[[1, 0]]]
    assert len(torch.stack(different)[:, 0, 1].unique()) == 5


PATHS = Problem(0.0, 1.0, noise="additive")
FIXED = {"solver": "sra1", "dt": 0.25, "rtol": None}


@pytest.mark.parametrize("arguments", [{}, {"rtol": 0.1}, {"solver": "euler", "dt": 0.25}, FIXED])
def test_a_path_does_not_depend_on_the_times_in_between(arguments):
    def w(ts):
        return solve(PATHS, [0.0], ts, n_paths=3, random_state=0, **arguments).ys[:, -1, 0]

    few = w([0.0, 1.0, 2.0])
    torch.testing.assert_close(w([0.0, 0.37, 1.0, 2.0]), few, rtol=0, atol=1e-7)
    torch.testing.assert_close(w([5.0, 5.1, 7.0]), few, rtol=0, atol=1e-7)


@pytest.mark.parametrize("arguments", [{}, {"solver": "euler", "dt": 0.3}, {"solver": "euler", "dt": 0.15}])
def test_a_path_does_not_depend_on_the_times_of_other_rows(arguments):
    def w(*rows):
        ts = torch.tensor(rows, dtype=torch.float64)
        return solve(PATHS, [[0.0]] * len(rows), ts, random_state=0, **arguments).ys[0, 0, :2, 0]

    alone = w([0.0, 0.7, 2.0])
    for other in ([0.0, 0.2, 0.5], [0.0, 0.2, 100.0], [0.0, 0.0, torch.nan]):
        torch.testing.assert_close(w([0.0, 0.7, 2.0], other), alone, rtol=0, atol=0)


def test_halved_steps_share_a_path_of_rows_of_any_length():
    ts = torch.tensor([[0.0, 0.7, 2.0], [0.0, 0.4, torch.nan], [0.0, 11.0, 40.0]], dtype=torch.float64)
    coarse, *finer = (
        solve(PATHS, [[0.0]] * 3, ts, solver="euler", dt=dt, n_paths=2, random_state=1).ys for dt in (0.3, 0.15, 0.075)
    )
    for ys in finer:
        torch.testing.assert_close(ys, coarse, rtol=0, atol=1e-7, equal_nan=True)


def test_global_random_states_are_neither_read_nor_changed():
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = solve(NOISY, [1.0], [0.0, 1.0], dt=0.1).ys
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert not torch.equal(solve(NOISY, [1.0], [0.0, 1.0], dt=0.1).ys, first)


def test_more_paths_and_longer_times_leave_what_was_there():
    short = solve(NOISY, [[1.0], [2.0]], [0.0, 0.55], dt=0.1, n_paths=2, random_state=0).ys
    long = solve(NOISY, [[1.0], [2.0]], [0.0, 0.55, 0.75], dt=0.1, n_paths=5, random_state=0).ys
    torch.testing.assert_close(long[:2, :, :2], short, rtol=0, atol=0)


@pytest.mark.parametrize("dt", [0.1, 1e-3, 3.0])
def test_half_the_step_refines_the_same_path(dt):
    problem = Problem(0.0, 1.0)
    ts = [0.0, 2.4 * dt, 8 * dt]
    coarse, fine = (solve(problem, [0.0], ts, dt=step, n_paths=4, random_state=1).ys for step in (dt, dt / 2))
    # A rounding error of time moves a Brownian path by its square root.
    torch.testing.assert_close(coarse, fine, rtol=1e-6, atol=1e-7)


def test_moments_of_the_ornstein_uhlenbeck_process():
    solution = solve(NOISY, [1.0], [0.0, 1.0], solver="euler", dt=0.01, n_paths=20_000, random_state=0)
    mean, std = math.exp(-1), 0.5 * math.sqrt((1 - math.exp(-2)) / 2)
    # Five standard errors, and the bias of the method at this step.
    assert abs(solution.mean()[1, 0] - mean) < 5 * std / 20_000**0.5 + 0.005
    assert abs(solution.std()[1, 0] - std) < 5 * std / 40_000**0.5 + 0.005
    assert abs(solution.quantile(0.5)[1, 0] - mean) < 0.03


def test_context_as_array_and_as_function():
    problem = Problem(lambda t, u, c: c[:, :1] * u + c[:, 1:] * torch.ones_like(t))
    u0, ts = np.ones((3, 1)), [0.0, 1.0]
    c = np.stack([np.linspace(-1, 1, 3), np.zeros(3)], -1)
    exact = torch.as_tensor(np.exp(c[:, :1]))
    arguments = {"rtol": 1e-8, "atol": 1e-8}
    torch.testing.assert_close(solve(problem, u0, ts, context=c, **arguments).ys[0, :, 1], exact, rtol=1e-6, atol=0)

    def function(t):
        assert t.shape == (1, 3)
        assert t.dtype == torch.float64
        return torch.as_tensor(c)

    torch.testing.assert_close(
        solve(problem, u0, ts, context=function, **arguments).ys[0, :, 1], exact, rtol=1e-6, atol=0
    )
    driven = Problem(lambda t, u, c: c)
    ys = solve(driven, [0.0], ts, context=lambda t: torch.cos(t)[..., None], **arguments).ys
    torch.testing.assert_close(ys[0, 1, 0].item(), math.sin(1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("solver", ["tsit5", "bs3", "euler", "torchdiffeq:dopri5"])
def test_gradients_of_parameters_and_initial_state(solver):
    class Rate(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

        def forward(self, t, u):
            return -self.rate * u

    problem = Problem(Rate())
    y0 = torch.tensor([[2.0], [3.0]], dtype=torch.float64, requires_grad=True)
    solution = solve(problem, y0, [0.0, 0.4, 1.5], solver=solver, rtol=1e-8, atol=1e-8, dt=1e-3)
    loss = solution.ys[0, :, -1].sum()
    (rate,) = problem.parameters()
    by_rate, by_start = torch.autograd.grad(loss, [rate, y0])
    tolerance = 2e-3 if solver == "euler" else 1e-5
    torch.testing.assert_close(by_rate.item(), -1.5 * 5 * math.exp(-1.05), rtol=tolerance, atol=0)
    torch.testing.assert_close(by_start, torch.full_like(y0, math.exp(-1.05)), rtol=tolerance, atol=0)


def test_gradient_of_a_noisy_path():
    sigma = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    problem = Problem(0.0, lambda t, u: sigma * torch.ones_like(u))
    ys = solve(problem, [0.0], [0.0, 1.0], dt=0.1, n_paths=3, random_state=0).ys[:, 1, 0]
    (gradient,) = torch.autograd.grad(ys.sum(), sigma)
    torch.testing.assert_close(gradient, ys.detach().sum() / 0.4)


def test_decreasing_times_run_backwards():
    ys = solve(DECAY, [1.0], [1.0, 0.5, -1.0], rtol=1e-9, atol=1e-9).ys[0, :, 0]
    torch.testing.assert_close(ys, torch.exp(torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)), rtol=1e-7, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ts": []}, "ts must hold at least one time"),
        ({"ts": 1.0}, "ts must hold at least one time"),
        ({"ts": [0.0, 2.0, 1.0, 3.0]}, "ts must be in order, got (3.0 at index 3|2.0 at index 1)"),
        ({"ts": [0.0, math.nan]}, "ts must be finite.* got nan at index 1"),
        ({"ts": [0.0, math.inf]}, "ts must be finite.* got inf at index 1"),
        ({"ts": [[0.0, 1.0], [0.0, 1.0]]}, r"ts must have shape \(n_times,\)"),
        ({"y0": 1.0}, r"y0 must have shape \(\*batch, dim\)"),
        ({"y0": [math.nan]}, r"y0 must be finite, got nan at index \(0,\)"),
        ({"y0": [1j]}, "Complex data not supported"),
        ({"y0": torch.ones(1, dtype=torch.float16)}, "states are float32 or float64, got torch.float16"),
        ({"n_paths": 0}, "n_paths must be an integer of at least 1, got 0"),
        ({"n_paths": 1.5}, "n_paths must be an integer"),
        ({"solver": "euler"}, "give dt, in units of time"),
        ({"solver": "nonsense"}, "unknown solver 'nonsense'"),
        ({"solver": "torchsde:srk", "dt": 0.1}, "cannot treat equations without noise"),
        ({"dt": -1.0}, "dt must be a positive number"),
        ({"rtol": 1e-17}, "ten machine epsilons"),
        ({"rtol": None}, "give dt"),
        ({"rtol": None, "dt": 0.1, "solver": "torchdiffeq:dopri5"}, "no steps of a fixed size: give rtol"),
        ({"gradient": "adjoint"}, "gradient must be one of 'auto', 'direct', 'checkpoint', 'reversible', 'forward'"),
        ({"gradient": "reversible"}, r"solver 'auto\(tsit5, rosenbrock\)' has no gradient='reversible'.* 'ees25'"),
        ({"problem": Problem(0.0, 1.0), "dt": 0.1, "ts": [1.0, 0.0]}, "must not decrease .* got 0.0 at index 1"),
        ({"problem": Problem(0.0, 1.0), "dt": 0.1, "random_state": "x"}, "random_state must be None, an int"),
        ({"context": np.ones((2, 3, 1))}, "context must have shape"),
        ({"problem": Problem(lambda t, u: u[:, 0])}, "drift"),
    ],
)
def test_bad_input_is_refused_in_words(changes, message):
    arguments = {"problem": DECAY, "y0": [1.0], "ts": [0.0, 1.0]} | changes
    problem, y0, ts = (arguments.pop(key) for key in ("problem", "y0", "ts"))
    with pytest.raises(ValueError, match=message):
        solve(problem, y0, ts, **arguments)


def test_a_failure_raises_or_masks():
    problem = Problem(lambda t, u: u**2)
    with pytest.raises(SolverError, match=r"failed on 1 of 2 paths; path 1 stopped at time 0\.9999"):
        solve(problem, [[0.1], [1.0]], [0.0, 0.5, 2.0])
    solution = solve(problem, [[0.1], [1.0]], [0.0, 0.5, 2.0], on_error="mask")
    assert solution.status.tolist() == [[0, 2]]
    assert solution.ys.isnan().flatten().tolist() == [False] * 5 + [True]


def test_frames_have_one_row_per_path_series_and_time():
    frame = solve(NOISY, [1.0, 2.0], [0.0, 1.0], dt=0.1, n_paths=3, random_state=0).to_frame()
    assert frame.index.names == ["path", "time"]
    assert frame.shape == (6, 2)
    assert list(frame.columns) == ["y0", "y1"]
    ts = [[0.0, 1.0, math.nan], [0.0, 2.0, 3.0]]
    solution = solve(DECAY, [[1.0], [2.0]], ts)
    frame = solution.to_frame()
    assert frame.index.names == ["path", "series", "time"]
    assert len(frame) == 5
    assert frame.loc[(0, 1, 3.0), "y0"] == solution.ys[0, 1, 2, 0].item()
    assert solve(DECAY, np.ones((2, 2, 1)), [0.0, 1.0]).to_frame().index.names == [
        "path",
        "series_0",
        "series_1",
        "time",
    ]


@pytest.mark.parametrize("arguments", [{}, {"solver": "euler", "dt": 0.1}, {"solver": "euler", "dt": 0.05}])
def test_the_path_belongs_to_the_power_of_two_above_the_span(arguments):
    """Spans up to 2 share a path, longer ones have another."""
    problem = Problem(None, 1.0)
    ends = [
        solve(problem, [0.0], [0.0, 1.0, end], random_state=3, **arguments).ys[0, 1] for end in (1.5, 1.7, 2.0, 2.5)
    ]
    torch.testing.assert_close(ends[1:3], [ends[0]] * 2, rtol=1e-12, atol=1e-12)
    assert abs(ends[3] - ends[0]) > 1e-3


@pytest.mark.parametrize("span", [1e-300, 1e-46, 1e39, 1e150])
@pytest.mark.parametrize("fixed", [False, True])
def test_spans_of_any_size(span, fixed):
    arguments = {"solver": "euler", "dt": span / 8} if fixed else {}
    run = solve(Problem(None, 1.0), [0.0], [0.0, span], n_paths=400, random_state=0, **arguments)
    assert abs((run.ys[:, -1, 0] / math.sqrt(span)).square().mean() - 1.0) < 4 * math.sqrt(2.0 / 400)


def test_fixed_steps_of_the_default_solver_are_named():
    problem = Problem(lambda t, u: -u)
    assert solve(problem, [1.0], [0.0, 1.0], rtol=None, dt=0.1).solver == "tsit5"
    assert solve(problem, [1.0], [0.0, 1.0]).solver == "auto(tsit5, rosenbrock)"
