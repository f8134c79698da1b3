import numpy as np
import pandas as pd

from skneuralde.data.timeline import complete, first_position, merge, previous, truncate


def rows(*triples):
    X = pd.DataFrame(
        {"x": [10.0 * t for _, t, _ in triples]}, index=pd.MultiIndex.from_tuples([(s, t) for s, t, _ in triples])
    )
    return X, np.array([v for *_, v in triples])


KEPT = rows(("a", 0.0, 1.0), ("a", 1.0, np.nan), ("a", 2.0, 3.0), ("b", 0.0, np.nan), ("b", 1.0, 5.0))


def test_which_rows_can_start_a_transition(read):
    panel = read(*KEPT).panel
    whole = complete(panel)
    np.testing.assert_array_equal(whole, [True, False, True, False, True])
    np.testing.assert_array_equal(previous(panel, whole), [-1, 0, 0, -1, -1])
    np.testing.assert_array_equal(first_position(panel, whole), [0, 4])


def test_merge_puts_questions_among_observations(read):
    here = read(*KEPT)
    X, _ = rows(("c", 9.0, 0.0), ("a", 1.5, 0.0), ("b", 1.0, 0.0))
    merged, positions = merge(here.panel, here.ask(X))
    assert merged.labels == ["a", "b", "c"]
    np.testing.assert_array_equal(merged.times, [0.0, 1.0, 1.5, 2.0, 0.0, 1.0, 9.0])
    np.testing.assert_array_equal(merged.values[:, 0], [1.0, np.nan, np.nan, 3.0, np.nan, 5.0, np.nan])
    np.testing.assert_array_equal(positions, [6, 2, 5])


def test_truncate_keeps_what_is_earlier(read):
    here = read(*KEPT)
    X, _ = rows(("a", 1.0, 0.0), ("a", 7.0, 0.0))
    np.testing.assert_array_equal(truncate(here.panel, here.ask(X)).times, [0.0, 0.0, 1.0])
