"""Deviations that are looked up are those of the noise itself."""

import pytest
import torch

from skneuralde.noise import Brownian, DeviationTable, deviation_table


def brownian(n_paths, dim, *, sign=False, cells=False):
    path = torch.arange(n_paths)
    cell = 1.0 + 0.25 * path.double() if cells else 0.7
    signs = 1.0 - 2.0 * (path % 2) if sign else None
    return Brownian(3, path, torch.zeros_like(path), dim, cell=cell, sign=signs)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("options", [{}, {"sign": True}, {"cells": True}])
@pytest.mark.parametrize("most", [2**22, 2**10])
def test_the_values_of_the_noise(monkeypatch, shared, options, most):
    monkeypatch.setattr(deviation_table, "_MAX_KEPT", most)  # also with a window of few times
    n, generator = 40, torch.Generator().manual_seed(0)
    noise = brownian(n, 2, **options)
    times = torch.rand(1 if shared else n, 9, generator=generator, dtype=torch.float64).mul_(3.0).sort(1).values
    times[:, 4] = 1.375  # on a node
    times = torch.cat([times.sort(1).values, torch.full_like(times[:, :1], torch.inf)], 1)
    table = DeviationTable(noise, times)
    for column in range(9):
        rows = torch.randperm(n, generator=generator)[:25]
        time = times.expand(n, -1)[rows, column].clone()
        time[::5] = torch.rand(5, generator=generator, dtype=torch.float64)  # at other times, too
        level = torch.randint(0, 20, (25,), generator=generator)
        expected = noise.select(rows).deviation(level, time)
        for found, value in zip(table.at(rows, level, time), expected, strict=True):
            assert torch.equal(found, value)


def test_intervals_come_out_the_same():
    noise = brownian(30, 3)
    stops = torch.tensor([[0.1, 0.15, 0.5, 0.9, torch.inf]], dtype=torch.float64)
    table, rows = DeviationTable(noise, stops), torch.arange(30)
    begin, end = (
        torch.tensor(x, dtype=torch.float64).repeat(6)
        for x in ([0.1, 0.15, 0.5, 0.125, 0.25], [0.15, 0.5, 0.9, 0.15, 0.5])
    )
    found = noise.over(begin, end, deviations=lambda some, *place: table.at_ends(rows[some], *place))
    for one, other in zip(found, noise.over(begin, end), strict=True):
        assert torch.equal(one, other)
