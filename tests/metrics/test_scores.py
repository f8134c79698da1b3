"""Scores against closed forms, brute force and another package."""

import numpy as np
import pandas as pd
import pytest
import scoringrules
from scipy.stats import norm

from skneuralde.metrics import crps, energy_score, interval_coverage


@pytest.fixture
def forecast():
    """Observations (rows, outputs) and forty samples of them."""
    rng = np.random.default_rng(4)
    return rng.normal(size=(7, 3)), rng.normal(scale=2.0, size=(40, 7, 3))


def gaussian_crps(z):
    return z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)


@pytest.mark.parametrize("n_samples", [2, 5, 100])
def test_fair_crps_of_gaussian_samples_is_unbiased_for_any_number_of_them(n_samples):
    rng = np.random.default_rng(0)
    y = np.full(20_000, 0.7)
    scores = [crps(part, rng.normal(size=(n_samples, len(part)))) for part in np.split(y, 20)]
    error = np.std(scores, ddof=1) / np.sqrt(20)
    assert abs(np.mean(scores) - gaussian_crps(0.7)) < 4 * error
    assert error < 0.01


def test_quantiles_as_samples_give_the_closed_form():
    samples = norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None]
    for y in (-2.0, 0.0, 0.7):
        assert crps([y], samples, fair=False) == pytest.approx(gaussian_crps(y), abs=1e-4)


@pytest.mark.parametrize(("fair", "estimator"), [(True, "fair"), (False, "nrg")])
def test_both_scores_agree_with_another_package(forecast, fair, estimator):
    y, samples = forecast
    options = {"m_axis": 0, "estimator": estimator, "backend": "numpy"}
    expected = scoringrules.crps_ensemble(y, samples, **options).mean(axis=0)
    np.testing.assert_allclose(crps(y, samples, multioutput="raw_values", fair=fair), expected, rtol=1e-12)
    expected = scoringrules.es_ensemble(y, samples, **options).mean()
    assert energy_score(y, samples, fair=fair) == pytest.approx(expected, rel=1e-12)


def test_the_biased_score_exceeds_the_fair_one_by_the_mean_distance_of_pairs(forecast):
    y, samples = forecast
    distance = np.abs(samples[:, None, :, 0] - samples[None, :, :, 0]).sum() / (40 * 39 * 7)
    excess = crps(y[:, 0], samples[..., 0], fair=False) - crps(y[:, 0], samples[..., 0])
    assert excess == pytest.approx(distance / (2 * 40), rel=1e-12)


def test_energy_score_of_one_output_is_the_crps(forecast):
    y, samples = forecast[0][:, 0], forecast[1][..., 0]
    for fair in (True, False):
        assert energy_score(y, samples, fair=fair) == pytest.approx(crps(y, samples, fair=fair), rel=1e-12)


def test_energy_score_does_not_change_under_rotation_and_sees_dependence():
    rng = np.random.default_rng(3)
    root = np.linalg.cholesky([[1.0, 0.9], [0.9, 1.0]])
    y, together = rng.normal(size=(2000, 2)) @ root.T, rng.normal(size=(60, 2000, 2)) @ root.T
    apart = np.stack([together[..., 0], rng.permuted(together[..., 1], axis=0)], axis=-1)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert energy_score(y @ turn.T, together @ turn.T) == pytest.approx(energy_score(y, together), rel=1e-12)
    assert crps(y, together) == pytest.approx(crps(y, apart), rel=1e-12)
    assert energy_score(y, together) < 0.99 * energy_score(y, apart)


@pytest.mark.parametrize("score", [crps, energy_score])
def test_the_true_distribution_scores_best(score):
    rng = np.random.default_rng(5)
    y, draws = rng.normal(size=4000), rng.normal(size=(50, 4000))
    best = score(y, draws)
    assert best < score(y, 0.6 * draws)
    assert best < score(y, 1.6 * draws)
    assert best < score(y, draws + 0.4)


@pytest.mark.parametrize("score", [crps, energy_score])
def test_scores_have_the_units_of_y_and_no_origin(score, forecast):
    y, samples = forecast
    assert score(1e3 * y - 1e6, 1e3 * samples - 1e6) == pytest.approx(1e3 * score(y, samples), rel=1e-6)


def test_a_certain_forecast_scores_its_absolute_error():
    assert crps([1.0, 2.0], np.array([[1.0, 5.0]] * 4)) == pytest.approx(1.5)
    assert crps([1.0, 2.0], np.array([[1.0, 5.0]]), fair=False) == pytest.approx(1.5)


def test_unobserved_entries_do_not_count(forecast):
    y, samples = forecast
    y[0, 0] = y[2] = np.nan
    by_output = [crps(y[seen, k], samples[:, seen, k]) for k in range(3) for seen in [~np.isnan(y[:, k])]]
    np.testing.assert_allclose(crps(y, samples, multioutput="raw_values"), by_output)
    assert crps(y, samples) == pytest.approx(np.mean(by_output))


