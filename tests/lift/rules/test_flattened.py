"""Fully connected heads on a flattened map: every cell by its own slice of the weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import (
    Head,
    assert_close,
    assert_in_reading_order,
    assert_mean_is_logits,
    chain,
    check_refused,
    dense,
    frozen,
    images,
    lift,
    rng,
    run,
    text_model,
    weights,
)

CONV = weights(6, 6, 1, 1)
W, B = weights(5, 90), weights(5)
TRUNK = "k = Conv(x, c)"
NHWC = "t = Transpose<perm=[0, 2, 3, 1]>(k)\n f = Flatten(t)"


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def trunk(x: np.ndarray) -> np.ndarray:
    return dense(CONV[:, :, 0, 0])(x.astype(np.float64))


def by_position(weight: np.ndarray, bias: np.ndarray | float = 0.0) -> Head:
    """``b + H*W * W_p A_p`` by a weight (K, C, H, W)."""

    def apply(cells: np.ndarray) -> np.ndarray:
        offset = np.broadcast_to(np.asarray(bias, np.float64), (weight.shape[0],))
        share = np.einsum("kchw,nchw->nkhw", weight.astype(np.float64), cells)
        return offset[:, None, None] + cells.shape[2] * cells.shape[3] * share

    return apply


@pytest.mark.parametrize("batch", ["N", "1", "2"])
@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("f = Flatten(k)\n y = Gemm<transB=1>(f, w, b)", {"w": W}, id="flatten_gemm"),
        pytest.param("f = Reshape(k, s)\n y = Gemm<transB=1>(f, w, b)", {"w": W, "s": ints(-1, 90)}, id="reshape_gemm"),
        pytest.param("f = Flatten(k)\n m = MatMul(f, w)\n y = Add(m, b)", {"w": W.T.copy()}, id="matmul_add"),
        pytest.param("d = Dropout(k)\n f = Flatten(d)\n y = Gemm<transB=1>(f, w, b)", {"w": W}, id="dropout_before"),
        pytest.param("f = Flatten(k)\n d = Dropout(f)\n y = Gemm<transB=1>(d, w, b)", {"w": W}, id="dropout_after"),
        pytest.param(
            "q = Conv(k, w, b)\n y = Flatten(q)", {"w": W.reshape(5, 6, 3, 5)}, id="convolution_as_large_as_the_map"
        ),
        pytest.param(
            "q = Conv(k, w, b)\n p = GlobalAveragePool(q)\n y = Flatten(p)",
            {"w": W.reshape(5, 6, 3, 5)},
            id="pool_of_one_position_behind_it",
        ),
        pytest.param(
            'f = Flatten(k)\n e = Einsum<equation="nf,fk->nk">(f, w)\n y = Add(e, b)',
            {"w": W.T.copy()},
            id="einsum",
        ),
        pytest.param(
            'f = Flatten(k)\n e = Einsum<equation="kf,nf">(w, f)\n t = Transpose(e)\n y = Add(t, b)',
            {"w": W},
            id="einsum_weights_first",
        ),
        pytest.param(
            'e = Einsum<equation="nchw,kchw->nk">(k, w)\n y = Add(e, b)',
            {"w": W.reshape(5, 6, 3, 5)},
            id="einsum_of_the_map",
        ),
        pytest.param(
            "t = Transpose<perm=[0, 2, 3, 1]>(k)\n f = Flatten(t)\n y = Gemm<transB=1>(f, w, b)",
            {"w": W.reshape(5, 6, 3, 5).transpose(0, 2, 3, 1).reshape(5, 90).copy()},
            id="flattened_in_nhwc",
        ),
    ],
)
def test_dense_layer_on_a_flattened_map(body: str, init: dict[str, np.ndarray], batch: str) -> None:
    model = text_model(
        f"{TRUNK}\n {body}", x=f"float[{batch},6,3,5] x", y=f"float[{batch},5] y", init={"c": CONV, "b": B} | init
    )
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "exact"
    assert found.rewrite.heads[0].position_dependent
    assert_mean_is_logits(found)
    assert_close(found.grid, by_position(W.reshape(5, 6, 3, 5), B)(trunk(x)))
    assert_close(found.features, trunk(x))


@pytest.mark.parametrize(
    ("body", "weight", "turned"),
    [
        pytest.param("f = Flatten(k)\n y = Gemm<transB=1>(f, w)", W, [2, 3, 0, 1], id="KCHW"),
        pytest.param("f = Flatten(k)\n y = Gemm(f, w)", W.T.copy(), [1, 2, 0, 3], id="CHWK"),
        pytest.param(
            f"{NHWC}\n y = Gemm<transB=1>(f, w)",
            W,
            [1, 2, 0, 3],
            id="KHWC",
        ),
        pytest.param(f"{NHWC}\n y = MatMul(f, w)", W.T.copy(), None, id="HWCK"),
    ],
)
def test_weights_are_turned_as_little_as_can_be(body: str, weight: np.ndarray, turned: list[int] | None) -> None:
    """Rows and channels are never exchanged: of a VGG's first layer that took a session seconds to start."""
    made = rewrite_model(text_model(f"{TRUNK}\n {body}", init={"c": CONV, "w": weight})).model
    (first,) = [node.output[0] for node in made.graph.node if node.op_type == "Reshape" and node.input[0] == "w"]
    perms = [
        list(node.attribute[0].ints)
        for node in made.graph.node
        if node.op_type == "Transpose" and node.input[0] == first
    ]
    assert perms == ([turned] if turned is not None else [])


