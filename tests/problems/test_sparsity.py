"""Sparse Jacobians: that a few derivatives give all of them, and that a pattern which does not hold is refused."""

import doctest
import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skneuralde.problems import Advection, Dirichlet, FieldDrift, Laplacian, Problem, Stencil, pattern_of, sparsity

BOUNDARIES = ["neumann", "neumann_cell", "periodic", "dirichlet", Dirichlet(1.0, 2.0)]
GRIDS = [(9,), (10,), (7, 6), (5, 5, 4)]


def noise(*shape, dtype=torch.float64):
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def padded(u, axis, boundary):
    """With one more point at both ends."""
    n = u.shape[axis]
    first, last = {"neumann": (1, n - 2), "neumann_cell": (0, n - 1), "periodic": (n - 1, 0)}.get(boundary, (0, n - 1))
    ends = u.narrow(axis, first, 1), u.narrow(axis, last, 1)
    if boundary not in ("neumann", "neumann_cell", "periodic"):
        ends = [torch.ones_like(end) for end in ends]
    return torch.cat([ends[0], u, ends[1]], axis)


def spread(u, boundary):
    """div((1 + u^2) grad u), of each field, by fluxes between points."""
    total = torch.zeros_like(u)
    for axis in range(1, u.ndim - 1):
        wide, n = padded(u, axis, boundary), u.shape[axis] + 1
        low, high = wide.narrow(axis, 0, n), wide.narrow(axis, 1, n)
        total = total + ((1 + ((low + high) / 2) ** 2) * (high - low)).diff(dim=axis)
    return total


def upwind(u, boundary):
    """Burgers' equation: each point asks the neighbour that the wind comes from."""
    total = torch.zeros_like(u)
    for axis in range(1, u.ndim - 1):
        wide, n = padded(u, axis, boundary), u.shape[axis]
        back, ahead = u - wide.narrow(axis, 0, n), wide.narrow(axis, 2, n) - u
        total = total - u * torch.where(u > 0, back, ahead)
    return total


def mixed(u, boundary):
    """All corners of the box around a point, and one field driven by the other."""
    box = u
    for axis in range(1, u.ndim - 1):
        wide, n = padded(box, axis, boundary), u.shape[axis]
        box = (wide.narrow(axis, 0, n) - wide.narrow(axis, 2, n)) * wide.narrow(axis, 1, n)
    return box * u.flip(-1)


def law(t, u):
    return torch.sin(t) - u.prod(-1, keepdim=True) * u


def dense_jacobian(drift, t, u):
    return torch.stack([
        torch.func.jacrev(lambda x, s=s: drift(s[None], x[None])[0])(state) for s, state in zip(t, u, strict=True)
    ])  # fmt: skip


def by_colours(problem, state, t, u):
    flat = problem.flattened(state)
    pattern = pattern_of(problem.sparsity, state)
    if isinstance(flat.drift, FieldDrift):
        value, entries = flat.drift.sparse(pattern, t, u)
    else:
        value, told = pattern.linearize(lambda v, s: flat.drift(s, v), u, t)
        entries = pattern.entries(told)
    torch.testing.assert_close(value, flat.drift(t, u))
    return flat, pattern, entries


