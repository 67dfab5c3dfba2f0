"""Stripes must show where cells look: of models whose places are known since they are made here."""

from __future__ import annotations

import re

import numpy as np
import pytest

from onnx_gapmil.graph.inputs import InputShape
from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.rewriting.proof.place import affordable
from onnx_gapmil.rewriting.proof.place_check import MIXED
from onnx_gapmil.rewriting.proof.stimulus import MAX_STRIPES, Noise, noise
from tests.helpers.stripes import FLIP, FLIPS, IMAGE, PATCHES, check
from tests.helpers.support import weights


def test_a_plain_trunk_looks_where_its_tiles_lie() -> None:
    found = check(f"{PATCHES}\n y = Identity(a)")
    assert found.passed is True
    assert found.measure == pytest.approx(0, abs=0.1)
    for axis in (found.rows, found.columns):
        assert axis is not None
        assert axis.correlation == pytest.approx(1)
        assert axis.slope == pytest.approx(1)
        assert axis.offset == pytest.approx(0, abs=1e-9)
        assert axis.contrast == pytest.approx(1)


def test_one_base_image_four_in_a_batch_a_stripe_a_line_and_both_halves_of_four_combs_a_direction_are_run() -> None:
    assert check(f"{PATCHES}\n y = Identity(a)").runs == 1 + 4 + 8 + 8 + 2 * 4 + 2 * 4


@pytest.mark.parametrize(("macs", "stripes"), [(0, 16), (300_000_000, 16), (4_100_000_000, 5), (10**12, 5)])
def test_what_is_costly_to_run_is_given_fewer_stripes_first(macs: int, stripes: int) -> None:
    assert affordable(macs) == stripes


def test_fewer_stripes_are_enough_where_they_pass_clearly() -> None:
    found = check(f"{PATCHES}\n y = Identity(a)", stripes=5)
    assert (found.passed, found.runs) == (True, 1 + 4 + 5 + 5 + 2 + 2 + 1 + 1)
    assert found.measured["rows"]["stripes"] == 5


@pytest.mark.parametrize(
    "body",
    [
        FLIP,
        "y = Transpose<perm=[0,1,3,2]>(a)",
        "m = Slice(a, last, end, axis, back)\n y = Add(a, m)",
        "one, two = Split<axis=3>(a, parts)\n y = Concat<axis=3>(two, one)",
    ],
)
def test_what_fewer_stripes_do_not_show_clearly_is_run_with_all(body: str) -> None:
    found = check(f"{PATCHES}\n {body}", stripes=5, **FLIPS, parts=np.array([2, 6]))
    assert found.passed is False
    assert found.runs == 4 * (1 + 8 + 8) + 4 + 5 + 5
    assert found.measured["rows"]["stripes"] == 8


def test_a_map_that_answers_to_nothing_is_not_run_again_with_more_stripes() -> None:
    found = check(f"{PATCHES}\n y = Mul(a, none)", none=np.float32(0), stripes=5)
    assert (found.passed, found.runs) == (None, 2 * (1 + 4 + 5))


@pytest.mark.parametrize("axis", [2, 3])
def test_a_mirrored_map_has_the_sign_minus_one(axis: int) -> None:
    found = check(f"{PATCHES}\n {FLIP}", **{**FLIPS, "axis": np.array([axis])})
    wrong, right = (found.rows, found.columns) if axis == 2 else (found.columns, found.rows)
    assert found.passed is False
    assert wrong is not None
    assert right is not None
    assert (wrong.to_json()["sign"], wrong.passed) == (-1, False)
    assert wrong.slope == pytest.approx(-1)
    assert right.passed is True
    assert f"the {'rows' if axis == 2 else 'columns'} look at the image in reverse order" in found.reason


#: The batch turned round, rolled, added up, normalized as a whole, gated by its last image, and lost but for its first.
MIXING = {
    "reversed": "y = Slice(a, last, end, first, back)",
    "rolled": "one = Slice(a, next, far, first)\n two = Slice(a, first, next, first)\n y = Concat<axis=0>(one, two)",
    "added up": "y = CumSum(a, none)",
    "divided": "p = Exp(a)\n most = ReduceMax<axes=[0], keepdims=1>(p)\n y = Div(p, most)",
    "normalized": "m = ReduceMean<axes=[0,2,3]>(a)\n b = Sub(a, m)\n q = Mul(b, b)\n v = ReduceMean<axes=[0,2,3]>(q)\n"
    " d = Sqrt(v)\n y = Div(b, d)",
    "gated": "one = Gather<axis=0>(a, back)\n g = Sigmoid(one)\n y = Mul(a, g)",
    "lost": "y = Gather<axis=0>(a, first)",
}


