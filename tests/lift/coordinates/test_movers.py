"""Movers against the runtime: an input that holds its own coordinates is moved as they are."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.lift.coordinates.fields import NONE, SAMPLED
from tests.helpers.support import coordinate, coordinates_of, run, text_model


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


MOVERS = {
    "transpose": ("m = Transpose<perm=[0, 3, 1, 2]>(x)", {}),
    "transpose_by_default": ("m = Transpose(x)", {}),
    "flatten_axes": ("m = Reshape(x, s)", {"s": ints(2, 4, -1)}),
    "split_and_merge": ("m = Reshape(x, s)", {"s": ints(2, 2, 12, 8)}),
    "drop_unit_axes": ("u = Unsqueeze(x, s)\n m = Squeeze(u, s)", {"s": ints(1, 3)}),
    "flatten": ("m = Flatten<axis=2>(x)", {}),
    "cut": ("m = Slice(x, a, b, c, d)", {"a": ints(-1, 1), "b": ints(-99, 5), "c": ints(3, 2), "d": ints(-2, 2)}),
    "take": ("m = Gather<axis=2>(x, i)", {"i": ints(3, 0, -1)}),
    "take_one": ("m = Gather<axis=2>(x, i)", {"i": np.int64(3)}),
    "take_a_square": ("m = Gather<axis=3>(x, i)", {"i": ints(3, 0, 1, 5).reshape(2, 2)}),
    "take_elements": ("m = GatherElements<axis=3>(x, i)", {"i": np.arange(192).reshape(2, 4, 6, 4) % 8}),
    "take_by_numbers": ("m = GatherND(x, i)", {"i": np.array([[0, 1, 5, 2], [1, 3, 0, 7]])}),
    "reverse": ("m = ReverseSequence<batch_axis=0, time_axis=1>(x, n)", {"n": ints(4, 3)}),
    "space_to_depth": ("m = SpaceToDepth<blocksize=2>(x)", {}),
    "roll": (
        "a, b = Split<axis=3>(x, n)\n m = Concat<axis=3>(b, a)",
        {"n": ints(3, 5)},
    ),
    "scatter": (
        "m = ScatterND(x, i, x1)\n",
        {"i": np.array([[1], [0]])},
    ),
    "scatter_elements": (
        "m = ScatterElements<axis=3>(x, i, x1)",
        {"i": np.arange(384).reshape(2, 4, 6, 8)[..., ::-1] % 8},
    ),
    "tile": ("m = Tile(x, n)", {"n": ints(1, 2, 1, 3)}),
    "expand": ("g = Gather<axis=2>(x, i)\n m = Expand(g, n)", {"i": ints(4), "n": ints(2, 4, 5, 8)}),
    "einsum": ('m = Einsum<equation="abcd->dacb">(x)', {}),
    "pad_by_reflection": ('m = Pad<mode="reflect">(x, n)', {"n": ints(0, 0, 1, 3, 0, 0, 3, 0)}),
    "pad_by_the_edge": ('m = Pad<mode="edge">(x, n)', {"n": ints(0, 0, 2, 0, 0, 0, 0, 3)}),
    "pick_by_a_mask": ("m = Compress<axis=3>(x, n)", {"n": np.array([1, 0, 0, 1, 1, 0, 1, 1], bool)}),
    "cut_in_the_middle": ("m = CenterCropPad<axes=[2, 3]>(x, n)", {"n": ints(4, 5)}),
    "mosaic": (
        "f = Slice(x, a, b, c, a)\n m = Where(n, x, f)",
        {"a": ints(-1), "b": ints(-99), "c": ints(3), "n": np.arange(48).reshape(1, 1, 6, 8) % 5 > 2},
    ),
    "cut_by_padding": ("m = Pad(x, n)", {"n": ints(0, 0, -1, -2, 0, 0, -2, 0)}),
}


@pytest.mark.parametrize("name", MOVERS)
def test_coordinates_move_as_the_runtime_moves_them(name: str) -> None:
    body, init = MOVERS[name]
    model = text_model(f"x1 = Identity(x)\n {body}", x="float[2,4,6,8] x", y="float m", opset=18, init=init)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    looks = coordinates_of(model)
    for axis, dim in enumerate((2, 4, 6, 8)):
        shape = [1] * 4
        shape[axis] = dim
        x = np.ascontiguousarray(np.broadcast_to(np.arange(dim).reshape(shape) + 0.5, (2, 4, 6, 8)), np.float32)
        (expected,) = run(model, x)
        assert looks.shape == expected.shape
        np.testing.assert_array_equal(coordinate(looks, axis), expected)


def test_constant_part_of_a_concatenation_has_no_place() -> None:
    """A class token before the patches."""
    model = text_model(
        "m = Concat<axis=1>(token, x)",
        x="float[1,5,3] x",
        y="float[1,6,3] m",
        init={"token": np.zeros((1, 1, 3), np.float32)},
    )
    found = coordinate(coordinates_of(model), 1)
    assert (found[0, 0] == NONE).all()
    np.testing.assert_array_equal(found[0, 1:, 0], np.arange(5) + 0.5)


@pytest.mark.parametrize(
    "body",
    [
        "i = ArgMax<axis=2>(x)\n m = GatherElements<axis=2>(x, i)",
        "i = ArgMax<axis=2, keepdims=0>(k)\n j = Reshape(i, flat)\n m = Gather<axis=2>(x, j)",
        "m, i = TopK<axis=2>(x, two)",
    ],
)
def test_what_the_image_chooses_has_no_fixed_place(body: str) -> None:
    model = text_model(
        f"k = Relu(x)\n {body}", x="float[1,2,6,8] x", y="float[1,2,a,8] m", init={"two": ints(2), "flat": ints(-1)}
    )
    assert (coordinate(coordinates_of(model), 2) == SAMPLED).all()


def test_cells_of_a_pixel_shuffle_share_out_the_place_of_their_block() -> None:
    model = text_model("m = DepthToSpace<blocksize=2>(x)", x="float[1,4,3,2] x", y="float[1,1,6,4] m")
    looks = coordinates_of(model)
    np.testing.assert_allclose(coordinate(looks, 2)[0, 0, :, 0], np.arange(6) / 2 + 0.25)
    np.testing.assert_allclose(coordinate(looks, 3)[0, 0, 0], np.arange(4) / 2 + 0.25)


def test_table_of_codes_keeps_the_places_of_its_indices() -> None:
    model = text_model(
        "i = Cast<to=7>(x)\n m = Gather<axis=0>(table, i)",
        x="float[1,3,4] x",
        y="float[1,3,4,5] m",
        init={"table": np.zeros((9, 5), np.float32)},
    )
    found = coordinate(coordinates_of(model), 2)
    np.testing.assert_array_equal(found[0, 0, :, 0], np.arange(4) + 0.5)