@pytest.mark.parametrize("boundary", ["neumann", "neumann_cell", "periodic", "dirichlet"])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(
    ("operator", "corners", "coupled"), [(spread, False, False), (upwind, False, False), (mixed, True, True)]
)
def test_jacobian_is_the_dense_one(grid, boundary, operator, corners, coupled):
    told = Stencil(1, corners=corners, coupled=coupled, periodic=boundary == "periodic")
    problem = Problem(law, operator=lambda u: operator(u, boundary), sparsity=told)
    state = (*grid, 2)
    u, t = noise(3, math.prod(state)) - 0.5, noise(3, 1)
    problem.check(t, u.view(3, *state))
    flat, pattern, entries = by_colours(problem, state, t, u)
    expected = dense_jacobian(flat.drift, t, u)
    torch.testing.assert_close(pattern.dense(entries), expected, rtol=1e-12, atol=1e-12)
    x = noise(3, pattern.size)
    torch.testing.assert_close(pattern.product(entries, x), (expected @ x[..., None])[..., 0])
    across = pattern.product(entries, x, transposed=True)
    torch.testing.assert_close(across, (expected.mT @ x[..., None])[..., 0])
    shifted = pattern.dense(pattern.shifted(entries, t))
    torch.testing.assert_close(shifted, t[..., None] * torch.eye(pattern.size).double() - expected)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_operators_of_ours_and_a_learned_one(boundary):
    """Of all operators together, in float32, and on a grid whose axes differ."""
    axes = (0.5, 0.25), (boundary, "periodic")
    operators = [Laplacian([0.3, 0.0], *axes), Advection([0.1, -0.4], *axes), lambda u: 0.1 * spread(u, "neumann")]
    wraps = (boundary == "periodic", True)
    problem = Problem(law, operator=operators, sparsity=Stencil((1, 1), periodic=wraps, coupled=False))
    u, t = noise(2, 6 * 7 * 2, dtype=torch.float32), noise(2, 1, dtype=torch.float32)
    problem.check(t, u.view(2, 6, 7, 2))
    flat, pattern, entries = by_colours(problem, (6, 7, 2), t, u)
    torch.testing.assert_close(pattern.dense(entries), dense_jacobian(flat.drift, t, u), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("told", "state", "colours"),
    [
        (Stencil(), (50, 1), 3),
        (Stencil(2), (50, 2), 10),
        (Stencil(), (30, 30, 1), 5),
        (Stencil(), (30, 30, 3), 15),
        (Stencil(coupled=False), (30, 30, 3), 5),
        (Stencil(corners=True), (30, 30, 1), 9),
        (Stencil(periodic=True), (30, 30, 1), 5),
        (Stencil((2, 0)), (30, 30, 1), 5),
        (Stencil(periodic=True), (31, 1), 4),
        (Stencil(), (70,), 3),
    ],
)
def test_colours_are_as_few_as_can_be(told, state, colours):
    """As many as a row has entries; one more on a circle that three do not divide."""
    pattern = pattern_of(told, state)
    assert pattern.colours == colours
    matrix = told.matrix(state).astype(bool).toarray()
    for seeds in pattern.on(torch.device("cpu")).seeds:
        assert matrix[:, seeds.numpy()].sum(1).max() <= 1
    assert pattern.on(torch.device("cpu")).seeds.sum(0).eq(1).all()


def random_matrix():
    rng = np.random.default_rng(0)
    return sp.random(80, 80, 0.05, random_state=rng, format="csr", data_rvs=lambda n: rng.normal(size=n))


def as_torch_csr(matrix):
    return torch.from_numpy(matrix.toarray()).to_sparse_csr()


@pytest.mark.parametrize(
    "form", [sp.csr_matrix, sp.coo_array, lambda m: m.toarray(), lambda m: m.toarray() != 0, lambda m:
    torch.from_numpy(m.toarray()), lambda m: torch.from_numpy(m.toarray()).to_sparse(), as_torch_csr, lambda m:
    m.toarray().tolist()],
)  # fmt: skip
def test_any_matrix_tells(form):
    matrix = random_matrix()
    dense = torch.from_numpy(matrix.toarray())
    problem = Problem(lambda t, u: torch.sin(u @ dense.T), sparsity=form(matrix))
    u, t = noise(2, 80), noise(2, 1)
    problem.check(t, u)
    flat, pattern, entries = by_colours(problem, (80,), t, u)
    torch.testing.assert_close(pattern.dense(entries), dense_jacobian(flat.drift, t, u))
    assert pattern.colours < 25


def test_a_matrix_on_a_grid():
    """It counts fields as they lie in memory, and need not tell of the law."""
    told = Stencil(coupled=False).matrix((8, 9, 2))
    problem = Problem(law, operator=lambda u: spread(u, "neumann"), sparsity=told)
    u, t = noise(2, 8 * 9 * 2), noise(2, 1)
    problem.check(t, u.view(2, 8, 9, 2))
    flat, pattern, entries = by_colours(problem, (8, 9, 2), t, u)
    torch.testing.assert_close(pattern.dense(entries), dense_jacobian(flat.drift, t, u))
    assert pattern.colours == 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("operator", "boundary", "told", "message"),
    [
        (spread, "periodic", Stencil(periodic=(True, False)), r"(\(\d, 0\).*\(\d, 5\))|(\(\d, 5\).*\(\d, 0\)), but it"),
        (mixed, "neumann", Stencil(), r"field \d at point \(\d, \d\) does not depend on field \d at point \(\d, \d\)"),
        (mixed, "neumann", Stencil(corners=True, coupled=False), "(field 0.*field 1)|(field 1.*field 0) at"),
        (spread, "neumann", Stencil((1, 0)), "sparsity says that the rate of field . at point"),
    ],
)
def test_a_wrong_stencil_is_refused(operator, boundary, told, message, dtype):
    problem = Problem(law, operator=lambda u: operator(u, boundary), sparsity=told)
    with pytest.raises(ValueError, match=message):
        problem.check(torch.zeros(2, 1, dtype=dtype), noise(2, 7, 6, 2, dtype=dtype) - 0.5)


