"""The same answers on a CUDA device as on the CPU."""

import warnings

import pytest
import torch

from skneuralde import Parameter
from skneuralde.noise import Brownian
from skneuralde.problems import Dirichlet, Laplacian, Problem, Stencil
from skneuralde.solvers import get_solver, solve, solver_names

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("name", solver_names())
def test_cuda_agrees_with_the_cpu(name, dtype, tolerance):
    solver = get_solver(name)
    noise = "diagonal" if solver.handles("diagonal") else "additive"
    size = (lambda t, u: 0.3 * u) if noise == "diagonal" else (lambda t, u: 0.3 * torch.ones_like(u))
    noisy = solver.handles("additive")
    problem = Problem(lambda t, u: torch.sin(t) - u, size if noisy else None, noise=noise)
    ts = torch.tensor([[0.0, 0.33, 2.0], [0.0, 1.0, torch.nan]], dtype=torch.float64)
    answers = []
    for device in ("cpu", "cuda"):
        y0 = torch.tensor([[1.0], [2.0]], dtype=dtype, device=device, requires_grad=True)
        ys = solve(problem, y0, ts, solver=name, dt=0.1, rtol=1e-2, atol=1e-2, n_paths=3, random_state=0).ys
        assert ys.device.type == device
        (gradient,) = torch.autograd.grad(ys.nansum(), y0)
        answers.append((ys.detach().cpu(), gradient.cpu()))
    torch.testing.assert_close(*answers, rtol=tolerance, atol=tolerance, equal_nan=True)


def test_noise_is_the_same_on_both():
    n, answers = 200, []
    for device in ("cpu", "cuda"):
        noise = Brownian(3, torch.arange(n, device=device), torch.arange(n, device=device), 2, cell=0.3)
        part = torch.linspace(0, 1, n, dtype=torch.float64, device=device)
        begin = torch.where(part < 0.5, 0.25, 0.3 * part)
        asked = [
            *noise.cells(0, 16, 3, area=True),
            *noise.over(begin, torch.full_like(begin, 0.5).maximum(begin)),
            *noise.between(begin, 4.0 + part),
            noise.three_point(part[None], part[None]),
        ]
        answers.append([x.cpu() for x in asked])
    torch.testing.assert_close(*answers, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["direct", "checkpoint", "reversible", "forward"])
def test_gradients_agree_on_both(mode):
    answers = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        problem = Problem(Linear().to(device), lambda t, u: 0.3 * u)
        y0 = torch.ones(4, 2, dtype=torch.float64, device=device)
        ys = solve(problem, y0, [0.0, 1.0], solver="ees25", dt=0.05, random_state=0, gradient=mode).ys
        ys.square().sum().backward()
        answers.append([p.grad.cpu() for p in problem.parameters()])
    torch.testing.assert_close(*answers, rtol=1e-9, atol=1e-9)


class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.tensor([[-1.0, 0.5], [0.2, -0.7]], dtype=torch.float64))

    def forward(self, t, u):
        return u @ self.matrix


def test_many_adaptive_paths_do_not_wait_for_every_step():
    matrix = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], device="cuda")
    problem = Problem(lambda t, u: u**3 @ matrix, lambda t, u: 0.2 * u)
    y0 = torch.tensor([2.0, 0.0], device="cuda")
    arguments = {"solver": "sosri2", "rtol": 1e-2, "atol": 1e-2, "n_paths": 100_000, "random_state": 0}
    solve(problem, y0, [0.0, 0.5, 1.0], **arguments)
    with warnings.catch_warnings(record=True) as waits:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        solution = solve(problem, y0, [0.0, 0.5, 1.0], **arguments)
        torch.cuda.set_sync_debug_mode("default")
    assert len(waits) < 0.5 * solution.stats.steps.max().item() + 60


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-3)])
@pytest.mark.parametrize("name", ["rosenbrock", "etdrk4", "rock2", "rock4", "rkc2"])
def test_fields_agree(name, dtype, tolerance):
    answers = []
    for device in ("cpu", "cuda"):
        laplacian = Laplacian([Parameter(2.0, positive=True), 0.0], (0.5, 0.7), (Dirichlet(1.0, 0.0), "neumann")).to(
            device
        )
        law = torch.nn.Linear(2, 2).to(device, dtype)
        with torch.no_grad():
            law.weight.copy_(torch.tensor([[-1.0, 0.5], [0.3, -0.8]]))
            law.bias.fill_(0.2)
        source = torch.linspace(0, 1, 60).view(6, 5, 2)
        problem = Problem([lambda t, u, law=law: torch.sin(t) * law(u), source], operator=laplacian)
        y0 = torch.linspace(-1, 1, 120, dtype=dtype, device=device).view(2, 6, 5, 2).requires_grad_()
        ys = solve(problem, y0, [0.0, 0.3, 2.0], solver=name, dt=0.1, rtol=None).ys
        assert ys.device.type == device
        gradient = torch.autograd.grad(ys.sum(), [y0, *laplacian.parameters()])
        answers.append([x.detach().cpu() for x in (ys, *gradient)])
    torch.testing.assert_close(*answers, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_sparse_jacobians_agree(dtype, tolerance):
    answers = []
    for device in ("cpu", "cuda"):
        factor = torch.tensor(0.5, dtype=dtype, device=device, requires_grad=True)

        def spread(u, factor=factor):
            flux = factor * (1 + (u[:, 1:] + u[:, :-1]) / 2) * u.diff(dim=1)
            return torch.nn.functional.pad(flux, (0, 0, 1, 1)).diff(dim=1)

        problem = Problem(lambda t, u: u.flip(-1) * (1 - u), operator=spread, sparsity=Stencil((1,), coupled=False))
        y0 = torch.linspace(0, 1, 320, dtype=dtype, device=device).view(2, 80, 2).requires_grad_()
        ys = solve(problem, y0, [0.0, 0.3, 2.0], dt=0.1, rtol=None).ys
        assert ys.device.type == device
        answers.append([x.detach().cpu() for x in (ys, *torch.autograd.grad(ys.sum(), [y0, factor]))])
    torch.testing.assert_close(*answers, rtol=tolerance, atol=tolerance)