def test_activation_on_the_flattened_vector_belongs_to_the_features() -> None:
    model = text_model(
        f"{TRUNK}\n f = Flatten(k)\n r = Relu(f)\n y = Gemm<transB=1>(r, w, b)", init={"c": CONV, "w": W, "b": B}
    )
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "exact"
    assert_close(found.features, np.maximum(trunk(x), 0))
    assert_close(found.grid, by_position(W.reshape(5, 6, 3, 5), B)(np.maximum(trunk(x), 0)))


def test_second_layer_behind_an_activation_is_conditional() -> None:
    first, second = weights(7, 90), weights(5, 7)
    model = text_model(
        f"{TRUNK}\n f = Flatten(k)\n z = Gemm<transB=1>(f, w, a)\n r = Relu(z)\n y = Gemm<transB=1>(r, v, b)",
        init={"c": CONV, "w": first, "a": weights(7), "v": second, "b": B},
    )
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    steps = chain(
        by_position(first.reshape(7, 6, 3, 5), weights(7)), frozen(lambda z: np.maximum(z, 0)), dense(second, B)
    )
    assert_close(found.grid, steps(trunk(x)), 3e-5)


def test_weighted_sum_by_a_depthwise_convolution() -> None:
    model = text_model(
        f"{TRUNK}\n q = Conv<group=6>(k, w, b)\n y = Flatten(q)",
        y="float[N,6] y",
        init={"c": CONV, "w": weights(6, 1, 3, 5), "b": weights(6)},
    )
    x = images(model)
    found = lift(model, x)
    assert_mean_is_logits(found)
    expected = 15 * trunk(x) * weights(6, 1, 3, 5)[:, 0] + weights(6)[:, None, None]
    assert_close(found.grid, expected)


EACH = weights(6)


