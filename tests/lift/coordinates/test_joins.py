"""Joins of operands, padding and resizing, functions and branches."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.lift.coordinates.fields import CONFLICT, SAMPLED, UNKNOWN
from tests.helpers.support import coordinate, coordinates_of, text_model, weights


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_mirrored_copy_added_is_a_conflict_but_in_the_middle() -> None:
    model = text_model(
        "f = Slice(x, a, b, c, a)\n m = Add(x, f)",
        x="float[1,1,4,7] x",
        y="float[1,1,4,7] m",
        init={"a": ints(-1), "b": ints(-99), "c": ints(3)},
    )
    looks = coordinates_of(model)
    found = coordinate(looks, 3)[0, 0, 0]
    assert (np.delete(found, 3) == CONFLICT).all()
    assert found[3] == 3.5
    assert "joins places that differ" in looks.why
    np.testing.assert_array_equal(coordinate(looks, 2)[0, 0, :, 0], np.arange(4) + 0.5)


def test_shortcut_half_a_step_aside_is_the_same_place() -> None:
    """ResNet-D: a pool of 2 beside a convolution of 3 that pads by 1."""
    model = text_model(
        "a = AveragePool<kernel_shape=[2, 2], strides=[2, 2]>(x)\n"
        "b = MaxPool<kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]>(x)\n m = Add(a, b)",
        x="float[1,1,8,8] x",
        y="float[1,1,4,4] m",
    )
    np.testing.assert_allclose(coordinate(coordinates_of(model), 2)[0, 0, :, 0], [0.75, 2.75, 4.75, 6.75])


def test_gate_of_the_whole_map_changes_nothing() -> None:
    model = text_model(
        "g = GlobalAveragePool(x)\n s = Sigmoid(g)\n m = Mul(s, x)", x="float[1,2,3,4] x", y="float[1,2,3,4] m"
    )
    np.testing.assert_array_equal(coordinate(coordinates_of(model), 3)[0, 0, 0], np.arange(4) + 0.5)


@pytest.mark.parametrize("order", ["g, t", "t, g"])
def test_a_gate_of_one_number_a_cell_that_looks_elsewhere_leaves_the_places_of_the_map(order: str) -> None:
    """A spatial attention as CSATv2's, of a map that was made coarser and enlarged again."""
    model = text_model(
        f"t = Conv(x, w)\n c = ReduceMean<axes=[1]>(t)\n f = Slice(c, a, b, k, a)\n g = Sigmoid(f)\n m = Mul({order})",
        x="float[1,3,3,4] x",
        y="float[1,5,3,4] m",
        init={"w": weights(5, 3, 1, 1), "a": ints(-1), "b": ints(-99), "k": ints(3)},
    )
    looks = coordinates_of(model)
    np.testing.assert_array_equal(coordinate(looks, 3)[0, 0, 0], np.arange(4) + 0.5)
    assert looks.why == ""


@pytest.mark.parametrize(
    "body",
    [
        "f = Slice(t, a, b, k, a)\n m = Mul(f, t)",  # as many numbers a cell as the map has
        "c = ReduceMean<axes=[1]>(t)\n f = Slice(c, a, b, k, a)\n m = Add(f, t)",  # no factor
        "c = ReduceMean<axes=[2]>(t)\n f = Slice(c, a, b, k, a)\n m = Mul(f, t)",  # one number a column
    ],
)
def test_what_is_no_gate_joins_its_places(body: str) -> None:
    init = {"w": weights(5, 3, 1, 1), "a": ints(-1), "b": ints(-99), "k": ints(3)}
    model = text_model(f"t = Conv(x, w)\n {body}", x="float[1,3,3,4] x", y="float[1,5,3,4] m", init=init)
    assert (coordinate(coordinates_of(model), 3) == CONFLICT).all()


def test_what_joins_places_is_named_before_what_mixed_colours() -> None:
    model = text_model(
        "r = Gather<axis=1>(x, zero)\n g = Gather<axis=1>(x, one)\n y = Add(r, g)\n f = Slice(y, a, b, k, a)\n"
        " m = Sub(y, f)",
        x="float[1,3,4,4] x",
        y="float[1,4,4] m",
        init={"zero": np.array(0), "one": np.array(1), "a": ints(-1), "b": ints(-99), "k": ints(2)},
    )
    looks = coordinates_of(model)
    assert (coordinate(looks, 3) == CONFLICT).all()
    assert looks.why.startswith("Sub ")


