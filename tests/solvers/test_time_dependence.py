"""Detection of functions that depend on time."""

import numpy as np
import pytest
import torch

from skneuralde import Problem, solve
from skneuralde.solvers.core.time_dependence import depends_on_first

U = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
SPARSE = torch.eye(2, dtype=torch.float64).to_sparse().coalesce()
T = torch.full((2, 1), 1.5, dtype=torch.float64)


class Custom(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t, u):
        return u + (t > 3.0)


def written(t):
    slope = torch.zeros_like(U)
    slope[:, 1] = torch.cos(t[:, 0])
    return slope


DEPENDENT = {
    "comparison": lambda t: (t > 3.0).to(U.dtype) * U,
    "branch": lambda t: U if t[0, 0] > 3.0 else -U,
    "number": lambda t: U * float(t[0, 0]),
    "list": lambda t: U * t.tolist()[0][0],
    "numpy": lambda t: U + torch.as_tensor(t.numpy() > 3.0),
    "written in place": written,
    "custom function": lambda t: Custom.apply(t, U),
    "mapped": lambda t: torch.func.vmap(lambda a, b: a * (b > 3.0))(U, t[:, 0]),
    "out": lambda t: torch.add(U, t, out=torch.empty_like(U)),
    "sparse": lambda t: torch.sparse_coo_tensor(SPARSE.indices(), SPARSE.values() * t[0, 0], (2, 2)) @ U,
    "sparse state": lambda t: SPARSE @ (U * (t > 3.0)),
    "shared memory": lambda t: U * torch.from_dlpack(np.from_dlpack(t) * 1.0),
    "index": lambda t: U[:, t[0].long() - 1],
}
INDEPENDENT = {
    "state": lambda t: torch.sin(U),
    "shape": lambda t: torch.zeros_like(t) + U * t.shape[0],
    "new tensor": lambda t: t.new_ones(2, 2) * U,
    "result that is dropped": lambda t: (2.0 * t, U)[1],
    "written elsewhere": lambda t: (torch.empty_like(t).copy_(t), 2.0 * U)[1],
    "sparse": lambda t: SPARSE @ U,
    "compressed": lambda t: SPARSE.to_sparse_csr() @ U,
    "derivative": lambda t: torch.func.jvp(torch.sin, (U,), (U,))[1],
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_functions_that_use_time(name):
    assert depends_on_first(DEPENDENT[name], T)


@pytest.mark.parametrize("name", INDEPENDENT)
def test_functions_that_do_not(name):
    assert not depends_on_first(INDEPENDENT[name], T)


READS_THE_STATE = {
    "branch": lambda t, u: u + t if u.max() > 9.0 else -u,
    "number": lambda t, u: u * 2.0 if float(u[0, 0]) < 9.0 else u * t,
    "list": lambda t, u: u if u.tolist()[0][0] < 9.0 else u * t,
    "numpy": lambda t, u: u if u.detach().numpy().max() < 9.0 else u * t,
    "test of a result": lambda t, u: u if bool((2.0 * u).isfinite().all()) else u * t,
}


@pytest.mark.parametrize("name", READS_THE_STATE)
def test_functions_that_may_go_another_way_in_another_state(name):
    assert depends_on_first(READS_THE_STATE[name], T, U)
    assert not depends_on_first(lambda t, u: torch.where(u > 2.0, u, -u), T, U)


@pytest.mark.parametrize("solver", ["rock2", "rock4", "rosenbrock", "auto"])
@pytest.mark.parametrize("switch", [2.1, 5.0, 7.3])
def test_time_behind_a_branch_on_the_state_is_seen(solver, switch):
    """The start takes the branch that does not read the time."""

    def drift(t, u):
        return 1.0 + (t > switch).to(u) if float(u.max()) > 0.5 else torch.ones_like(u)

    run = solve(Problem(drift), [0.0], [0.0, 10.0], solver=solver, rtol=1e-5, atol=1e-5)
    assert abs(run.ys[0, -1].item() - (20.0 - switch)) < 200 * 1e-5 * 21.0
