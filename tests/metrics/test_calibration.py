"""Places of observations among samples are uniform for the right forecast, and for no other."""

import numpy as np
import pytest
from scipy.stats import kstest

from skneuralde.metrics import probability_integral_transform


@pytest.mark.parametrize("n_samples", [1, 3, 50])
@pytest.mark.parametrize("draw", [np.random.Generator.standard_normal, lambda rng, size: rng.poisson(2.0, size)])
def test_uniform_for_the_right_distribution_with_ties_and_few_samples(n_samples, draw):
    rng = np.random.default_rng(0)
    y, samples = draw(rng, 4000), draw(rng, (n_samples, 4000))
    place = probability_integral_transform(y, samples, random_state=1)
    assert kstest(place, "uniform").pvalue > 0.01
    assert ((place > 0) & (place < 1)).all()


@pytest.mark.parametrize(("change", "middle"), [(lambda s: s / 2, 0.35), (lambda s: 2 * s, 0.65)])
def test_narrow_forecasts_pile_up_at_the_ends_and_wide_ones_in_the_middle(change, middle):
    rng = np.random.default_rng(2)
    place = probability_integral_transform(rng.normal(size=2000), change(rng.normal(size=(50, 2000))), random_state=0)
    share = np.mean(np.abs(place - 0.5) < 0.25)
    assert share < middle if middle < 0.5 else share > middle


def test_one_step_forecasts_of_the_true_equation_are_uniform_and_of_another_are_not(walk_model):
    rng = np.random.default_rng(3)
    t, y = np.arange(600.0)[:, None], 0.3 * rng.normal(size=600).cumsum()
    p = {}
    for volatility in (0.3, 0.15):
        samples = walk_model(volatility).fit(t, y).sample(t[1:], 100, random_state=0)
        p[volatility] = kstest(probability_integral_transform(y[1:], samples, random_state=0), "uniform").pvalue
    assert p[0.3] > 0.01
    assert p[0.15] < 1e-6


def test_shape_seed_and_unobserved_entries():
    rng = np.random.default_rng(4)
    y, samples = rng.normal(size=(5, 2)), rng.normal(size=(9, 5, 2))
    y[3, 1] = np.nan
    place = probability_integral_transform(y, samples, random_state=0)
    assert place.shape == (5, 2)
    assert np.argwhere(np.isnan(place)).tolist() == [[3, 1]]
    np.testing.assert_array_equal(place, probability_integral_transform(y, samples, random_state=0))
    assert probability_integral_transform(y[:, 0], samples[..., 0]).shape == (5,)
    with pytest.raises(ValueError, match="samples has shape"):
        probability_integral_transform(y, samples[..., 0])
