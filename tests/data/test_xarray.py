"""Names and coordinates of xarray objects, in and out."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from skneuralde.data import Roles, as_table, read_targets
from skneuralde.data.coordinates import Coordinates, field_shape, is_xarray

xr = pytest.importorskip("xarray")

N_ROWS, N_X, N_Z = 4, 5, 3
TIMES = pd.date_range("2024-01-01", periods=N_ROWS, freq="D")
X_AXIS = np.linspace(10.0, 12.0, N_X)


def field(dims=("time", "x", "field"), **coords):
    sizes = {"time": N_ROWS, "x": N_X, "z": N_Z, "field": 2, "species": 2}
    shape = tuple(sizes[dim] for dim in dims)
    return xr.DataArray(np.arange(np.prod(shape), dtype=float).reshape(shape), dims=dims, coords=coords, name="heat")


def test_no_xarray_is_imported_for_arrays():
    code = (
        "import sys, numpy as np, skneuralde; from skneuralde.data import Roles, read_targets; "
        "X = np.arange(3.0)[:, None]; read_targets(np.ones((3, 1)), 3, roles=Roles.fit(X, np.ones((3, 1)))); "
        "assert 'xarray' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("dims", "coords", "grid", "shape"),
    [
        (("time", "x", "field"), {}, None, (N_ROWS, N_X, 2)),
        (("time", "x", "species"), {"species": ["A", "B"]}, None, (N_ROWS, N_X, 2)),
        (("time", "x", "species"), {}, None, (N_ROWS, N_X, 2, 1)),
        (("time", "x", "species"), {}, (N_X,), (N_ROWS, N_X, 2)),
        (("time", "x", "z"), {}, None, (N_ROWS, N_X, N_Z, 1)),
        (("time", "x"), {}, None, (N_ROWS, N_X, 1)),
        (("time", "field"), {}, None, (N_ROWS, 2)),
        (("time",), {}, None, (N_ROWS,)),
    ],
)
def test_the_last_dimension_is_told_by_its_name_its_text_or_the_grid(dims, coords, grid, shape):
    assert field_shape(field(dims, **coords), grid) == shape


def test_the_variables_of_a_dataset_are_fields():
    data = xr.Dataset({"a": field(("time", "x")), "b": field(("time", "x")) + 100})
    assert field_shape(data, None) == (N_ROWS, N_X, 2)
    roles = Roles.fit(as_table(TIMES), data, state=(N_X, 2))
    values = read_targets(data, N_ROWS, roles=roles).values.reshape(N_ROWS, N_X, 2)
    np.testing.assert_array_equal(values[..., 1], values[..., 0] + 100)
    swapped = read_targets(data[["b", "a"]], N_ROWS, roles=roles).values.reshape(N_ROWS, N_X, 2)
    np.testing.assert_array_equal(swapped, values)


def test_variables_of_different_dimensions_are_refused():
    with pytest.raises(ValueError, match="same dimensions"):
        field_shape(xr.Dataset({"a": field(("time", "x")), "b": field(("time", "z"))}), None)
    with pytest.raises(ValueError, match="there are none"):
        field_shape(xr.Dataset(), None)


def test_single_precision_is_kept():
    data = xr.Dataset({"a": field(("time", "x")).astype(np.float32), "b": field(("time", "x")).astype(np.float32)})
    assert Roles.fit(as_table(TIMES), data, state=(N_X, 2)).dtype == np.float32
    data["b"] = data["b"].astype(np.float64)
    assert Roles.fit(as_table(TIMES), data, state=(N_X, 2)).dtype == np.float64


@pytest.mark.parametrize("dims", [("time", "x", "field"), ("time", "x", "z"), ("time", "x"), ("time",)])
def test_what_comes_back_is_what_was_given(dims):
    told = {"x": X_AXIS, "latitude": ("x", -X_AXIS), "reference": 3}
    y = field(dims, time=TIMES, **{k: v for k, v in told.items() if "x" in dims or k == "reference"})
    y.attrs["units"] = "K"
    shape = field_shape(y, None)
    roles = Roles.fit(as_table(y.time), y, state=shape[1:] if len(shape) > 2 else None)
    output = pickle.loads(pickle.dumps(read_targets(y, N_ROWS, roles=roles).output))
    xr.testing.assert_identical(output.like(y.to_numpy().reshape(N_ROWS, -1), y.time), y)


def test_a_dataset_comes_back():
    y = xr.Dataset({"a": field(("time", "x")), "b": field(("time", "x"))}, {"time": TIMES, "x": X_AXIS}, {"run": "7"})
    output = read_targets(y, N_ROWS, roles=Roles.fit(as_table(y.time), y, state=(N_X, 2))).output
    values = np.stack([y.a, y.b], axis=-1).reshape(N_ROWS, -1)
    xr.testing.assert_identical(output.like(values, y.time), y)


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (np.arange(4.0)[:, None], {}),
        (pd.DataFrame({"t": np.arange(4.0)}), {}),
        (TIMES, {"time": TIMES}),
        (pd.DataFrame(index=TIMES.rename("date")), {"time": TIMES}),
        (xr.DataArray(np.arange(4.0), dims="time"), {"time": np.arange(4.0)}),
        (xr.DataArray(np.arange(4.0), {"when": TIMES, "run": ("when", list("aabb"))}, dims="when"),
         {"time": TIMES, "run": np.array(list("aabb"))}),
        (pd.DataFrame(index=pd.MultiIndex.from_product([["a", "b"], [0.0, 1.0]], names=["run", "time"])),
         {"run": np.array(list("aabb")), "time": np.array([0.0, 1.0, 0.0, 1.0])}),
    ],
)  # fmt: skip
def test_rows_have_the_coordinates_of_X(X, expected):
    y = field(("time", "x"), time=TIMES, x=X_AXIS)
    back = Coordinates.of(y).like(y.to_numpy(), X)
    assert set(back.coords) == {"x", *expected}
    for name, values in expected.items():
        assert back[name].dims == ("time",)
        assert (back[name].to_numpy() == np.asarray(values)).all()


def test_what_comes_back_shares_nothing_with_what_is_kept():
    y = field(("time", "x"), x=X_AXIS, latitude=("x", -X_AXIS))
    kept = Coordinates.of(y)
    kept.like(y.to_numpy(), None).latitude[:] = 7
    y.latitude[:] = 8
    np.testing.assert_array_equal(kept.like(y.to_numpy(), None).latitude, -X_AXIS)


def test_a_one_dimensional_array_of_times_is_a_column_or_an_index():
    numbers = as_table(xr.DataArray(np.arange(4), dims="time"))
    assert numbers.data.shape == (4, 1)
    assert as_table(xr.DataArray(TIMES, dims="time")).index.equals(TIMES)
    with pytest.raises(TypeError, match=r"such as X\.time"):
        as_table(xr.Dataset())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [26, 1001])
def test_spacing_is_that_of_the_coordinates(n, dtype):
    x = np.linspace(0, 1, n).astype(dtype)
    y = xr.DataArray(np.zeros((2, n, 3, 4)), {"x": x, "z": [6, 4, 2]}, ("time", "x", "z", "w"))
    assert Coordinates.of(y).spacing((n, 3, 4)) == pytest.approx((1 / (n - 1), 2.0, 1.0), rel=1e-6)


def test_flat_rows_have_no_spacing():
    y = xr.DataArray(np.zeros((2, 12)), {"cell": np.arange(12) * 2.0}, ("time", "cell"))
    assert Coordinates.of(y).spacing((3, 4)) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1, 2, 3.00001, 4], r"'x' is not uniform: .* step is 1, but that from 2.0 to 3.00001 \(positions 2 "),
        ([3, 3, 3, 3, 3], "is not uniform"),
        ([0, 1, 2, np.nan, 4], "from 2.0 to nan"),
        (list("abcde"), r"Give spacing="),
    ],
)
def test_other_coordinates_have_no_spacing(values, message):
    with pytest.raises(ValueError, match=message):
        Coordinates.of(field(("time", "x"), x=values)).spacing((N_X,))


def test_later_coordinates_must_be_those_of_fit():
    kept = Coordinates.of(field(x=X_AXIS, field=["a", "b"]))
    for y in (field(), field(x=X_AXIS + 1e-9), field(field=["a", "b"]), field().rename(time="when")):
        np.testing.assert_array_equal(kept.read(y), field())
    with pytest.raises(ValueError, match=r"'x' differs from that in fit: 12.0 instead of 10.0 at position 0"):
        kept.read(field(x=X_AXIS[::-1]))
    with pytest.raises(ValueError, match="'field' differs"):
        kept.read(field(field=["a", "c"]))
    with pytest.raises(ValueError, match="4 points along 'x', but 5"):
        kept.read(field(x=X_AXIS).isel(x=slice(4)))
    with pytest.raises(ValueError, match=r"y\.transpose"):
        kept.read(field().transpose("time", "field", "x"))
    with pytest.raises(ValueError, match="kind of xarray object"):
        kept.read(field().to_dataset("field"))


def test_a_dataset_needs_its_variables():
    data = xr.Dataset({"a": field(("time", "x")), "b": field(("time", "x"))})
    with pytest.raises(ValueError, match="variables"):
        Coordinates.of(data).read(data[["a"]])


def test_other_things_are_no_xarray_objects():
    assert not any(is_xarray(thing) for thing in (None, 3, np.zeros(2), pd.DataFrame()))
    assert Coordinates.of(np.zeros(3)) is None