@pytest.mark.parametrize(
    ("body", "weight"),
    [
        ("q = Conv<group=6>(k, w)\n p = Flatten(q)", np.full((6, 1, 3, 5), 1 / 15)),
        ("q = Conv<group=6>(k, w)\n p = Flatten(q)", np.broadcast_to(EACH[:, None, None, None] / 15, (6, 1, 3, 5))),
        ("q = Conv(k, w)\n p = Flatten(q)", np.broadcast_to(np.diag(EACH)[:, :, None, None] / 15, (6, 6, 3, 5))),
        ("f = Flatten(k)\n p = MatMul(f, w)", np.repeat(np.diag(EACH) / 15, 15, axis=0)),
        ('f = Flatten(k)\n p = Einsum<equation="nf,kf->nk">(f, w)', np.repeat(np.diag(EACH) / 15, 15, axis=1)),
    ],
)
def test_weights_that_are_alike_at_all_positions_make_a_pool(body: str, weight: np.ndarray) -> None:
    """A mean spelled as a convolution as large as the map, or as a dense layer, depends on no position."""
    model = text_model(
        f"{TRUNK}\n {body}\n y = Gemm<transB=1>(p, v, b)",
        init={"c": CONV, "w": weight.astype(np.float32), "v": weights(5, 6), "b": B},
    )
    x = images(model)
    found = lift(model, x)
    (head,) = found.rewrite.heads
    assert (found.verdict, head.position_dependent, head.pool_weights) == ("exact", False, ())
    assert_mean_is_logits(found)
    scale = 1 if weight.ndim == 4 and weight.shape[1] == 1 and np.ptp(weight) == 0 else EACH[:, None, None]
    assert_close(found.grid, dense(weights(5, 6), B)(trunk(x) * scale))


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param(
            "f = Flatten(k)\n g = Gather<axis=1>(f, i)", {"i": np.random.default_rng(0).permutation(90)}, id="shuffled"
        ),
        pytest.param(
            "f = Flatten(k)\n g = Slice(f, a, e, o, a)", {"a": ints(-1), "e": ints(-999), "o": ints(1)}, id="reversed"
        ),
        pytest.param(
            "f = Flatten(k)\n r = Reshape(f, s)\n t = Transpose<perm=[0, 2, 1]>(r)\n g = Flatten(t)",
            {"s": ints(0, 45, 2)},
            id="turned",
        ),
    ],
)
def test_features_that_were_moved_after_flattening_are_refused(body: str, init: dict[str, np.ndarray]) -> None:
    """The mean would hold, on cells that are no places."""
    model = text_model(f"{TRUNK}\n {body}\n y = Gemm<transB=1>(g, w)", init={"c": CONV, "w": W} | init)
    check_refused(model, "flatten-head", "'y'")


def test_running_sum_over_the_flattened_map_is_refused() -> None:
    model = text_model(
        f"{TRUNK}\n f = Flatten(k)\n g = CumSum(f, one)\n y = Gemm<transB=1>(g, w)",
        init={"c": CONV, "w": W, "one": np.int64(1)},
    )
    check_refused(model, "flatten-head", "'y'")


def test_map_whose_axes_nothing_tells_is_refused() -> None:
    model = text_model("f = Flatten(x)\n y = Gemm<transB=1>(f, w)", init={"w": W})
    check_refused(model, "flatten-head", "'y'")


def test_weights_of_one_size_on_an_open_size_are_refused() -> None:
    model = text_model(
        "k = Conv<strides=[32, 32]>(x, c)\n f = Flatten(k)\n y = Gemm<transB=1>(f, w)",
        x="float[N,3,H,W] x",
        init={"c": weights(6, 3, 1, 1), "w": weights(5, 6 * 49)},
    )
    check_refused(model, "flatten-head", "'y'")


# --- places --------------------------------------------------------------------------------------------------------