def test_padding_looks_beyond_the_edge() -> None:
    model = text_model(
        "m = Pad(x, n)", x="float[1,1,3,4] x", y="float[1,1,6,4] m", init={"n": ints(0, 0, 2, 0, 0, 0, 1, 0)}
    )
    np.testing.assert_allclose(coordinate(coordinates_of(model), 2)[0, 0, :, 0], np.arange(6) - 1.5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scale", [2, 3])
def test_enlarged_map_divides_its_cells(mode: str, scale: int) -> None:
    model = text_model(
        f'm = Resize<mode="{mode}">(x, , s)',
        x="float[1,1,6,8] x",
        y="float[1,1,h,w] m",
        init={"s": np.array([1, 1, scale, scale], np.float32)},
    )
    looks = coordinates_of(model)
    for axis, dim in ((2, 6), (3, 8)):
        found = np.moveaxis(coordinate(looks, axis), axis, 0)[:, 0, 0, 0]
        np.testing.assert_allclose(found, (np.arange(dim * scale) + 0.5) / scale, atol=1e-4)


def test_sampling_by_a_fixed_grid_turns_the_image() -> None:
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 5)[::-1], np.linspace(-1, 1, 4)), -1)[None].astype(np.float32)
    body = "m = GridSample<align_corners=1>(x, g)"
    model = text_model(body, x="float[1,1,4,5] x", y="float[1,1,4,5] m", init={"g": grid})
    np.testing.assert_allclose(coordinate(coordinates_of(model), 3)[0, 0, 0], 4.5 - np.arange(5), atol=1e-5)
    moving = text_model(
        "a = GlobalAveragePool(x)\n e = Add(g, a)\n h = Reshape(e, s)\n" + body.replace("(x, g)", "(x, h)"),
        x="float[1,1,4,5] x",
        y="float[1,1,4,5] m",
        init={"g": grid, "s": ints(1, 4, 5, 2)},
    )
    assert (coordinate(coordinates_of(moving), 3) == SAMPLED).all()


def test_function_and_constant_branch_are_looked_into() -> None:
    body = """c = own.turn (x)
        yes = Not(no)
        m = If (yes) <
            then_branch = then () => (float[1,1,3,4] t) { t = Slice(c, a, b, rows, a) },
            else_branch = else () => (float[1,1,3,4] e) { e = Identity(c) }
        >"""
    function = '<domain: "own", opset_import: ["" : 17]>\nturn (v) => (w) { r = Relu(v)\n w = Neg(r) }'
    model = text_model(
        body,
        x="float[1,1,3,4] x",
        y="float[1,1,3,4] m",
        domains='"own" : 1',
        functions=function,
        init={"no": np.bool_(False), "a": ints(-1), "b": ints(-99), "rows": ints(2)},
    )
    np.testing.assert_array_equal(coordinate(coordinates_of(model), 2)[0, 0, :, 0], [2.5, 1.5, 0.5])


def test_operator_that_is_not_followed_says_so() -> None:
    model = text_model("m = Trap(x)".replace("Trap", "Det"), x="float[1,2,3,3] x", y="float[1,2] m")
    looks = coordinates_of(model)
    assert (coordinate(looks, 1) == UNKNOWN).all()
    assert "Det" in looks.why


def test_scores_keep_both_views_until_they_are_used() -> None:
    model = text_model(
        "t = Transpose<perm=[0, 2, 1]>(x)\n m = MatMul(x, t)",
        x="float[1,6,3] x",
        y="float[1,6,6] m",
        init={"w": weights(1)},
    )
    rows, columns = (view["x", 1].values for view in coordinates_of(model).views)
    np.testing.assert_array_equal(rows[0, :, 0], np.arange(6) + 0.5)
    np.testing.assert_array_equal(columns[0, 0], np.arange(6) + 0.5)


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_convolution_that_reflects_at_the_edge_keeps_even_steps(mode: str) -> None:
    model = text_model(
        f'p = Pad<mode="{mode}">(x, n)\n m = MaxPool<kernel_shape=[3]>(p)',
        x="float[1,1,8] x",
        y="float[1,1,8] m",
        opset=19,
        init={"n": ints(0, 0, 1, 0, 0, 1)},
    )
    np.testing.assert_allclose(coordinate(coordinates_of(model), 2)[0, 0], np.arange(8) + 0.5)


def pyramid(shift: int) -> np.ndarray:
    """Rows of a map added to one of a quarter of its size, upsampled, and shifted by some rows of the finer map."""
    model = text_model(
        """f = Conv<strides=[2, 2]>(x, k)
c = Conv<strides=[4, 4]>(f, l)
u = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(c, none, scales)
s = Slice(u, first, last, rows)
p = Pad(s, pads)
m = Add(f, p)""",
        x="float[1,3,64,48] x",
        y="float[1,2,32,24] m",
        init={
            "k": np.ones((2, 3, 1, 1), np.float32),
            "l": np.ones((2, 2, 1, 1), np.float32),
            "none": np.zeros(0, np.float32),
            "scales": np.array([1, 1, 4, 4], np.float32),
            "first": np.array([0]),
            "last": np.array([32 - shift]),
            "rows": np.array([2]),
            "pads": np.array([0, 0, shift, 0, 0, 0, 0, 0]),
        },
    )
    return coordinate(coordinates_of(model), 2)[0, 0, :, 0]


def test_an_upsampled_map_adds_to_a_finer_one_which_says_where_it_looks() -> None:
    """HRNet: strides take their first pixel, upsampling gives it to all; they lie half of a coarse step apart."""
    np.testing.assert_array_equal(pyramid(0), 2.0 * np.arange(32) + 0.5)


@pytest.mark.parametrize("shift", [2, 4])
def test_an_upsampled_map_that_is_shifted_joins_places_that_differ(shift: int) -> None:
    assert (pyramid(shift) == CONFLICT).any()
