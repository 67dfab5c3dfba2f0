"""Rules that only move, drop or choose elements."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.support import (
    assert_close,
    cell_by_cell,
    check_exact,
    check_refused,
    images,
    lift,
    text_model,
    weights,
)

W, B = weights(5, 6), weights(5)
LAST = "y = Gemm<transB=1>(f, w, b)"
INIT = {"w": W, "b": B}


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("opset", "body", "init"),
    [
        pytest.param(7, "f = Flatten(p)", {}, id="flatten_opset_7"),
        pytest.param(21, "f = Flatten<axis=-3>(p)", {}, id="flatten_negative_axis"),
        pytest.param(9, "f = Squeeze<axes=[2, 3]>(p)", {}, id="squeeze_axes_attribute"),
        pytest.param(13, "f = Squeeze(p, a)", {"a": ints(2, 3)}, id="squeeze_axes_input"),
        pytest.param(13, "f = Squeeze(p, a)", {"a": ints(-1, -2)}, id="squeeze_negative_axes"),
        pytest.param(17, "f = Squeeze(p)", {}, id="squeeze_without_axes"),
        pytest.param(17, "f = Reshape(p, s)", {"s": ints(-1, 6)}, id="reshape_batch_inferred"),
        pytest.param(17, "f = Reshape(p, s)", {"s": ints(0, -1)}, id="reshape_batch_copied"),
        pytest.param(
            11,
            "u = Unsqueeze<axes=[0]>(p)\n q = Squeeze<axes=[0, 3, 4]>(u)\n f = Identity(q)",
            {},
            id="unsqueeze_then_squeeze",
        ),
        pytest.param(
            23, "u = Unsqueeze(p, z)\n f = Reshape(u, s)", {"z": ints(0), "s": ints(-1, 6)}, id="unsqueeze_opset_23"
        ),
        pytest.param(7, "d = Dropout(p)\n f = Flatten(d)", {}, id="dropout_opset_7"),
        pytest.param(
            13,
            "d = Dropout(p, r, t)\n f = Flatten(d)",
            {"r": np.float32(0.5), "t": np.array(False)},
            id="dropout_training_mode_false",
        ),
        pytest.param(
            13,
            "d = Dropout(p, r, t)\n f = Flatten(d)",
            {"r": np.float32(0), "t": np.array(True)},
            id="dropout_of_nothing_in_training_mode",
        ),
        pytest.param(17, "o = Optional(p)\n e = OptionalGetElement(o)\n f = Flatten(e)", {}, id="optional"),
        pytest.param(
            17,
            "q = Relu(p)\n s = SequenceConstruct(q, p)\n e = SequenceAt(s, i)\n f = Flatten(e)",
            {"i": np.int64(-1)},
            id="element_of_a_sequence",
        ),
        pytest.param(17, "t = Transpose<perm=[0, 2, 3, 1]>(p)\n f = Flatten(t)", {}, id="transpose_to_nhwc"),
        pytest.param(17, "e = Expand(p, s)\n f = Flatten(e)", {"s": ints(1, 6, 1, 1)}, id="expand_that_keeps_all"),
        pytest.param(
            17,
            "e = Slice(p, z, n, a)\n f = Flatten(e)",
            {"z": ints(0), "n": ints(2**40), "a": ints(1)},
            id="slice_that_keeps_all",
        ),
        pytest.param(17, "e = Tile(p, r)\n f = Flatten(e)", {"r": ints(1, 1, 1, 1)}, id="tile_once"),
        pytest.param(17, "g = Gather<axis=3>(p, i)\n f = Flatten(g)", {"i": np.int64(0)}, id="gather_of_a_unit_axis"),
    ],
)
@pytest.mark.parametrize("batch", ["N", "1", "2"])
def test_shape_operator_passes_the_lift_through(opset: int, body: str, init: dict[str, np.ndarray], batch: str) -> None:
    if batch == "1" and body == "f = Squeeze(p)":
        body, init = "q = Squeeze(p)\n f = Reshape(q, row)", {"row": ints(1, 6)}
    model = text_model(
        f"p = GlobalAveragePool(x)\n {body}\n {LAST}",
        x=f"float[{batch},6,3,5] x",
        y=f"float[{batch},5] y",
        opset=opset,
        init=INIT | init,
    )
    found = check_exact(model)
    expected = (batch if batch == "N" else int(batch), 5, 3, 5)
    assert found.rewrite.heads[0].grid_shape == expected


def test_squeeze_without_axes_drops_a_batch_of_one() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n k = Conv(p, kernel, b)\n y = Squeeze(k)",
        x="float[1,6,3,5] x",
        y="float[5] y",
        init={"kernel": W.reshape(5, 6, 1, 1), "b": B},
    )
    found = check_exact(model)
    assert found.logits.shape == (1, 5)


def test_squeezed_vector_goes_through_matmul_and_add() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n s = Squeeze(p)\n m = MatMul(s, wt)\n y = Add(m, b)",
        x="float[1,6,3,5] x",
        y="float[5] y",
        init={"wt": W.T.copy(), "b": B},
    )
    check_exact(model)


def test_reshape_with_runtime_shape_is_shape_only() -> None:
    model = text_model(
        f"""p = GlobalAveragePool(x)
        s = Shape(p)
        n = Slice(s, zero, one)
        t = Concat<axis=0>(n, minus)
        f = Reshape(p, t)
        {LAST}""",
        init=INIT | {"zero": ints(0), "one": ints(1), "minus": ints(-1)},
    )
    check_exact(model)


@pytest.mark.parametrize("batch", ["1", "2"])
def test_identity_gather_of_channels_last_residue(batch: str) -> None:
    count = 6 * int(batch)
    model = text_model(
        f"m = ReduceMean<keepdims=1>(x, a)\n r = Reshape(m, flat)\n g = Gather<axis=0>(r, i)\n"
        f" f = Reshape(g, back)\n {LAST}",
        x=f"float[{batch},6,3,5] x",
        y=f"float[{batch},5] y",
        opset=20,
        init=INIT | {"a": ints(-1, -2), "flat": ints(-1), "i": np.arange(count), "back": ints(int(batch), 6)},
    )
    check_exact(model)


def test_identity_gather_computed_from_the_batch() -> None:
    """With an open batch the indices are ``Range(0, N * C)``."""
    model = text_model(
        f"""m = ReduceMean<keepdims=1>(x, a)
        r = Reshape(m, flat)
        s = Shape<start=0, end=1>(x)
        n = Squeeze(s)
        top = Mul(n, six)
        i = Range(zero, top, one)
        g = Gather<axis=0>(r, i)
        f = Reshape(g, back)
        {LAST}""",
        opset=20,
        init=INIT
        | {
            "a": ints(2, 3),
            "flat": ints(-1),
            "six": np.int64(6),
            "zero": np.int64(0),
            "one": np.int64(1),
            "back": ints(-1, 6),
        },
    )
    check_exact(model)


def test_gather_that_permutes_channels_permutes_the_grid() -> None:
    model = text_model(
        f"p = GlobalAveragePool(x)\n g = Gather<axis=1>(p, i)\n f = Flatten(g)\n {LAST}",
        init=INIT | {"i": ints(3, 0, 5, 1, 4, 2)},
    )
    check_exact(model)


def test_gather_over_the_merged_batch_that_permutes_channels() -> None:
    order = [3, 0, 5, 1, 4, 2]
    model = text_model(
        f"m = ReduceMean<axes=[2, 3]>(x)\n r = Reshape(m, flat)\n g = Gather<axis=0>(r, i)\n"
        f" f = Reshape(g, back)\n {LAST}",
        x="float[2,6,3,5] x",
        y="float[2,5] y",
        init=INIT | {"flat": ints(-1), "i": ints(*order, *(6 + place for place in order)), "back": ints(2, 6)},
    )
    check_exact(model)


def test_gather_that_swaps_the_images_of_a_batch_is_refused() -> None:
    model = text_model(
        f"m = ReduceMean<axes=[2, 3]>(x)\n r = Reshape(m, flat)\n g = Gather<axis=0>(r, i)\n"
        f" f = Reshape(g, back)\n {LAST}",
        x="float[2,6,3,5] x",
        y="float[2,5] y",
        init=INIT | {"flat": ints(-1), "i": ints(*range(6, 12), *range(6)), "back": ints(2, 6)},
    )
    check_refused(model, "spatial-mixing-after-pool", "'g'")


def test_transpose_of_two_wide_axes_reorders_channels() -> None:
    model = text_model(
        f"p = GlobalAveragePool(x)\n r = Reshape(p, s)\n t = Transpose<perm=[0, 2, 1]>(r)\n f = Flatten(t)\n {LAST}",
        init=INIT | {"s": ints(0, 2, 3)},
    )
    check_exact(model)


def test_channel_shuffle_after_the_pool() -> None:
    model = text_model(
        f"""p = GlobalAveragePool(x)
        r = Reshape(p, s)
        t = Transpose<perm=[0, 2, 1, 3, 4]>(r)
        f = Reshape(t, flat)
        {LAST}""",
        init=INIT | {"s": ints(0, 3, 2, 1, 1), "flat": ints(0, 6)},
    )
    check_exact(model)


@pytest.mark.parametrize("part", [0, 1])
def test_split_takes_its_part_of_the_channels(part: int) -> None:
    names = ["f", "rest"] if part == 0 else ["rest", "f"]
    model = text_model(
        f"p = ReduceMean<axes=[2, 3], keepdims=0>(x)\n {names[0]}, {names[1]} = Split<axis=1>(p, sizes)\n {LAST}",
        init={"w": weights(5, 4), "b": B, "sizes": ints(4, 2) if part == 0 else ints(2, 4)},
    )
    check_exact(model)


def test_slice_with_a_step_takes_every_second_channel() -> None:
    model = text_model(
        f"p = ReduceMean<axes=[2, 3], keepdims=0>(x)\n f = Slice(p, z, n, a, t)\n {LAST}",
        init={"w": weights(5, 3), "b": B, "z": ints(5), "n": ints(-100), "a": ints(-1), "t": ints(-2)},
    )
    check_exact(model)


def test_classes_sliced_off_the_logits_leave_the_grid_too() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n z = Gemm<transB=1>(f, w, b)\n y = Slice(z, one, end, one)",
        y="float[N,4] y",
        init=INIT | {"one": ints(1), "end": ints(99)},
    )
    found = check_exact(model)
    assert found.grid.shape[1] == 4


def test_logits_of_four_axes_become_a_plain_matrix() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n y = Conv(p, k, b)", y="float[N,5,1,1] y", init={"k": W.reshape(5, 6, 1, 1), "b": B}
    )
    assert check_exact(model).logits.shape == (3, 5)


def test_logits_with_the_batch_last_are_turned() -> None:
    model = text_model(
        "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n t = Transpose(f)\n y = MatMul(w, t)",
        x="float[1,6,3,5] x",
        y="float[5,1] y",
        init={"w": W},
    )
    x = images(model)
    found = lift(model, x)
    assert_close(found.logits, found.vendor[0].T)
    expected = np.einsum("kc,nchw->nkhw", W.astype(np.float64), x.astype(np.float64))
    assert_close(found.grid, expected)


def test_dropout_in_training_mode_is_refused() -> None:
    model = text_model(
        f"p = GlobalAveragePool(x)\n d = Dropout(p, r, t)\n f = Flatten(d)\n {LAST}",
        init=INIT | {"r": np.float32(0.5), "t": np.array(True)},
    )
    check_refused(model, "random-head", "Dropout")


def test_cells_alone_are_told_apart_by_the_reference() -> None:
    """The reference itself can fail: another cell's features give another answer."""
    model = text_model(f"p = GlobalAveragePool(x)\n f = Flatten(p)\n {LAST}", init=INIT)
    alone = cell_by_cell(model, images(model))
    assert np.unique(alone.round(4)).size == alone.size
