import dataclasses

import numpy as np
import pandas as pd
import pytest

from skneuralde.data import Roles, as_panel

DAYS = pd.date_range("2020-01-01", periods=6, freq="D")


def assert_same(one, other):
    for field in dataclasses.fields(one):
        if field.name != "rows":
            np.testing.assert_equal(getattr(one, field.name), getattr(other, field.name))


def long_frame(rng, n=40, n_series=4):
    """Irregular times on a coarse grid, so that some of them are there twice."""
    X = pd.DataFrame(
        {
            "id": rng.integers(0, n_series, n),
            "t": rng.integers(0, 12, n) / 4,
            "x": rng.normal(size=n),
        }
    )
    X["size"] = X["id"] * 2.0
    y = pd.DataFrame(rng.normal(size=(n, 2)), columns=["u", "v"])
    y[rng.uniform(size=y.shape) < 0.2] = np.nan
    return X, y


def in_words(X, y, weight):
    """The panel's values by pandas groupby, as an independent answer."""
    there = weight[:, None] * y.notna()
    sums = (y.fillna(0.0) * there).groupby([X["id"], X["t"]]).sum()
    counts = there.groupby([X["id"], X["t"]]).sum()
    return (sums / counts).sort_index()


def test_series_are_sorted_and_repeated_times_averaged(read):
    rng = np.random.default_rng(0)
    X, y = long_frame(rng)
    weight = rng.uniform(0.5, 2.0, len(X))
    panel = read(X, y, series="id", time="t", sample_weight=weight).panel
    expected = in_words(X, y, weight)
    labels, times = zip(*expected.index, strict=True)
    np.testing.assert_array_equal(panel.times, times)
    np.testing.assert_array_equal(np.array(panel.labels)[panel.series_of], labels)
    np.testing.assert_allclose(panel.values, expected.to_numpy(), rtol=1e-12)
    totals = pd.Series(weight).groupby([X["id"], X["t"]]).sum()
    np.testing.assert_allclose(panel.weight, totals.sort_index())
    np.testing.assert_array_equal(panel.context[:, 0], np.array(labels) * 2.0)
    np.testing.assert_array_equal(panel.lengths, np.bincount(labels))


def test_rows_lead_back_to_the_callers_order(read):
    X, y = long_frame(np.random.default_rng(1))
    panel = read(X, y, series="id", time="t").panel
    np.testing.assert_array_equal(panel.times[panel.rows], X["t"])
    np.testing.assert_array_equal(np.array(panel.labels)[panel.series_of[panel.rows]], X["id"])


def test_the_order_of_rows_does_not_matter(read):
    X, y = long_frame(np.random.default_rng(2))
    order = np.random.default_rng(3).permutation(len(X))
    here = read(X, y, series="id", time="t").panel
    there = read(X.iloc[order], y.iloc[order], series="id", time="t").panel
    np.testing.assert_allclose(there.values, here.values, rtol=1e-13)
    np.testing.assert_array_equal(there.times, here.times)
    np.testing.assert_array_equal(there.rows, here.rows[order])


def test_equal_repetitions_change_nothing(read):
    y = np.array([0.1, 0.2, 0.3])
    times = np.array([[0.0], [1.0], [2.0]])
    once = read(times, y).panel
    thrice = read(times.repeat(3, axis=0), y.repeat(3)).panel
    np.testing.assert_array_equal(thrice.values, once.values)
    np.testing.assert_array_equal(thrice.weight, 3 * once.weight)


def test_rows_without_weight_are_not_there(read):
    X, y = long_frame(np.random.default_rng(4))
    weight = np.random.default_rng(5).integers(0, 3, len(X))
    kept = weight > 0
    panel = read(X, y, series="id", time="t", sample_weight=weight).panel
    np.testing.assert_array_equal(panel.rows < 0, ~kept)
    alone = read(X[kept], y[kept], series="id", time="t", sample_weight=weight[kept]).panel
    assert_same(panel, alone)


def test_a_series_without_weight_is_not_there(read):
    X = pd.DataFrame({"id": ["a", "b", "a"], "t": [0.0, 0.0, 1.0]})
    panel = read(X, [1.0, 2.0, 3.0], series="id", time="t", sample_weight=[1, 0, 1]).panel
    assert panel.labels == ["a"]
    np.testing.assert_array_equal(panel.offsets, [0, 2])


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([0.0, 0.0, 0.0], "at least one non-zero"),
        ([1.0, -1.0, 1.0], "Negative values"),
        ([1.0, np.nan, 1.0], "NaN"),
        ([1.0, 1.0], "sample_weight.shape"),
        ([0.0, 1.0, 0.0], "nothing was observed"),
    ],
)
def test_weights_that_make_no_sense(read, weight, message):
    with pytest.raises(ValueError, match=message):
        read(DAYS[:3], [1.0, np.nan, 2.0], sample_weight=weight)