def test_energy_score_of_a_partly_observed_row_uses_what_was_observed(forecast):
    y, samples = forecast
    y[0, 1:] = y[1, 0] = y[2] = np.nan
    rows = [
        energy_score(y[:1, 0], samples[:, :1, 0]),
        energy_score(y[1:2, 1:], samples[:, 1:2, 1:]),
        *(energy_score(y[i : i + 1], samples[:, i : i + 1]) for i in range(3, 7)),
    ]
    assert energy_score(y, samples) == pytest.approx(np.mean(rows))


@pytest.mark.parametrize("score", [crps, energy_score])
def test_a_weight_of_two_is_a_row_twice_and_of_zero_is_none(score, forecast):
    y, samples = forecast
    twice = [0, 1, 1, 3, 4, 5, 6]
    weight = [1, 2, 0, 1, 1, 1, 1]
    assert score(y, samples, sample_weight=weight) == pytest.approx(score(y[twice], samples[:, twice]))


def test_outputs_are_combined_as_in_scikit_learn(forecast):
    y, samples = forecast
    raw = crps(y, samples, multioutput="raw_values")
    assert crps(y, samples) == pytest.approx(raw.mean())
    assert crps(y, samples, multioutput=[3, 0, 1]) == pytest.approx((3 * raw[0] + raw[2]) / 4)
    y[:, 1] = np.nan
    assert np.isnan(crps(y, samples, multioutput="raw_values")).tolist() == [False, True, False]
    assert crps(y, samples) == pytest.approx((raw[0] + raw[2]) / 2)
    assert crps(y, samples, multioutput=[1, 9, 1]) == pytest.approx((raw[0] + raw[2]) / 2)


def test_pandas_and_columns_are_read(forecast):
    y, samples = forecast
    expected = crps(y[:, 0], samples[..., 0])
    assert crps(pd.Series(y[:, 0]), samples[..., 0]) == expected
    assert crps(y[:, :1], samples[..., 0]) == expected
    assert crps(y[:, 0], samples[..., :1]) == expected
    assert crps(pd.DataFrame(y), samples) == crps(y, samples)


@pytest.mark.parametrize("score", [crps, energy_score])
def test_what_cannot_be_scored_says_why(score, forecast):
    y, samples = forecast
    with pytest.raises(ValueError, match=r"samples has shape \(40, 7\), but y_true has 7 rows and 3 outputs"):
        score(y, samples[..., 0])
    with pytest.raises(ValueError, match=r"expected \(n_samples, 7\). The samples are the first axis: give samples.T"):
        score(y[:, 0], samples[..., 0].T)
    with pytest.raises(ValueError, match="at least two samples, got 1"):
        score(y, samples[:1])
    with pytest.raises(ValueError, match="samples contains NaN"):
        score(y, np.where(samples > 0, np.nan, samples))
    with pytest.raises(ValueError, match="y_true contains infinity"):
        score(np.full_like(y, np.inf), samples)
    with pytest.raises(ValueError, match="nothing to score"):
        score(np.full_like(y, np.nan), samples)
    with pytest.raises(ValueError, match="nothing to score"):
        score(np.where(np.arange(7)[:, None] == 2, y, np.nan), samples, sample_weight=np.arange(7) != 2)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        score(y, samples, sample_weight=np.ones(6))


def test_what_is_no_way_to_combine_outputs_says_so(forecast):
    with pytest.raises(ValueError, match="multioutput must be 'raw_values'"):
        crps(*forecast, multioutput="mean")
    with pytest.raises(ValueError, match="one weight each"):
        crps(*forecast, multioutput=[1, 1])
    with pytest.raises(ValueError, match="not negative"):
        crps(*forecast, multioutput=[1, -1, 3])


def test_coverage_counts_both_ends_and_what_was_observed():
    y = np.array([[0.0, 1.0], [1.0, np.nan], [2.0, 7.0], [3.0, 1.0]])
    lower, upper = np.full((4, 2), 1.0), np.full((4, 2), 2.0)
    np.testing.assert_allclose(interval_coverage(y, lower, upper, multioutput="raw_values"), [1 / 2, 2 / 3])
    assert interval_coverage(y, lower, upper) == pytest.approx(7 / 12)
    assert interval_coverage(y[:, 0], lower[:, 0], upper[:, 0], sample_weight=[0, 1, 2, 1]) == pytest.approx(3 / 4)


def test_coverage_refuses_intervals_that_are_none():
    with pytest.raises(ValueError, match="lower lies above upper in row 1"):
        interval_coverage([0.0, 0.0], [0.0, 1.0], [0.0, 0.5])
    with pytest.raises(ValueError, match="lower has 3 rows, but y_true has 2 rows"):
        interval_coverage([0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="upper contains NaN"):
        interval_coverage([0.0, 0.0], [0.0, 0.0], [1.0, np.nan])