@pytest.mark.parametrize("body", MIXING.values(), ids=MIXING)
def test_the_map_of_an_image_that_other_images_of_the_batch_have_a_part_in_looks_nowhere(body: str) -> None:
    constants = {"first": np.array([0]), "next": np.array([1]), "far": np.array([999]), "none": np.array(0)}
    found = check(f"{PATCHES}\n {body}", **FLIPS, **constants)
    assert (found.passed, found.reason) == (False, MIXED)


@pytest.mark.parametrize(
    "body",
    [
        "y = ReduceMean<axes=[0], keepdims=1>(a)",
        "y = ReduceMax<axes=[0], keepdims=1>(a)",
        "y = Gather<axis=0>(a, first)",
        "y = Slice(a, first, three, first)",
        "m = ReduceMean<axes=[0], keepdims=1>(a)\n y = Concat<axis=0>(a, m, m, m, m)",
    ],
    ids=["mean", "largest", "first", "without the last", "beside their mean"],
)
def test_fewer_maps_than_a_fixed_batch_has_images_are_of_no_image_alone(body: str) -> None:
    found = check(
        f"{PATCHES}\n {body}",
        x="float[4,3,32,32] x",
        y="float[M,6,H,W] y",
        first=np.array([0]),
        three=np.array([3]),
    )
    assert (found.passed, found.reason) == (False, MIXED)


def test_copies_of_each_image_of_a_fixed_batch_are_its_own() -> None:
    found = check(f"{PATCHES}\n y = Concat<axis=0>(a, a, a)", x="float[2,3,32,32] x", y="float[M,6,H,W] y")
    assert found.passed is True


def test_an_image_that_is_mirrored_before_the_trunk_is_seen_too() -> None:
    body = "m = Slice(x, last, end, axis, back)\n c = Conv<strides=[4,4]>(m, k)\n y = Relu(c)"
    assert check(body, **FLIPS).passed is False


def test_a_transposed_map_has_its_rows_and_columns_swapped() -> None:
    found = check(f"{PATCHES}\n y = Transpose<perm=[0,1,3,2]>(a)")
    assert found.passed is False
    assert "rows and columns are swapped" in found.reason
    assert found.rows is not None
    assert found.rows.swapped > 1


@pytest.mark.parametrize(("first", "last"), [(2, 6), (0, 4), (1, 7)])
def test_a_cropped_map_is_no_tiling_and_passes_with_its_own_places(first: int, last: int) -> None:
    body = f"{PATCHES}\n y = Slice(a, first, last, axes)"
    cut = {"first": np.array([first] * 2), "last": np.array([last] * 2), "axes": np.array([2, 3])}
    assert check(body, **cut).passed is False
    own = AxisPlaces(2.0 + 4 * first, 4.0)
    found = check(body, places=Places(True, "x", own, own), **cut)
    assert found.passed is True
    assert found.rows is not None
    assert found.rows.slope == pytest.approx(1)


def test_a_padded_map_passes_with_places_outside_of_the_image() -> None:
    body = f"{PATCHES}\n y = Pad(a, pads)"
    pads = {"pads": np.array([0, 0, 3, 3, 0, 0, 1, 1])}
    assert check(body, **pads).passed is False
    own = AxisPlaces(2.0 - 4 * 3, 4.0)
    assert check(body, places=Places(True, "x", own, own), **pads).passed is True


@pytest.mark.parametrize("cells", [1, 2, 4])
def test_a_rolled_map_is_shown(cells: int) -> None:
    body = f"{PATCHES}\n one, two = Split<axis=3>(a, parts)\n y = Concat<axis=3>(two, one)"
    assert check(body, parts=np.array([cells, 8 - cells])).passed is False


def test_two_mirrored_copies_added_up_are_shown() -> None:
    body = f"{PATCHES}\n m = Slice(a, last, end, axis, back)\n y = Add(a, m)"
    assert check(body, **FLIPS).passed is False