def test_a_sorted_series_is_not_copied(read):
    X = np.arange(5.0)[:, None]
    assert np.shares_memory(read(X, np.arange(5.0)).panel.times, X)


class TestMissingInputs:
    """NaN in controls and context."""

    def frame(self, x, size=1.0):
        return pd.DataFrame({"x": x, "size": size, "id": ["a", "a", "a", "b", "b", "b"]}, index=DAYS[[0, 1, 3] * 2])

    def test_controls_are_interpolated_in_time_within_their_series(self, read):
        X = self.frame([0.0, np.nan, 3.0, np.nan, 7.0, np.nan])
        shuffled = X.iloc[[4, 1, 5, 0, 3, 2]]
        panel = read(shuffled, np.arange(6.0), series="id", controls=["x"]).panel
        np.testing.assert_allclose(panel.controls[:, 0], [0.0, 1.0, 3.0, 7.0, 7.0, 7.0])

    def test_or_carried_forward_so_that_nothing_looks_ahead(self, read):
        X = self.frame([0.0, np.nan, 3.0, 7.0, np.nan, np.nan])
        here = read(X, np.arange(6.0), series="id", controls=["x"])
        panel = as_panel(here.rows, clock=here.clock, roles=here.roles, fill="previous")
        np.testing.assert_allclose(panel.controls[:, 0], [0.0, 0.0, 3.0, 7.0, 7.0, 7.0])

    def test_nothing_is_carried_backward(self, read):
        shuffled = self.frame([0.0, np.nan, 3.0, np.nan, 7.0, np.nan]).iloc[[4, 1, 5, 0, 3, 2]]
        here = read(shuffled, np.arange(6.0), series="id", controls=["x"])
        with pytest.raises(ValueError, match="'x' is missing in row 4, and series 'b' has no value of it before"):
            as_panel(here.rows, clock=here.clock, roles=here.roles, fill="previous")

    def test_a_series_without_any_value_of_a_control(self, read):
        with pytest.raises(ValueError, match="NaN: control 'x' has no value in series 'b'"):
            read(self.frame([0.0, 1.0, 2.0] + [np.nan] * 3), np.arange(6.0), series="id")

    def test_context_is_filled_within_its_series(self, read):
        X = self.frame(0.0, [np.nan, 5.0, np.nan, 6.0, 6.0, np.nan])
        panel = read(X, np.arange(6.0), series="id").panel
        np.testing.assert_array_equal(panel.context[:, 0], [5.0] * 3 + [6.0] * 3)

    def test_context_that_no_row_of_the_series_has(self, read):
        here = read(self.frame(0.0, [5.0] * 3 + [6.0] * 3), np.arange(6.0), series="id")
        with pytest.raises(ValueError, match="NaN: column 'size' has no value in series 'b'"):
            here.ask(self.frame(0.0, [5.0] * 3 + [np.nan] * 3))

    def test_context_that_varies(self, read):
        here = read(self.frame(0.0, [5.0] * 3 + [6.0] * 3), np.arange(6.0), series="id")
        with pytest.raises(ValueError, match=r"'size' varies within series 'a' \(from 4.0 to 5.0\).*controls="):
            here.ask(self.frame(0.0, [5.0, 4.0, 5.0] + [6.0] * 3))

    def test_a_table_has_nothing_to_fill_from(self, read):
        X = np.array([[2.0, 1.0], [1.0, np.nan], [0.0, 1.0]])
        with pytest.raises(ValueError, match="Input X contains NaN: column 1, first in row 1"):
            read(X, np.arange(3.0))
        with pytest.raises(ValueError, match="Input X contains NaN: column 1, first in row 1"):
            read(X, np.arange(3.0), initial_state=[1])

    def test_repeated_rows_of_a_control_are_averaged(self, read):
        X = pd.DataFrame({"x": [1.0, 3.0, np.nan, 5.0]}, index=DAYS[[0, 0, 0, 1]])
        np.testing.assert_array_equal(read(X, np.arange(4.0)).panel.controls[:, 0], [2.0, 5.0])