def test_map_whose_rows_and_columns_were_exchanged_keeps_its_places() -> None:
    """Flattened column by column: the grid still has the image's rows as rows."""
    model = text_model(
        f"{TRUNK}\n t = Transpose<perm=[0, 1, 3, 2]>(k)\n f = Flatten(t)\n y = Gemm<transB=1>(f, w, b)",
        init={"c": CONV, "w": W, "b": B},
    )
    x = images(model)
    found = lift(model, x)
    assert_mean_is_logits(found)
    assert_close(found.features, trunk(x))
    assert_close(found.grid, by_position(W.reshape(5, 6, 5, 3).transpose(0, 1, 3, 2), B)(trunk(x)))


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("r = Reshape(k, s)\n f = Flatten(r)", {"s": ints(0, 6, 15)}, id="in_two_steps"),
        pytest.param("r = Reshape(k, s)\n f = Flatten(r)", {"s": ints(0, 2, 3, 3, 5)}, id="by_way_of_five_axes"),
        pytest.param(
            "f0 = Flatten(k)\n u = Unsqueeze(f0, a)\n f = Squeeze(u, a)", {"a": ints(2)}, id="with_a_unit_axis"
        ),
    ],
)
def test_flattening_in_several_steps(body: str, init: dict[str, np.ndarray]) -> None:
    model = text_model(f"{TRUNK}\n {body}\n y = Gemm<transB=1>(f, w, b)", init={"c": CONV, "w": W, "b": B} | init)
    x = images(model)
    assert_close(lift(model, x).grid, by_position(W.reshape(5, 6, 3, 5), B)(trunk(x)))


def test_tokens_flattened_one_after_another() -> None:
    model = text_model(
        f"{TRUNK}\n r = Reshape(k, s)\n t = Transpose<perm=[0, 2, 1]>(r)\n f = Flatten(t)\n y = Gemm(f, w, b)",
        init={"c": CONV, "w": W.T.copy(), "b": B, "s": ints(0, 6, 15)},
    )
    x = images(model)
    weight = W.reshape(5, 3, 5, 6).transpose(0, 3, 1, 2)
    assert_close(lift(model, x).grid, by_position(weight, B)(trunk(x)))


def test_normalized_vector_belongs_to_the_features() -> None:
    scale, shift = weights(90, seed=2), weights(90, seed=3)
    model = text_model(
        f"{TRUNK}\n f = Flatten(k)\n n = BatchNormalization(f, s, t, m, v)\n y = Gemm<transB=1>(n, w, b)",
        init={
            "c": CONV,
            "w": W,
            "b": B,
            "s": scale,
            "t": shift,
            "m": np.zeros(90, np.float32),
            "v": np.ones(90, np.float32),
        },
    )
    x = images(model)
    deviation = np.sqrt(1 + 1e-5)
    cells = trunk(x) * scale.reshape(6, 3, 5) / deviation + shift.reshape(6, 3, 5)
    found = lift(model, x)
    assert_close(found.features, cells, 3e-5)
    assert_close(found.grid, by_position(W.reshape(5, 6, 3, 5), B)(cells), 3e-5)


def test_quantized_vector_belongs_to_the_features() -> None:
    model = text_model(
        f"{TRUNK}\n f = Flatten(k)\n q = QuantizeLinear(f, s, z)\n d = DequantizeLinear(q, s, z)\n"
        " y = Gemm<transB=1>(d, w, b)",
        init={"c": CONV, "w": W, "b": B, "s": np.float32(0.1), "z": np.uint8(0)},
    )
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "exact"
    assert_mean_is_logits(found)
    steps = found.features.astype(np.float64) / np.float32(0.1)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    assert np.abs(found.features - np.clip(trunk(x), 0, 25.5)).max() <= 0.051
    assert_close(found.grid, by_position(W.reshape(5, 6, 3, 5), B)(found.features.astype(np.float64)))


@pytest.mark.parametrize("bias", [(5,), (1, 5), (1,), (1, 1), ()])
def test_bias_in_every_shape(bias: tuple[int, ...]) -> None:
    value = weights(*bias)
    model = text_model(f"{TRUNK}\n f = Flatten(k)\n y = Gemm<transB=1>(f, w, b)", init={"c": CONV, "w": W, "b": value})
    x = images(model)
    assert_close(lift(model, x).grid, by_position(W.reshape(5, 6, 3, 5), value.reshape(-1))(trunk(x)))