def test_a_map_added_to_its_transpose_is_shown() -> None:
    found = check(f"{PATCHES}\n t = Transpose<perm=[0,1,3,2]>(a)\n y = Add(a, t)")
    assert found.passed is False
    assert "two views are added up" in found.reason


def test_two_crops_added_up_are_shown() -> None:
    """Each cell looks at two places, whose middle is where a cell of a tiling would look."""
    body = f"{PATCHES}\n m = Slice(a, none, six, axes)\n n = Slice(a, two, eight, axes)\n y = Add(m, n)"
    cut = {"none": np.array([0]), "two": np.array([2]), "six": np.array([6]), "eight": np.array([8])}
    found = check(body, axes=np.array([3]), least=MAX_STRIPES, **cut)
    assert found.passed is False
    assert "the columns look at several places, and not between them" in found.reason


def test_a_copy_that_is_turned_back_is_right() -> None:
    body = """
    m = Slice(x, last, end, axis, back)
    c = Conv<strides=[4,4]>(m, k)
    r = Slice(c, last, end, axis, back)
    d = Conv<strides=[4,4]>(x, k)
    y = Add(r, d)
    """
    assert check(body, **FLIPS).passed is True


def test_tokens_in_column_major_order_are_shown() -> None:
    rows = f"{PATCHES}\n f = Reshape(a, flat)\n r = Relu(f)\n"
    flat, grid = np.array([0, 6, 64]), np.array([0, 6, 8, 8])
    right = check(f"{rows} y = Reshape(r, grid)", flat=flat, grid=grid)
    columns = f"{PATCHES}\n t = Transpose<perm=[0,1,3,2]>(a)\n f = Reshape(t, flat)\n y = Reshape(f, grid)"
    assert (right.passed, check(columns, flat=flat, grid=grid).passed) == (True, False)


def test_what_a_stripe_moves_everywhere_is_no_place() -> None:
    body = f"{PATCHES}\n p = GlobalAveragePool(a)\n s = Sigmoid(p)\n y = Mul(a, s)"
    assert check(body).passed is True


def test_wide_receptive_fields_pass() -> None:
    body = "\n".join(
        [PATCHES, *(f" a{i + 1} = Conv<pads=[2,2,2,2]>(a{i or ''}, w)" for i in range(3)), " y = Relu(a3)"]
    )
    assert check(body, w=np.abs(weights(6, 6, 5, 5))).passed is True


@pytest.mark.parametrize("kind", ["float16", "uint8", "double", "float"])
def test_inputs_of_every_type_are_fed(kind: str) -> None:
    body = "f = Cast<to=1>(x)\n c = Conv<strides=[4,4]>(f, k)\n y = Relu(c)"
    assert check(body, x=f"{kind}[N,3,32,32] x").passed is True


def test_an_nhwc_input_is_striped_along_its_own_rows() -> None:
    body = "t = Transpose<perm=[0,3,1,2]>(x)\n c = Conv<strides=[4,4]>(t, k)\n y = Relu(c)"
    assert check(body, x="float[N,32,32,3] x").passed is True
    swapped = body.replace("0,3,1,2", "0,3,2,1")
    assert check(swapped, x="float[N,32,32,3] x").passed is False


def test_channels_that_may_be_first_or_last_are_tried_both_ways() -> None:
    body = "t = Transpose<perm=[0,3,1,2]>(x)\n y = Relu(t)"
    found = check(body, x="float[N,16,16,16] x", size=(16, 16))
    assert (found.passed, found.runs) == (True, 2 * 37 + 3 * 33)


@pytest.mark.parametrize("batch", ["1", "4", "N"])
def test_batches_are_filled_as_the_input_wants_them(batch: str) -> None:
    found = check(f"{PATCHES}\n y = Identity(a)", x=f"float[{batch},3,32,32] x")
    assert (found.passed, found.runs) == (True, 1 + 4 * (batch != "1") + 16 + 16)


def test_an_image_without_a_batch_is_run_by_itself() -> None:
    body = "u = Unsqueeze(x, zero)\n c = Conv<strides=[4,4]>(u, k)\n y = Relu(c)"
    assert check(body, x="float[3,32,32] x", zero=np.array([0])).passed is True


