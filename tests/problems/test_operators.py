"""Operators on grids: their accuracy, their eigenvalues, and what they conserve."""

import copy
import itertools
import math

import pytest
import torch

from skneuralde import Parameter
from skneuralde.problems import Advection, Axes, Dirichlet, Laplacian
from skneuralde.problems.boundaries import as_boundary

NAMES = ["neumann", "neumann_cell", "periodic", "dirichlet"]


def points(name, n):
    """Where the points of [0, 1] lie, and how far apart they are."""
    k = torch.arange(n, dtype=torch.float64)
    return {
        "neumann": (k / (n - 1), 1 / (n - 1)),
        "neumann_cell": ((k + 0.5) / n, 1 / n),
        "periodic": (k / n, 1 / n),
        "dirichlet": ((k + 1) / (n + 1), 1 / (n + 1)),
    }[name]


def wave(name, x):
    """A smooth function that the boundary suits, and minus its eigenvalue."""
    if name == "periodic":
        return torch.sin(2 * math.pi * x), (2 * math.pi) ** 2
    return (torch.sin if name == "dirichlet" else torch.cos)(3 * math.pi * x), (3 * math.pi) ** 2


def noise(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_second_order(name):
    errors = []
    for n in (20, 80):
        x, spacing = points(name, n)
        u, rate = wave(name, x)
        value = Laplacian(0.7, spacing, name)(u.view(1, n, 1)).flatten()
        errors.append((value + 0.7 * rate * u).abs().max().item())
    assert 1.9 < math.log(errors[0] / errors[1], 4) < 2.1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [5, 8])
