import torch

from skneuralde.noise import PoissonProcesses


def poisson(n, seed=0, first=0):
    return PoissonProcesses(seed, torch.arange(first, first + n), torch.zeros(n, dtype=torch.int64), 2)


def horizon(n, length):
    return torch.full((n, 1), length, dtype=torch.float64)


def test_counts_are_those_of_independent_poisson_processes():
    n, length = 20_000, 3.0
    counts = torch.stack([poisson(n).arrivals(k, horizon(n, length)).isfinite().sum(1).double() for k in (0, 1)])
    assert (counts.mean(1) - length).abs().max() < 4 * (length / n) ** 0.5
    assert (counts.var(1) - length).abs().max() < 4 * ((length + 2 * length**2) / n) ** 0.5
    assert torch.corrcoef(counts)[0, 1].abs() < 4 / n**0.5


def test_arrivals_depend_on_keys_alone():
    many = poisson(50).arrivals(1, horizon(50, 30.0))
    few = poisson(3, first=7).arrivals(1, horizon(3, 3.0))
    part = many[7:10, : few.shape[1]]
    assert torch.equal(torch.where(part <= 3.0, part, torch.inf), few)
    assert not torch.equal(poisson(50, seed=1).arrivals(1, horizon(50, 30.0))[:, :5], many[:, :5])


def test_marks_are_standard_normal():
    n = 20_000
    z = poisson(n).normals(0, torch.arange(n), torch.zeros(n, dtype=torch.int64), 2)
    assert z.mean(0).abs().max() < 4 / n**0.5
    assert (z.var(0) - 1).abs().max() < 4 * (2 / n) ** 0.5