def test_crops_that_are_folded_into_the_batch_are_run_one_at_a_time() -> None:
    assert check(f"{PATCHES}\n y = Concat<axis=0>(a, a, a)").passed is True
    mirrored = f"{PATCHES}\n m = Slice(a, last, end, axis, back)\n y = Concat<axis=0>(a, m)"
    assert check(mirrored, **FLIPS).passed is False


def test_what_stands_beside_the_image_is_fed() -> None:
    body = f"{PATCHES}\n y = Mul(a, s)"
    assert check(body, x=f"{IMAGE}, float[N,6,1,1] s").passed is True


def test_a_model_that_normalizes_bytes_by_itself_answers_to_larger_noise() -> None:
    body = "r = Abs(x)\n d = Div(r, most)\n q = Floor(d)\n c = Conv<strides=[4,4]>(q, k)\n y = Relu(c)"
    found = check(body, most=np.float32(10))
    assert (found.passed, found.runs) == (True, 9 + 17 + 16 + 2 * 4)


def test_a_trunk_that_answers_to_nothing_is_skipped_and_never_passed() -> None:
    found = check(f"{PATCHES}\n y = Mul(a, none)", none=np.float32(0))
    assert (found.passed, found.measure, found.skipped) == (None, None, "the map answers to no stimulus")


def test_a_map_that_is_the_same_everywhere_has_no_order() -> None:
    body = f"{PATCHES}\n p = GlobalAveragePool(a)\n y = Expand(p, shape)"
    assert check(body, shape=np.array([1, 6, 8, 8])).passed is False


@pytest.mark.parametrize("cells", [2, 3])
def test_few_cells_tell_the_sign(cells: int) -> None:
    size = 16 * cells
    init = {"k": weights(6, 3, 16, 16)}
    body = "c = Conv<strides=[16,16]>(x, k)\n a = Relu(c)\n"
    x = f"float[N,3,{size},{size}] x"
    assert check(f"{body} y = Identity(a)", x=x, size=(size, size), **init).passed is True
    mirrored = check(f"{body} {FLIP}", x=x, size=(size, size), **init, **FLIPS)
    assert mirrored.passed is False


def test_a_single_cell_tells_nothing() -> None:
    found = check(f"{PATCHES}\n y = GlobalAveragePool(a)")
    assert (found.passed, found.runs) == (None, 1 + 4)
    assert "too few cells" in found.skipped


def test_places_that_are_not_known_are_not_checked() -> None:
    found = check(f"{PATCHES}\n y = Identity(a)", places=Places.unknown("a Loop"))
    assert (found.passed, found.skipped) == (None, "the places are not known: a Loop")


def test_an_input_that_is_no_image_is_not_checked() -> None:
    axis = AxisPlaces(0.5, 1.0)
    found = check(
        "y = ReduceMean<axes=[2],keepdims=0>(x)", x="float[N,6,4,8,8] x", places=Places(True, "x", axis, axis)
    )
    assert found.passed is None
    assert found.skipped == "the input 'x' of shape (2, 6, 4, 8, 8) is no image"


def places_of(first: float, step: float) -> Places:
    axis = AxisPlaces(first, step)
    return Places(True, "x", axis, axis)


@pytest.mark.parametrize(("every", "share"), [(2, 0.5), (3, 2 / 3), (4, 0.75)])
@pytest.mark.parametrize("axes", [[2], [3], [2, 3]])
@pytest.mark.parametrize("stripes", [MAX_STRIPES, 3])
def test_a_map_that_leaves_out_rows_or_columns_is_no_map_of_the_image(
    every: int, share: float, axes: list[int], stripes: int
) -> None:
    steps = {axis: every if axis in axes else 1 for axis in (2, 3)}
    last = 12 if every == 3 else 8
    lines = [AxisPlaces(2.0 + 4 * (steps[axis] - 1), 4.0 * steps[axis]) for axis in (2, 3)]
    found = check(
        f"{PATCHES}\n y = Slice(a, first, end, axes, every)",
        x=f"float[N,3,{4 * last},{4 * last}] x",
        size=(4 * last, 4 * last),
        places=Places(True, "x", *lines),
        stripes=stripes,
        first=np.array([every - 1] * len(axes)),
        end=np.array([99] * len(axes)),
        axes=np.array(axes),
        every=np.array([every] * len(axes)),
    )
    assert found.passed is False
    assert re.search(
        "what lies between them moves none|stripes that the .* are said to look at move none", found.reason
    )
    for axis, looks in ((2, found.rows), (3, found.columns)):
        assert looks is not None
        if axis not in axes:
            assert (looks.unseen, looks.silent) == (0, 0)
        elif not looks.silent:
            assert looks.unseen == pytest.approx(share, abs=0.13)