class TestTable:
    """Rows that are trajectories of their own."""

    X = np.array([[1.0, 0.0], [0.5, 2.0], [1.0, 0.0], [1.0, -0.0], [0.5, 2.0]])
    y = np.array([[1.0, np.nan], [3.0, 3.0], [1.0, np.nan], [1.0, np.nan], [4.0, 3.0]])

    def test_identical_rows_are_merged(self, read):
        panel = read(self.X, self.y).panel
        assert len(panel.times) == 3
        assert sorted(panel.weight) == [1.0, 1.0, 3.0]
        np.testing.assert_equal(panel.values[panel.rows], self.y)
        np.testing.assert_array_equal(panel.context[panel.rows], self.X[:, 1:])
        np.testing.assert_array_equal(panel.times[panel.rows], self.X[:, 0])
        np.testing.assert_array_equal(panel.lengths, 1)

    @pytest.mark.parametrize("decimals", [0, 1, 12])
    def test_weights_equal_repetition_and_order_does_not_matter(self, read, decimals):
        rng = np.random.default_rng(decimals)
        X, y = rng.normal(size=(60, 3)).round(decimals), rng.normal(size=60).round(decimals)
        weight = rng.integers(0, 4, 60)
        weighted = read(X, y, sample_weight=weight).panel
        order = rng.permutation(weight.sum())
        repeated = read(X.repeat(weight, axis=0)[order], y.repeat(weight)[order]).panel
        assert_same(weighted, repeated)

    def test_fractional_weights_add_up_in_the_same_order(self, read):
        X, y = np.ones((50, 2)), np.ones(50)
        weight = np.random.default_rng(0).uniform(size=50)
        here = read(X, y, sample_weight=weight).panel
        there = read(X, y, sample_weight=weight[::-1]).panel
        assert here.weight == there.weight

    def test_rows_that_are_asked_for_stay_as_they_are(self, read):
        panel = read(self.X, self.y).ask(self.X)
        np.testing.assert_array_equal(panel.rows, np.arange(5))
        np.testing.assert_array_equal(panel.times, self.X[:, 0])
        assert np.isnan(panel.values).all()
        assert panel.labels == [None] * 5

    def test_initial_states(self, read):
        X = np.column_stack([[1.0, 2.0, 1.0], np.eye(3)[:, :2], [7.0, 8.0, 9.0]])
        panel = read(X, np.ones((3, 2)), initial_state=[1, 2]).panel
        np.testing.assert_array_equal(panel.initial[panel.rows], X[:, 1:3])
        np.testing.assert_array_equal(panel.context[panel.rows], X[:, 3:])
        with pytest.raises(ValueError, match=r"2 column\(s\), but y has 1"):
            read(X, np.ones(3), initial_state=[1, 2])


def test_subset(read):
    X, y = long_frame(np.random.default_rng(6))
    panel = read(X, y, series="id", time="t").panel
    keep = (panel.series_of != 1) & (panel.times > 0.5)
    part = panel.subset(keep)
    assert part.labels == [0, 2, 3]
    np.testing.assert_array_equal(part.times, panel.times[keep])
    np.testing.assert_array_equal(np.array(part.labels)[part.series_of], np.array(panel.labels)[panel.series_of[keep]])
    np.testing.assert_array_equal(part.rows < 0, ~keep[panel.rows])
    np.testing.assert_array_equal(part.times[part.rows[part.rows >= 0]], X["t"][keep[panel.rows]])


def test_one_row(read):
    panel = read(DAYS[:1], [3.0]).panel
    assert (panel.n_series, panel.times.tolist(), panel.values.tolist()) == (1, [0.0], [[3.0]])


@pytest.mark.parametrize("make", [lambda X: X, lambda X: X.iloc[::-1], lambda X: X.sample(frac=1.0, random_state=0)])
def test_time_series_of_any_order_and_spacing(read, make):
    index = pd.DatetimeIndex(["2020-01-01", "2020-01-04", "2020-01-04 06:00", "2020-02-01"]).tz_localize("UTC")
    X = make(pd.DataFrame({"x": range(4)}, index=index))
    panel = read(X, X["x"] * 10.0).panel
    np.testing.assert_array_equal(panel.times, [0.0, 3.0, 3.25, 31.0])
    np.testing.assert_array_equal(panel.values[:, 0], [0, 10, 20, 30])


def test_huge_panels_are_quick(read):
    """10,000 series and a million rows; a loop over series or rows would take minutes."""
    n_series, n_times = 10_000, 100
    index = pd.MultiIndex.from_product([np.arange(n_series), np.arange(float(n_times))], names=["id", "t"])
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=len(index))}, index=index).sample(frac=1.0, random_state=0)
    here = read(X, np.ones(len(X)))
    assert here.panel.n_series == n_series
    np.testing.assert_array_equal(here.panel.controls[here.panel.rows, 0], X["x"])


def test_float32_in_float32_out_but_times_in_float64(read):
    X = pd.DataFrame({"x": np.ones(6, dtype=np.float32)}, index=DAYS[[0, 0, 1, 2, 3, 4]])
    panel = read(X, np.arange(6, dtype=np.float32)).panel
    assert panel.values.dtype == panel.controls.dtype == np.float32
    assert panel.times.dtype == panel.weight.dtype == np.float64


def test_huge_numbers_do_not_overflow_in_an_average(read):
    panel = read(DAYS[[0, 0, 1]], np.array([1e308, 1.2e308, -1e308])).panel
    np.testing.assert_allclose(panel.values[:, 0], [1.1e308, -1e308])


def test_roles_and_rows_are_reused_for_what_is_asked(read):
    X = pd.DataFrame({"x": np.arange(6.0)}, index=DAYS)
    here = read(X, np.arange(6.0))
    asked = here.ask(X.iloc[[5, 2, 2]])
    np.testing.assert_array_equal(asked.times[asked.rows], [5.0, 2.0, 2.0])
    assert isinstance(here.roles, Roles)
