"""Bridges between snapshots against the equations that they solve."""

import math

import pytest
import torch

from skneuralde import Laplacian, Problem, solve
from skneuralde.inference.fields.bridges import PIECES, build_bridge, middles, pieces_between
from skneuralde.inference.fields.denoising import denoise

GRID = 24


def heat(diffusivity=0.3, boundary="neumann", law=None):
    return Problem(law, operator=Laplacian(diffusivity, 0.2, boundary, ndim=1))


def field(seed=0, fields=1):
    return torch.rand(2, GRID, fields, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_pieces_fill_the_interval():
    assert float(PIECES.diff().sum()) == pytest.approx(1.0)
    assert bool((middles(PIECES).diff() > 0).all())


def test_pieces_end_where_inputs_change():
    knots = torch.tensor([[0.5, -1.0, math.inf], [0.3, 1e-12, 1.0], [0.6, 0.2, 0.1]], dtype=torch.float64)
    ends = pieces_between(knots)
    assert ends.shape == (3, len(PIECES) + 3)
    assert bool((ends.diff() >= 0.0).all())
    for row, own in zip(ends, ([0.5], [0.3], [0.1, 0.2, 0.6]), strict=True):
        assert set(row.tolist()) == {*PIECES.tolist(), *own}


@pytest.mark.parametrize("boundary", ["neumann", "neumann_cell", "periodic", "dirichlet"])
@pytest.mark.parametrize("h", [1e-3, 0.3, 40.0])
def test_without_a_law_the_heat_equation_is_exact(boundary, h):
    problem = heat(boundary=boundary)
    drift = problem.flattened((GRID, 1)).drift
    u0 = field()
    u1 = problem.operator.diffusion.apply_function(u0, lambda z: torch.exp(h * z))
    bridge = build_bridge(drift, h, u0.flatten(1), u1.flatten(1))
    assert float(bridge.gap.abs().max()) < 1e-9
    for at, node in zip(middles(PIECES).tolist(), bridge.nodes, strict=True):
        exact = problem.operator.diffusion.apply_function(u0, lambda z, s=at * h: torch.exp(s * z))
        assert torch.allclose(node, exact.flatten(1), atol=1e-11)


@pytest.mark.parametrize("h", [1e-3, 0.3, 40.0])
def test_a_constant_forcing_is_found_as_the_gap(h):
    force = field(1)[:1, :, 0]
    problem = heat(law=force[0, :, None].numpy())
    drift = problem.flattened((GRID, 1)).drift
    u0 = field()
    moved = problem.operator.diffusion.apply_function(u0, lambda z: torch.exp(h * z))
    pushed = problem.operator.diffusion.apply_function(
        force[..., None].expand(2, -1, -1), lambda z: h * torch.where(z == 0, 1.0, torch.expm1(h * z) / (h * z))
    ).nan_to_num()
    u1 = (moved + pushed).flatten(1)
    bridge = build_bridge(drift, h, u0.flatten(1), u1)
    assert torch.allclose(bridge.gap, force.expand(2, -1), rtol=1e-7, atol=1e-9)
    # The balance of the means: change = D Lap mean + forcing.
    change = (u1 - u0.flatten(1)) / h
    balance = problem.operator.diffusion(bridge.mean[..., None])[..., 0] + bridge.gap
    assert torch.allclose(balance, change, rtol=1e-7, atol=1e-8)


def test_the_true_law_as_forcing_leaves_no_gap():
    """The pieces are of second order: the gap falls by four when the interval is halved, up to where it is small."""

    def law(u):
        return u * (1 - u)

    problem = heat(0.01, law=lambda t, u: law(u))
    drift = problem.flattened((GRID, 1)).drift
    gaps = []
    for h in (0.8, 0.4, 0.2):
        u0 = torch.exp(-((torch.arange(GRID) - 8.0) ** 2) / 10.0).double()[None, :, None]
        u1 = solve(problem, u0, [0.0, h], solver="dopri5", rtol=1e-10, atol=1e-12).ys[0, :, -1]
        start, stop = u0.flatten(1), u1.flatten(1)
        bridge = build_bridge(drift, h, start, stop)
        for _ in range(4):
            bridge = build_bridge(drift, h, start, stop, law(bridge.nodes))
        gaps.append(float(bridge.gap.square().mean().sqrt()))
    orders = [math.log2(gaps[i] / gaps[i + 1]) for i in range(2)]
    assert gaps[0] < 1e-3
    assert all(1.7 < order < 2.4 for order in orders)


def test_fields_that_do_not_diffuse_are_straight_lines():
    problem = Problem(None, operator=Laplacian([0.5, 0.0], ndim=1))
    drift = problem.flattened((GRID, 2)).drift
    start, stop = field(2, 2).flatten(1), field(3, 2).flatten(1)
    bridge = build_bridge(drift, 2.0, start, stop)
    for at, node in zip(middles(PIECES).tolist(), bridge.nodes, strict=True):
        still = torch.lerp(start, stop, at).view(2, GRID, 2)[..., 1]
        assert torch.allclose(node.view(2, GRID, 2)[..., 1], still)


def test_white_noise_is_filtered_and_a_smooth_field_is_not():
    problem = heat()
    drift = problem.flattened((128, 1)).drift
    x = torch.linspace(0, 1, 128, dtype=torch.float64)
    smooth = torch.stack([torch.cos(k * math.pi * x) + 0.3 * torch.cos(3 * math.pi * x) for k in (1, 2, 4)])
    noise = 0.05 * torch.randn(3, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(denoise(drift, smooth), smooth, atol=1e-4)
    error = (denoise(drift, smooth + noise) - smooth).square().mean().sqrt()
    assert float(error) < 0.4 * 0.05


def test_a_rough_field_without_noise_beside_smooth_ones_is_left_alone():
    problem = heat()
    drift = problem.flattened((64, 1)).drift
    rough = torch.rand(1, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.linspace(0, 1, 64, dtype=torch.float64)
    states = torch.cat([rough, torch.cos(math.pi * x).expand(4, -1)])
    assert torch.allclose(denoise(drift, states), states, atol=1e-6)


def test_a_rough_pattern_that_swings_is_no_noise():
    """Flat in space and alike in all snapshots, but not new in each: points that swing, each in a phase of its own."""
    drift = heat().flattened((64, 1)).drift
    phase = 2 * math.pi * torch.rand(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    states = torch.cos(2 * math.pi * torch.arange(21, dtype=torch.float64)[:, None] / 10 + phase)
    assert torch.allclose(denoise(drift, states), states)


def test_rough_starts_of_many_runs_that_come_to_rest_are_no_noise():
    """Flat and new from one snapshot to the next, but not in all of them: every other one is smooth."""
    drift = heat().flattened((64, 1)).drift
    rough = torch.randn(6, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    smooth = 1e-3 * torch.randn(6, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    states = torch.stack([rough, smooth], 1).flatten(0, 1)
    assert torch.allclose(denoise(drift, states), states)


def test_a_steep_spectrum_is_no_noise():
    """New in each snapshot and alike in all, but not flat: smooth fields that have nothing to do with each other."""
    drift = heat().flattened((64, 1)).drift
    waves = torch.cos(math.pi * torch.arange(64, dtype=torch.float64) * (torch.arange(64)[:, None] + 0.5) / 64)
    shares = torch.randn(12, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    states = (shares / (1.0 + torch.arange(64)) ** 3) @ waves.T
    assert torch.allclose(denoise(drift, states), states, rtol=1e-9, atol=1e-12)