@pytest.mark.parametrize("bias", [(5, 1), (5, 5)])
def test_bias_of_its_own_for_each_image_is_refused(bias: tuple[int, ...]) -> None:
    model = text_model(
        f"{TRUNK}\n f = Flatten(k)\n y = Gemm<transB=1>(f, w, b)",
        x="float[5,6,3,5] x",
        y="float[5,5] y",
        init={"c": CONV, "w": W, "b": weights(*bias)},
    )
    check_refused(model, "unknown-operator", "'y'")


@pytest.mark.parametrize(
    "body", ["f = Flatten(k)\n y = Gemm<transB=1>(f, w, bias)", "q = Conv(k, v, bias)\n y = Flatten(q)"]
)
def test_bias_from_another_input_is_refused(body: str) -> None:
    model = text_model(
        f"{TRUNK}\n {body}",
        x="float[N,6,3,5] x, float[5] bias",
        init={"c": CONV, "w": W, "v": W.reshape(5, 6, 3, 5)},
    )
    check_refused(model, "unknown-operator")


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("m = Slice(k, last, start, columns, last)", {}, id="mirrored"),
        pytest.param("m = Reshape(k, other)", {"other": ints(0, 6, 6, 4)}, id="other_rows"),
        pytest.param(
            "r = Reshape(k, blocks)\n t = Transpose<perm=[0, 1, 2, 4, 3, 5]>(r)\n m = Reshape(t, back)",
            {"blocks": ints(0, 6, 2, 2, 2, 3), "back": ints(0, 6, 4, 6)},
            id="windows",
        ),
    ],
)
@pytest.mark.parametrize("whole", [False, True], ids=["flattened", "convolution"])
def test_map_whose_positions_were_moved_is_put_back(body: str, init: dict[str, np.ndarray], whole: bool) -> None:
    last = "q = Conv(m, full)\n y = Flatten(q)" if whole else "f = Flatten(m)\n y = Gemm<transB=1>(f, w)"
    height, width = (6, 4) if "other" in body else (4, 6)
    more = {"full": weights(5, 6, height, width), "last": ints(-1), "start": ints(-99), "columns": ints(3)}
    model = text_model(
        f"{TRUNK}\n {body}\n {last}", x="float[N,6,4,6] x", init={"c": CONV, "w": weights(5, 144)} | more | init
    )
    assert_in_reading_order(model)


def test_row_of_as_many_positions_as_channels_stays_a_row() -> None:
    model = text_model(
        f"{TRUNK}\n r = Reshape(k, s)\n t = Transpose<perm=[0, 2, 1]>(r)\n f = Flatten(t)\n y = Gemm<transB=1>(f, w)",
        x="float[N,6,1,6] x",
        init={"c": CONV, "w": weights(5, 36), "s": ints(0, 6, 6)},
    )
    assert lift(model, images(model)).grid.shape == (3, 5, 1, 6)


# --- what only looks flattened -------------------------------------------------------------------------------------

SQUARE = weights(90, 90)


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("f = Flatten(k)\n g = Gemm<alpha=0.5>(f, q)", {"q": SQUARE}, id="scaled_dense_layer"),
        pytest.param("f = Reshape(k, s)\n v = Conv(f, q)\n"
                     " g = Flatten(v)", {"q": SQUARE[:, :, None, None], "s": ints(0, 90, 1, 1)},
                     id="dense_layer_as_convolution"),
        pytest.param("f = Reshape(k, s)\n v = MatMul(f, q)\n"
                     " g = Flatten(v)", {"q": weights(15, 15), "s": ints(0, 6, 15)},
                     id="mixed_positions"),
        pytest.param("f = Reshape(k, s)\n v = Transpose<perm=[0, 1, 3, 5, 2, 4]>(f)\n g = Flatten(v)",
                     {"s": ints(0, 6, 3, 1, 5, 1)}, id="turned_blocks"),
        pytest.param("f = Flatten(k)\n v = Softmax<axis=1>(f)\n i0, g0 = TopK(v, n)\n"
                     " g = Cast<to=1>(g0)", {"n": ints(90)}, id="sorted"),
        pytest.param("v = Conv<pads=[1, 1, 1, 1], strides=[9, 9]>(k, q)\n g = Flatten(v)", {"q": weights(90, 6, 5, 7)},
                     id="padded_convolution"),
        pytest.param("v = Conv<dilations=[2, 2]>(k, q)\n"
                     " g = Flatten(v)", {"q": weights(90, 6, 2, 3)}, id="dilated_convolution"),
        pytest.param("v = Conv<group=2>(k, q)\n"
                     " g = Flatten(v)", {"q": weights(90, 3, 3, 5)}, id="convolution_in_two_groups"),
    ],
)  # fmt: skip
def test_layer_between_that_mixes_places_is_refused(body: str, init: dict[str, np.ndarray]) -> None:
    """The mean over made-up cells would be the logits all the same."""
    model = text_model(f"{TRUNK}\n {body}\n y = Gemm<transB=1>(g, w)", init={"c": CONV, "w": W} | init)
    with pytest.raises(UnsupportedHeadError):
        rewrite_model(model)


