"""Every proper loss is smallest at the law of the data, to within its statistical error; squared errors are not.

The data are exact Ornstein-Uhlenbeck paths. Each parameter is profiled around its true value with common random
numbers: the minimum of a parabola through three values, and its standard error over independent series or data sets.
"""

import math

import pytest
import torch

from skneuralde.inference import Curves, InputPath, LocalLinearisation, Model, SolverSettings
from skneuralde.losses import (
    CurveData,
    CurveObjective,
    MomentMatching,
    MomentObjective,
    NegativeLogLikelihood,
    PairedEnergy,
    PathSquaredError,
    RankedProbability,
    SnapshotData,
    SnapshotEnergy,
    SnapshotObjective,
    TransitionData,
    TransitionObjective,
)
from skneuralde.problems import Problem
from skneuralde.solvers import get_solver
from tests.learnable_equations import Level, OrnsteinUhlenbeck, checked, column, direct, no_inputs

TRUTH = {"rate": 0.8, "level": 1.5, "volatility": 0.6}
TIMES = (0.0, 0.5, 1.0, 2.0)
#: Steps of strong order 1.5 whose bias is far below the statistical error.
SRA = SolverSettings(get_solver("sosra"), None, torch.tensor(1e-6).double(), 0.25, 100_000, 0.25)


def model(**changed):
    value = {**TRUTH, **changed}
    drift = OrnsteinUhlenbeck(value["rate"], value["level"])
    fresh = Model(checked(Problem(drift, Level(value["volatility"]), noise="additive"), dim=1))
    fresh.propagator = LocalLinearisation()
    return fresh


def simulate(n, times=TIMES, seed=0, spread=0.4):
    """Exact paths, ``(n, n_times)``, that start around zero."""
    generator = torch.Generator().manual_seed(seed)
    rate, level, volatility = TRUTH.values()
    paths = [spread * torch.randn(n, generator=generator, dtype=torch.float64)]
    for gap in torch.tensor(times, dtype=torch.float64).diff():
        decay = torch.exp(-rate * gap)
        std = volatility * ((1 - decay**2) / (2 * rate)).sqrt()
        paths.append(level + decay * (paths[-1] - level) + std * torch.randn(n, generator=generator).double())
    return torch.stack(paths, 1)


def curves(n, times=TIMES, first=0):
    """Curves of n series at the same times, whose noise is keyed from ``first`` on."""
    inputs = InputPath(no_inputs(n), column()[None].repeat(n, 1), torch.zeros(n, 0, 0), "next")
    return Curves(torch.tensor(times, dtype=torch.float64).repeat(n, 1), inputs, torch.arange(first, first + n))


def bound(kind, data, *, weight=None, n_paths=16, first=0, settings=SRA, times=TIMES, **options):
    """The loss of series that start at their first value."""
    targets = data[..., None].clone()
    targets[:, 0] = math.nan
    weight = torch.ones_like(data) if weight is None else weight
    start = data[:, :1]
    options = {
        "start": lambda model, items: start[items],
        "settings": settings,
        "n_paths": lambda epoch: n_paths,
        **options,
    }
    objective = MomentObjective if issubclass(kind, MomentMatching) else CurveObjective
    given = {"curves": curves(len(data), times, first), "targets": targets, "row_weight": weight, "scale": column(1.0)}
    return objective(kind(), CurveData(**given, **options))


def transitions(data):
    """The likelihood of all transitions of the data."""
    start, stop = data[:, :-1].reshape(-1, 1), data[:, 1:].reshape(-1, 1)
    lengths = torch.tensor(TIMES, dtype=torch.float64).diff().repeat(len(data))
    weight = torch.ones(len(stop)).double()
    given = TransitionData(transitions=direct(start, lengths), targets=stop, weight=weight, calibrate=None)
    return TransitionObjective(NegativeLogLikelihood(), given)