def test_basis_is_orthonormal_and_diagonalises(name, n):
    boundary = as_boundary(name)
    basis = boundary.basis(n)
    torch.testing.assert_close(basis.T @ basis, torch.eye(n, dtype=torch.float64))
    matrix = Laplacian(1.0, 1.0, name)(torch.eye(n, dtype=torch.float64)[..., None])[..., 0].T
    root = boundary.volumes(n).sqrt()
    symmetric = root[:, None] * matrix / root
    torch.testing.assert_close(symmetric, symmetric.T)
    torch.testing.assert_close(symmetric, basis @ torch.diag(boundary.eigenvalues(n)) @ basis.T)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("neumann", lambda k, n: 2 * math.cos(math.pi * k / (n - 1)) - 2),
        ("neumann_cell", lambda k, n: 2 * math.cos(math.pi * k / n) - 2),
        ("dirichlet", lambda k, n: 2 * math.cos(math.pi * (k + 1) / (n + 1)) - 2),
        ("periodic", lambda k, n: 2 * math.cos(2 * math.pi * ((k + 1) // 2) / n) - 2),
    ],
)
def test_discrete_eigenvalues(name, expected):
    n = 9
    values = as_boundary(name).eigenvalues(n)
    assert values.tolist() == pytest.approx([expected(k, n) for k in range(n)], abs=1e-14)


def mixed(ndim):
    names = ("neumann", "periodic", "dirichlet")[:ndim]
    return Laplacian([0.5, 0.0, 2.0], (0.5, 1.0, 2.0)[:ndim], names), (6, 5, 4)[:ndim]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_functions_of_it_in_its_basis(ndim, dtype):
    laplacian, grid = mixed(ndim)
    u = noise(2, *grid, 3, dtype=dtype)
    torch.testing.assert_close(laplacian.apply_function(u, lambda z: z), laplacian(u))
    solved = laplacian.apply_function(u - 0.3 * laplacian(u), lambda z: 1 / (1 - 0.3 * z))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(solved, u, rtol=tolerance, atol=tolerance)
    assert solved.dtype == dtype


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_spectral_radius(ndim):
    laplacian, grid = mixed(ndim)
    n = math.prod(grid) * 3
    matrix = laplacian(torch.eye(n, dtype=torch.float64).view(n, *grid, 3)).view(n, n)
    values = torch.linalg.eigvals(matrix)
    assert values.imag.abs().max() < 1e-10
    radius = laplacian.spectral_radius(torch.zeros(1, *grid, 3, dtype=torch.float64))
    torch.testing.assert_close(radius, values.abs().max())


@pytest.mark.parametrize("names", list(itertools.product(NAMES[:3], repeat=2)))
def test_mass_is_conserved(names):
    laplacian = Laplacian(1.3, (0.5, 2.0), names)
    u = noise(1, 7, 5, 2)
    volumes = laplacian.axes.volumes((7, 5))
    change = (volumes[..., None] * laplacian(u)[0]).sum((0, 1))
    assert change.abs().max() < 1e-12
    advection = Advection([1.0, 2.0], (0.5, 2.0), "periodic")
    assert advection(u).sum((1, 2)).abs().max() < 1e-12


def test_volumes_add_up_to_the_domain():
    assert Axes.read((0.1, 0.5), ("neumann", "periodic"), None).volumes((11, 4)).sum().item() == pytest.approx(2.0)


def test_boundary_values():
    """Between two values the field at rest is a straight line."""
    n = 9
    x, spacing = points("dirichlet", n)
    laplacian = Laplacian([1.0, 0.0, 2.0], spacing, Dirichlet([1.0, 5.0, 0.0], 3.0))
    u = torch.stack([1 + 2 * x, x**2, 3 * x], -1)[None]
    assert laplacian(u).abs().max() < 1e-11
    around = laplacian(u) - laplacian.offset(u)
    torch.testing.assert_close(around, laplacian.apply_function(u, lambda z: z))
    assert Laplacian(1.0, spacing, "dirichlet").offset(u) is None


def test_learned_diffusivity_has_a_gradient():
    raw = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
    start = Parameter(2.0, positive=True)
    assert start().item() == pytest.approx(2.0, rel=1e-14)
    laplacian = Laplacian([raw, 0.0, start, 1.5])
    u = noise(1, 6, 4)
    assert laplacian.diffusing(4) == [0, 2, 3]
    assert laplacian.diffusivity(u).tolist() == pytest.approx([math.log1p(math.exp(0.3)), 0.0, 2.0, 1.5])
    gradient = torch.autograd.grad(laplacian(u).square().sum(), laplacian.parameters())
    assert len(gradient) == 2
    assert all(g.abs() > 0 for g in gradient)
    whole = Laplacian(torch.nn.Parameter(torch.zeros(4, dtype=torch.float64)))
    torch.testing.assert_close(whole(u), math.log(2) * Laplacian(1.0)(u))
    twin = copy.deepcopy(laplacian)
    torch.testing.assert_close(twin(u), laplacian(u))


def test_advection_moves_to_the_right():
    n = 200
    x, spacing = points("periodic", n)
    value = Advection(0.5, spacing, "periodic")(torch.sin(2 * math.pi * x).view(1, n, 1)).flatten()
    torch.testing.assert_close(value, -math.pi * torch.cos(2 * math.pi * x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Laplacian(-1.0), "diffusivity must hold finite numbers of at least 0"),
        (lambda: Laplacian(1.0, 0.0), "spacing must be positive, got 0.0"),
        (lambda: Laplacian(1.0, 1.0, "open"), "boundary must be one of 'neumann', 'neumann_cell'.* got 'open'"),
        (lambda: Laplacian(1.0, (1.0, 2.0), ("periodic",)), "disagree on the number of axes"),
        (lambda: Laplacian(1.0, ndim=4), "a grid has 1 to 3 axes, got 4"),
        (lambda: Laplacian(1.0, ndim=2)(noise(1, 4, 1)), r"for 2 axes, but the grid is \(4,\)"),
        (lambda: Laplacian(1.0, 1.0, "periodic")(noise(1, 2, 1)), "needs at least 3 points"),
        (lambda: Laplacian([1.0, 2.0])(noise(1, 4, 3)), "diffusivity has 2 values, but the state has 3 fields"),
        (lambda: Advection([1.0, 2.0])(noise(1, 4, 3)), "velocity has 2 components, but the grid has 1 axes"),
        (lambda: Parameter(0.0, positive=True), "must be positive, got 0.0"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
