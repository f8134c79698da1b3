"""Detection of functions that depend on time."""

import pytest
import torch

from skneuralde.solvers.core.time_dependence import depends_on

U = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
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
    "index": lambda t: U[:, t[0].long() - 1],
}
INDEPENDENT = {
    "state": lambda t: torch.sin(U),
    "shape": lambda t: torch.zeros_like(t) + U * t.shape[0],
    "new tensor": lambda t: t.new_ones(2, 2) * U,
    "result that is dropped": lambda t: (2.0 * t, U)[1],
    "written elsewhere": lambda t: (torch.empty_like(t).copy_(t), 2.0 * U)[1],
    "derivative": lambda t: torch.func.jvp(torch.sin, (U,), (U,))[1],
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_functions_that_use_time(name):
    assert depends_on(DEPENDENT[name], T)


@pytest.mark.parametrize("name", INDEPENDENT)
def test_functions_that_do_not(name):
    assert not depends_on(INDEPENDENT[name], T)