# --- at random -----------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**16),
    size=st.tuples(st.integers(2, 4), st.integers(2, 4)),
    channels=st.integers(2, 4),
    layout=st.sampled_from(["NCHW", "NHWC", "NTC", "conv"]),
    batch=st.sampled_from(["N", "1", "2"]),
    relu=st.booleans(),
    deep=st.booleans(),
)
def test_random_flattened_head(
    seed: int, size: tuple[int, int], channels: int, layout: str, batch: str, relu: bool, deep: bool
) -> None:
    generator = rng(seed)
    height, width = size
    count = height * width * channels
    weight = generator.standard_normal((7, channels, height, width)).astype(np.float32)
    last, conv = generator.standard_normal((5, 7)).astype(np.float32), weights(channels, channels, 1, 1)
    order = {"NCHW": (1, 2, 3), "NHWC": (2, 3, 1), "NTC": (2, 3, 1), "conv": (1, 2, 3)}[layout]
    lines = ["k0 = Conv(x, c)", "k = Relu(k0)" if relu else "k = Identity(k0)"]
    if layout == "conv":
        lines += ["g = Conv(k, full)", "z = Flatten(g)"]
    else:
        lines += {
            "NCHW": ["m = Identity(k)"],
            "NHWC": ["m = Transpose<perm=[0, 2, 3, 1]>(k)"],
            "NTC": ["m0 = Reshape(k, tokens)", "m = Transpose<perm=[0, 2, 1]>(m0)"],
        }[layout] + ["f = Flatten(m)", "z = MatMul(f, full)"]
    lines += ["h = Relu(z)", "y = Gemm<transB=1>(h, last)"] if deep else ["y = Gemm<transB=1>(z, last)"]
    full = weight if layout == "conv" else weight.transpose(*order, 0).reshape(count, 7).copy()
    model = text_model(
        "\n ".join(lines),
        x=f"float[{batch},{channels},{height},{width}] x",
        y=f"float[{batch},5] y",
        init={"c": conv, "full": full, "last": last, "tokens": ints(0, channels, -1)},
    )
    x = generator.standard_normal((3 if batch == "N" else int(batch), channels, height, width)).astype(np.float32)
    found = lift(model, x, check=False)
    cells = dense(conv[:, :, 0, 0])(x.astype(np.float64))
    cells = np.maximum(cells, 0) if relu else cells
    steps: list[Head] = [by_position(weight), *([frozen(lambda z: np.maximum(z, 0))] if deep else []), dense(last)]
    assert found.verdict == ("conditional" if deep else "exact")
    assert found.rewrite.heads[0].position_dependent
    assert_close(found.grid, chain(*steps)(cells), 1e-3 if deep else 3e-5)
    other = x.copy()
    other[:, :, -1, -1] += 1
    (features,) = run(found.rewrite.model, other, [found.rewrite.heads[0].features])
    differ = np.abs(features - found.features).max(axis=(0, 1)) > 0
    assert differ.sum() <= 1
    assert not differ.any() or differ[-1, -1]