@pytest.mark.parametrize("first", [2.0, 1.0, 3.0, 0.5])
def test_what_lies_between_cells_is_found_wherever_the_first_is_said_to_be(first: float) -> None:
    cut = {"begin": np.array([0, 0]), "end": np.array([99] * 2), "axes": np.array([2, 3]), "every": np.array([2] * 2)}
    found = check(f"{PATCHES}\n y = Slice(a, begin, end, axes, every)", places=places_of(first, 8.0), **cut)
    assert found.passed is False
    assert "what lies between them moves none" in found.reason


@pytest.mark.parametrize(
    "trunk",
    [
        "y = Conv<strides=[4,4]>(x, k3)",  # three pixels of four
        "c = Conv<strides=[2,2]>(x, k1)\n d = Conv<strides=[2,2],pads=[1,1,1,1]>(x, k3)\n y = Add(c, d)",
        "c = Conv<strides=[4,4]>(x, k)\n d = Conv<strides=[2,2],pads=[1,1,1,1]>(c, w3)\n"
        " e = Conv<strides=[2,2]>(c, w1)\n y = Add(d, e)",
        "c = Conv<strides=[4,4]>(x, k)\n y = MaxPool<kernel_shape=[2,2],strides=[2,2]>(c)",
        "c = Conv<strides=[4,4]>(x, k)\n d = Conv<pads=[2,2,2,2],dilations=[2,2]>(c, w3)\n"
        " e = Mul(d, tenth)\n y = Add(c, e)",
    ],
)
def test_strides_with_kernels_that_reach_between_them_leave_no_gap(trunk: str) -> None:
    kernels = {"k1": weights(6, 3, 1, 1), "k3": weights(6, 3, 3, 3), "w1": weights(6, 6, 1, 1)}
    found = check(trunk, **kernels, w3=weights(6, 6, 3, 3, seed=1), tenth=np.float32(0.1))
    assert found.passed is True


def test_a_gate_over_the_whole_map_does_not_hide_what_lies_between() -> None:
    cut = {"begin": np.array([1, 1]), "end": np.array([99] * 2), "axes": np.array([2, 3]), "every": np.array([2] * 2)}
    body = f"{PATCHES}\n s = Slice(a, begin, end, axes, every)\n p = GlobalAveragePool(a)\n g = Sigmoid(p)\n"
    assert check(f"{body} y = Mul(s, g)", places=places_of(6.0, 8.0), **cut).passed is False


@pytest.mark.parametrize("cells", [4, 5, 8, 12, 16])
@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("stripes", [MAX_STRIPES, 5])
def test_neighbours_that_are_exchanged_are_out_of_order(cells: int, axis: int, stripes: int) -> None:
    """The line through all of them hardly changes."""
    order = np.arange(cells)
    order[: cells - cells % 2] = order[: cells - cells % 2].reshape(-1, 2)[:, ::-1].ravel()
    found = check(
        f"{PATCHES}\n y = Gather<axis={axis}>(a, order)",
        x=f"float[N,3,{4 * cells},{4 * cells}] x",
        size=(4 * cells, 4 * cells),
        stripes=stripes,
        order=order,
    )
    assert found.passed is False


def test_neighbours_that_a_layer_over_tokens_exchanges_within_windows_are_out_of_order() -> None:
    order = np.arange(64).reshape(4, 2, 4, 2)[:, ::-1, :, ::-1].reshape(64)
    matrix = np.eye(64, dtype=np.float32)[order].T + np.float32(0.02) * weights(64, 64)
    body = f"{PATCHES}\n t = Reshape(a, flat)\n m = MatMul(t, matrix)\n y = Reshape(m, square)"
    found = check(body, matrix=matrix, flat=np.array([0, 6, 64]), square=np.array([0, 6, 8, 8]))
    assert found.passed is False
    assert "look at the image in another order" in found.reason