def test_a_single_wrong_entry_is_named():
    """Also one far smaller than others, and at a state where nothing depends on anything."""
    matrix = random_matrix().tolil()
    matrix[17, 40] = 1.0
    dense = torch.from_numpy(matrix.toarray())
    dense[:10] *= 1e6
    dense[17, 40] = 1e-3
    matrix[17, 40] = 0.0
    problem = Problem(lambda t, u: (u**2) @ dense.T, sparsity=matrix)
    for u in (noise(2, 80), torch.zeros(1, 80).double()):
        with pytest.raises(ValueError, match="the rate of component 17 does not depend on component 40, but it does"):
            problem.check(torch.zeros(len(u), 1).double(), u)


def test_a_pattern_holds_where_the_law_ends():
    """Beside the state it is not defined."""
    problem = Problem(lambda t, u: -torch.sqrt(1 - u) + 1, sparsity=np.eye(70))
    problem.check(torch.zeros(1, 1), torch.full((1, 70), 0.9999))


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (np.ones((3, 4)), r"must be a Stencil, or a square matrix.*got the shape \(3, 4\)"),
        (np.ones(4), r"got the shape \(4,\)"),
        ("banded", "must be a Stencil.*got 'banded'"),
        (Stencil, "must be a Stencil.*got <class"),
        (3, "must be a Stencil.*got 3"),
    ],
)
def test_other_things_are_refused(told, message):
    with pytest.raises(ValueError, match=message):
        Problem(lambda t, u: -u, sparsity=told)


def test_patterns_of_another_size_are_refused():
    with pytest.raises(ValueError, match="sparsity is for 70 components, but the state has 80 components"):
        Problem(lambda t, u: -u, sparsity=np.eye(70)).check(torch.zeros(1, 1), torch.zeros(1, 80))
    problem = Problem(None, operator=lambda u: -u, sparsity=np.eye(70))
    with pytest.raises(ValueError, match=r"but the state has the shape \(6, 7, 2\), 84 numbers"):
        problem.check(torch.zeros(1, 1), torch.zeros(1, 6, 7, 2))
    problem = Problem(None, operator=lambda u: -u, sparsity=Stencil((1, 1)))
    with pytest.raises(ValueError, match=r"sparsity has reach=\(1, 1\), but the grid is \(6,\)"):
        problem.check(torch.zeros(1, 1), torch.zeros(1, 6, 2))


@pytest.mark.parametrize("wrong", [{"reach": -1}, {"reach": 1.5}, {"reach": ()}, {"periodic": 1}, {"periodic": ()}])
def test_stencils_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        Stencil(**wrong)


def test_a_stencil_tells_the_number_of_axes():
    """Of which functions say nothing: three fields on a line, or one in a plane."""
    operator = lambda u: -u  # noqa: E731
    assert Problem(None, operator=operator, sparsity=Stencil()).state_ndim is None
    assert Problem(None, operator=operator, sparsity=Stencil((1,))).state_ndim == 2
    assert Problem(None, operator=operator, sparsity=Stencil(periodic=(True, False))).state_ndim == 3
    with pytest.raises(ValueError, match="disagree on the number of axes"):
        Stencil((1,), periodic=(True, False))


def test_the_example():
    result = doctest.testmod(sparsity)
    assert result.attempted > 0
    assert result.failed == 0


def test_a_row_that_depends_on_everything_is_refused_where_it_is_hopeless():
    full = sp.csr_matrix(np.ones((1, 20_000)))
    matrix = sp.vstack([full, sp.csr_matrix((19_999, 20_000))])
    with pytest.raises(ValueError, match="rows of up to 20000 entries"):
        pattern_of(Problem(None, sparsity=matrix).sparsity, (20_000,))


def test_rows_of_different_lengths_are_no_matrix():
    with pytest.raises(ValueError, match="sparsity must be a Stencil, or a square matrix"):
        Problem(lambda t, u: -u, sparsity=[[1.0, 0.0], [1.0]])


def test_operators_without_forward_derivatives_are_told_what_to_do():
    def by_numpy(u):
        return torch.from_numpy(np.gradient(u.numpy(), axis=1))

    problem = Problem(None, operator=by_numpy, sparsity=Stencil())
    with pytest.raises(ValueError, match=r"by torch's automatic differentiation, which failed.*solver='rock2'"):
        problem.check(torch.zeros(1, 1).double(), torch.rand(1, 100, 1).double(), None)


def test_the_last_path_of_a_batch_is_looked_at_too():
    def f(t, u):
        return -u + torch.where(t > 0.5, u.roll(1, 1), 0.0)

    problem, u = Problem(f, sparsity=np.eye(8)), torch.rand(9, 8).double()
    late = torch.zeros(9, 1).double()
    late[8] = 1.0
    problem.check(torch.zeros(9, 1).double(), u, None)
    with pytest.raises(ValueError, match="does not depend on component"):
        problem.check(late, u, None)