@torch.no_grad()
def profile(loss, name, step, seed=1):
    """Values of all items at the true parameter less a step, at it, and at it plus a step."""
    return [
        loss.values(model(**{name: TRUTH[name] + move}), loss.items, seed=seed).double() for move in (-step, 0.0, step)
    ]


def minimum(values, step):
    """Minimum of a parabola, relative to the middle, and its standard error over the items."""
    slope, curvature = (values[2] - values[0]) / (2 * step), (values[2] - 2 * values[1] + values[0]).mean() / step**2
    assert curvature > 0
    return float(-slope.mean() / curvature), float(slope.std() / math.sqrt(len(slope)) / curvature)


def snapshots(n, *, seed=0, times=TIMES, n_paths=4, settings=SRA):
    """Population of n individuals at every time, all of them different ones."""
    data = simulate(n * len(times), times, seed)
    observed = torch.stack([data[k * n : (k + 1) * n, k] for k in range(len(times))])
    start = observed[0][:, None]
    given = SnapshotData(
        curves=curves(n, times, first=seed * n),
        start_weight=torch.ones(n).double(),
        targets=observed[1:].reshape(-1, 1),
        place=torch.arange(1, len(times)).repeat_interleave(n),
        weight=torch.ones((len(times) - 1) * n).double(),
        scale=column(1.0),
        start=lambda model, items: start[items],
        settings=settings,
        n_paths=lambda epoch: n_paths,
    )
    return SnapshotObjective(SnapshotEnergy(), given)


@pytest.mark.parametrize(("name", "step"), [("rate", 0.05), ("level", 0.05), ("volatility", 0.03)])
@pytest.mark.parametrize("loss", ["nll", "crps", "energy"])
def test_losses_of_series_are_smallest_at_the_truth(loss, name, step):
    data = simulate(4000)
    kind = {"crps": RankedProbability, "energy": PairedEnergy}.get(loss)
    values = profile(transitions(data) if kind is None else bound(kind, data, n_paths=12), name, step)
    place, error = minimum(values, step)
    assert abs(place) < 3.5 * error
    # There is the power to see a parameter that is off by a fifth of its value, or less.
    assert 5 * error < 0.2 * TRUTH[name]


@pytest.mark.parametrize(("name", "step"), [("rate", 0.05), ("level", 0.05), ("volatility", 0.03)])
@pytest.mark.parametrize("loss", ["moments", "snapshots"])
def test_losses_of_populations_are_smallest_at_the_truth(loss, name, step):
    """Times are few and hang together: the standard error is that over independent data sets."""
    places = []
    for seed in range(20):
        objective = (
            bound(MomentMatching, simulate(300, seed=seed), n_paths=12, first=300 * seed)
            if loss == "moments"
            else snapshots(150, seed=seed)
        )
        values = [float(v.mean()) for v in profile(objective, name, step)]
        curvature = values[2] - 2 * values[1] + values[0]
        assert curvature > 0
        places.append(0.5 * step * (values[0] - values[2]) / curvature)
    places = torch.tensor(places)
    error = float(places.std()) / math.sqrt(len(places))
    assert abs(float(places.mean())) < 3.5 * error
    assert 5 * error < 0.2 * TRUTH[name]


def test_squared_errors_of_paths_lose_the_noise():
    """The known collapse: the variance of the paths adds to the loss, whatever the data's own is."""
    loss = bound(PathSquaredError, simulate(2000), n_paths=8)
    sizes = [1e-6, 0.15, 0.3, 0.45, 0.6, 0.75]
    with torch.no_grad():
        values = [float(loss.values(model(volatility=v), loss.items, seed=1).mean()) for v in sizes]
    assert values == sorted(values)
    # At the truth it is twice what it is without noise, which is the variance of the data.
    assert values[4] == pytest.approx(2 * values[0], rel=0.05)
    # A proper score of the same paths is smallest at the truth.
    proper = bound(RankedProbability, simulate(2000), n_paths=8)
    with torch.no_grad():
        scores = [float(proper.values(model(volatility=v), proper.items, seed=1).mean()) for v in sizes]
    assert min(scores) == scores[4]
