"""A path and its branch share everything but one jump."""

from dataclasses import replace

import torch

from skneuralde import Jump, Problem
from skneuralde.solvers import integrate
from skneuralde.solvers.jumps.schedule import ExtraJump
from skneuralde.solvers.rate_gradient import solve_with_branches
from tests.requests import request_of

TIMES = [0.0, 0.25, 0.5, 0.75, 1.0]


def both(jumps, *, drift=None, diffusion=None, n_paths=400):
    request = request_of(
        Problem(drift, diffusion, jumps=jumps),
        torch.zeros(1, dtype=torch.float64),
        TIMES,
        solver="sosri2" if diffusion else "euler",
        rtol=None,
        dt=0.1,
        n_paths=n_paths,
        random_state=3,
        max_steps=10_000,
        gradient="direct",
    )
    trajectory, branches = solve_with_branches(request)
    return request, trajectory.values[..., 0].detach(), branches


def test_one_jump_more_at_the_time_that_the_key_tells():
    rate = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    jump = Jump(lambda t, u: rate * (1 + t), lambda t, u: u + 1, bound=4.0)
    request, values, (branch,) = both((jump,), diffusion=lambda t, u: 0.5 + 0 * u)
    moment = request.poisson.shares()
    after = torch.tensor(TIMES, dtype=torch.float64) >= moment
    assert torch.equal(branch.values[..., 0][~after], values[~after])
    torch.testing.assert_close((branch.values[..., 0] - values)[after], torch.ones(int(after.sum())).double())
    assert not branch.values.requires_grad
    torch.testing.assert_close(branch.weight.detach(), 2.0 * (1 + moment[:, 0]))
    # The noise that is kept is the noise that would be drawn.
    again = integrate(replace(request, extra_jump=ExtraJump(0, moment))).values.detach()
    assert torch.equal(branch.values, again)
    # Uniform, and the same for a path whatever the others are.
    assert abs(float(moment.mean()) - 0.5) < 4 * (1 / 12 / 400) ** 0.5
    fewer, *_ = both((jump,), n_paths=20)
    assert torch.equal(fewer.poisson.shares(), moment[:20])


def test_known_rates_have_no_branch():
    rate = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    learned = Jump(lambda t, u: rate.expand(len(u)), lambda t, u: u + 1, bound=4.0)
    known = Jump(lambda t, u: t, lambda t, u: u + 10, bound=1.0)
    _, values, branches = both((known, learned, Jump(1.0, lambda t, u: u - 5)))
    assert len(branches) == 1
    assert set((branches[0].values[..., -1, 0] - values[..., -1]).tolist()) == {1.0}
    # A known rate that sees a state with a gradient has one.
    level = torch.tensor([0.1], dtype=torch.float64, requires_grad=True)
    seen = Jump(lambda t, u: u.sigmoid(), lambda t, u: u + 10, bound=1.0)
    assert len(both((seen,), drift=lambda t, u: level.expand_as(u))[2]) == 1
    with torch.no_grad():
        assert both((learned,))[2] == []


def test_a_branch_along_fixed_steps_begins_at_its_jump():
    rows = []

    def drift(t, u):
        rows.append(len(u))
        return -u

    rate = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    jump = Jump(lambda t, u: rate * (1 + t), lambda t, u: u + 1, bound=4.0)
    request, *_ = both((jump,), drift=drift, diffusion=lambda t, u: 0.5 + 0 * u)
    together = sum(rows)
    rows.clear()
    with torch.no_grad():
        integrate(replace(request, times=torch.cat([request.times, request.times[-1:]])))
    # It is uniform over the path, and one more stop of either.
    assert 1.3 * sum(rows) < together < 1.75 * sum(rows)


def test_a_jump_on_the_boundary_of_a_cell_ends_a_stretch_of_foreign_steps():
    problem = Problem(lambda t, u: -u, lambda t, u: 0.3 * u, jumps=(Jump(0.5, lambda t, u: u / 2),))
    values = []
    for solver in ("euler", "torchsde:euler"):
        request = request_of(
            problem,
            torch.ones(1, dtype=torch.float64),
            TIMES,
            solver=solver,
            rtol=None,
            dt=0.125,
            n_paths=20,
            random_state=3,
            max_steps=1000,
            gradient="direct",
        )
        moment = torch.full((20, 1), 0.375, dtype=torch.float64)
        values.append(integrate(replace(request, extra_jump=ExtraJump(0, moment))).values)
        without = integrate(request).values
        assert torch.equal(values[-1][:, :2], without[:, :2])
        torch.testing.assert_close(values[-1][:, 2], without[:, 2] / 2)
    torch.testing.assert_close(*values, rtol=1e-12, atol=0)