#: Attention over all positions of a map (1, 6, 8, 8), added to it.
ATTENTION = """
 t = Reshape(a, flat)
 tokens = Transpose<perm=[0,2,1]>(t)
 query = MatMul(tokens, wq)
 key = MatMul(tokens, wk)
 turned = Transpose<perm=[0,2,1]>(key)
 scores = MatMul(query, turned)
 soft = Softmax<axis=-1>(scores)
 value = MatMul(tokens, wv)
 brought = MatMul(soft, value)
 back = Transpose<perm=[0,2,1]>(brought)
 m = Reshape(back, square)
 b = Add(a, m)
"""


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stripes", [MAX_STRIPES, 5])
def test_an_attention_over_the_whole_map_does_not_hide_what_lies_between(seed: int, stripes: int) -> None:
    scales = {"wq": 0.2, "wk": 0.2, "wv": 0.4}
    init = {
        name: np.float32(scale) * weights(6, 6, seed=3 * seed + at) for at, (name, scale) in enumerate(scales.items())
    }
    init |= {"flat": np.array([0, 6, 64]), "square": np.array([0, 6, 8, 8])}
    assert check(f"{PATCHES} {ATTENTION} y = Identity(b)", stripes=stripes, **init).passed is True
    cut = {"begin": np.array([1, 1]), "end": np.array([99] * 2), "axes": np.array([2, 3]), "every": np.array([2] * 2)}
    body = f"{PATCHES} {ATTENTION} y = Slice(b, begin, end, axes, every)"
    found = check(body, places=places_of(6.0, 8.0), stripes=stripes, **init, **cut)
    assert found.passed is False
    assert "what lies between them moves none" in found.reason


def test_the_figures_of_both_axes_are_kept() -> None:
    measured = check(f"{PATCHES}\n y = Identity(a)").measured
    assert set(measured) == {"rows", "columns"}
    figures = {"correlation", "sign", "slope", "offset", "swapped", "contrast", "cells", "stripes", "middle"}
    figures |= {"unseen", "silent", "still", "masked", "backwards", "repeated"}
    assert set(measured["rows"]) == figures
    assert (measured["rows"]["sign"], measured["rows"]["cells"]) == (1, 8)


@pytest.mark.parametrize(("top", "left", "still"), [(1, 0, "1 of 8 rows answers"), (0, 2, "2 of 8 columns answer")])
def test_zeros_where_the_map_was_cropped_look_at_nothing(top: int, left: int, still: str) -> None:
    """Rows or columns are cut off and as many zeros put there: they lie in the image, and see none of it."""
    init = {"start": np.array([top, left]), "end": np.array([99, 99]), "axes": np.array([2, 3])}
    zeros = np.array([0, 0, top, left, 0, 0, 0, 0])
    cut = check(f"{PATCHES}\n s = Slice(a, start, end, axes)\n y = Pad(s, zeros)", **init, zeros=zeros)
    assert cut.passed is False
    assert still in cut.reason
    # A window after that sees what lies beside the zeros.
    kernel = np.full((6, 6, 3, 3), 0.1, np.float32)
    body = f"{PATCHES}\n s = Slice(a, start, end, axes)\n p = Pad(s, zeros)\n y = Conv<pads=[1,1,1,1]>(p, wide)"
    blurred = check(body, **init, zeros=zeros, wide=kernel)
    assert all(
        axis is not None and axis.still == max(0, shift - 1)
        for axis, shift in ((blurred.rows, top), (blurred.columns, left))
    )


@pytest.mark.parametrize(
    ("dtype", "middle"), [(np.float32, 0.0), (np.float16, 0.0), (np.uint8, 127.5), (np.int8, -0.5), (np.int64, 127.5)]
)
def test_bright_and_dark_images_hold_the_upper_and_the_lower_half(dtype: type, middle: float) -> None:
    entry = InputShape("x", (1, 3, 16, 16), (1, 3, 16, 16), np.dtype(dtype))
    kinds: tuple[Noise, Noise] = ("bright", "dark")
    bright, dark = (noise(entry, kind, 3) for kind in kinds)
    assert bright.dtype == dark.dtype == np.dtype(dtype)
    assert dark.max() <= middle <= bright.min()
    assert np.unique(bright).size > 100
    assert np.unique(dark).size > 100
