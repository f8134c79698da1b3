"""The same answers on a CUDA device as on the CPU."""

import pytest
import torch

from skneuralde.problems import Problem
from skneuralde.solvers import get_solver, solve

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("name", ["euler", "bs3", "dopri5", "tsit5", "torchsde:srk", "torchdiffeq:dopri5"])
def test_cuda_agrees_with_the_cpu(name):
    noisy = not get_solver(name).handles(None) or name == "euler"
    problem = Problem(lambda t, u: torch.sin(t) - u, (lambda t, u: 0.3 * u) if noisy else None)
    ts = torch.tensor([[0.0, 0.33, 2.0], [0.0, 1.0, torch.nan]], dtype=torch.float64)
    answers = []
    for device in ("cpu", "cuda"):
        y0 = torch.tensor([[1.0], [2.0]], dtype=torch.float64, device=device, requires_grad=True)
        ys = solve(problem, y0, ts, solver=name, dt=0.1, n_paths=3, random_state=0).ys
        assert ys.device.type == device
        (gradient,) = torch.autograd.grad(ys.nansum(), y0)
        answers.append((ys.detach().cpu(), gradient.cpu()))
    torch.testing.assert_close(*answers, rtol=1e-9, atol=1e-9, equal_nan=True)
