"""Splits by moments of time against brute force, in scikit-learn's searches, and errors."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score

from skneuralde import to_rows
from skneuralde.metrics import PanelTimeSeriesSplit, neg_crps_scorer


def parts(splitter, X, y=None):
    return [(train.tolist(), test.tolist()) for train, test in splitter.split(X, y)]


@pytest.mark.parametrize("n_splits", [1, 3, 7])
def test_one_sorted_series_is_split_as_by_scikit_learn(n_splits):
    X = np.cumsum(np.random.default_rng(0).uniform(0.1, 2.0, size=25))[:, None]
    ours = parts(PanelTimeSeriesSplit(n_splits), X)
    assert ours == (parts(TimeSeriesSplit(n_splits), X) if n_splits > 1 else [(list(range(13)), list(range(13, 25)))])


def test_every_series_is_cut_at_the_same_days_whatever_the_order_of_rows(daily):
    X, y = daily
    days = X.index.get_level_values("time")
    last = days.max()
    week, gap, reach = pd.Timedelta("7D"), pd.Timedelta("2D"), pd.Timedelta("10D")
    splits = list(PanelTimeSeriesSplit(3, test_size="7D", gap="2D", max_train_size="10D").split(X, y))
    assert len(splits) == 3
    for k, (train, test) in enumerate(splits):
        cut = last - (3 - k) * week
        assert test.tolist() == [i for i, day in enumerate(days) if cut < day <= cut + week]
        assert train.tolist() == [i for i, day in enumerate(days) if cut - gap - reach < day <= cut - gap]
        assert days[train].max() < days[test].min()
        assert days[test].nunique() == 7


def test_parts_have_equally_many_distinct_times_by_default(daily):
    X, _ = daily
    days = X.index.get_level_values("time")
    splits = list(PanelTimeSeriesSplit(4).split(X))
    assert [days[test].nunique() for _, test in splits] == [8, 8, 8, 8]
    assert [days[train].nunique() for train, _ in splits] == [8, 16, 24, 32]
    for train, test in splits:
        assert days[train].max() < days[test].min()
        assert len(train) == (days < days[test].min()).sum()


def test_index_columns_and_arrays_give_the_same_splits(daily):
    X, _ = daily
    splitter = {"test_size": "6D", "gap": "1D"}
    expected = parts(PanelTimeSeriesSplit(3, **splitter), X)
    columns = X.reset_index()
    assert parts(PanelTimeSeriesSplit(3, **splitter, series="series"), columns) == expected
    assert parts(PanelTimeSeriesSplit(3, **splitter, time="time", series=0), columns) == expected
    utc = columns.assign(time=columns["time"].dt.tz_convert("UTC").astype("datetime64[s, UTC]"))
    assert parts(PanelTimeSeriesSplit(3, **splitter, series="series"), utc) == expected
    start = columns["time"].min()
    numbers = np.column_stack([columns["series"].map(ord), (columns["time"] - start) / pd.Timedelta("1D")])
    assert parts(PanelTimeSeriesSplit(3, test_size=6, gap=1, series=0), numbers) == expected
    assert parts(PanelTimeSeriesSplit(3, **splitter), X.index.get_level_values("time")) == expected


def test_rows_at_a_cut_point_are_not_moved_by_rounding():
    t = np.arange(1, 71) * 0.1
    for train, test in PanelTimeSeriesSplit(6, test_size=0.7, max_train_size=0.9).split(t[:, None]):
        assert (len(train), len(test)) == (9, 7)


def test_irregular_and_repeated_times_are_split_by_time_not_by_rows():
    t = np.array([5.0, 0.0, 0.0, 0.0, 1.0, 9.0, 2.0])
    assert parts(PanelTimeSeriesSplit(1, test_size=5), t[:, None]) == [([1, 2, 3, 4, 6], [0, 5])]


def test_too_few_times_parts_without_rows_and_lengths_that_are_none_are_refused(daily):
    X, _ = daily
    t = np.array([0.0, 0.0, 1.0, 1.0, 8.0])[:, None]
    with pytest.raises(ValueError, match="n_splits=3 needs at least 4 distinct times, but X has 3"):
        parts(PanelTimeSeriesSplit(3), t)
    with pytest.raises(ValueError, match=r"training part of split 0 has no rows \(cut at -1.0\)"):
        parts(PanelTimeSeriesSplit(1, test_size=9), t)
    with pytest.raises(ValueError, match="test part of split 0 has no rows"):
        parts(PanelTimeSeriesSplit(2, test_size=2), t)
    with pytest.raises(ValueError, match="training part of split 0 has no rows"):
        parts(PanelTimeSeriesSplit(2, test_size=1, max_train_size=2), np.array([[0.0], [1], [5], [6], [9], [10]]))
    with pytest.raises(ValueError, match="gap='1D' must be a positive number"):
        parts(PanelTimeSeriesSplit(2, gap="1D"), t)
    with pytest.raises(ValueError, match="test_size=7 must be a positive length of time such as 'D'"):
        parts(PanelTimeSeriesSplit(2, test_size=7), X)
    with pytest.raises(ValueError, match="max_train_size=-1 must be a positive number"):
        parts(PanelTimeSeriesSplit(2, max_train_size=-1), t)
    with pytest.raises(ValueError, match="n_splits must be a positive integer, got 0"):
        PanelTimeSeriesSplit(0).get_n_splits()
    with pytest.raises(ValueError, match=r"set_output\(transform='pandas'\)"):
        parts(PanelTimeSeriesSplit(2), X.to_numpy(), X["drive"].droplevel("series"))


def test_it_shows_its_parameters_and_survives_a_clone():
    splitter = PanelTimeSeriesSplit(2, test_size="7D", series="name")
    assert "test_size='7D'" in repr(clone(splitter, safe=False))
    assert splitter.get_n_splits() == 2


def test_grid_search_over_a_panel_with_dates(tiny, daily):
    X, y = daily
    cv = PanelTimeSeriesSplit(2, test_size="8D", gap="1D")
    search = GridSearchCV(tiny(), {"rtol": [1e-1, 1e-3]}, scoring=neg_crps_scorer, cv=cv, error_score="raise").fit(X, y)
    assert search.n_splits_ == 2
    assert (search.cv_results_["mean_test_score"] < 0).all()


def test_cross_validation_on_arrays_with_a_column_of_series(walk_model):
    frame, y = to_rows(np.random.default_rng(0).normal(size=(3, 20)).cumsum(axis=1), np.arange(20.0))
    X = frame.reset_index().to_numpy(dtype=float)
    cv = PanelTimeSeriesSplit(3, test_size=4, time=1, series=0)
    model = walk_model(1.0, time=1, series=0)
    scores = cross_val_score(model, X, y.to_numpy(), scoring=neg_crps_scorer, cv=cv, error_score="raise")
    assert scores.shape == (3,)
    assert (scores < 0).all()
