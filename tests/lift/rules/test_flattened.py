"""Fully connected heads on a flattened map: every cell by its own slice of the weights."""

from __future__ import annotations

import numpy as np
import pytest
from support import (
    assert_close,
    assert_mean_is_logits,
    chain,
    check_refused,
    dense,
    frozen,
    images,
    lift,
    text_model,
    weights,
)

CONV = weights(6, 6, 1, 1)
W, B = weights(5, 90), weights(5)
TRUNK = "k = Conv(x, c)"


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def trunk(x: np.ndarray) -> np.ndarray:
    return dense(CONV[:, :, 0, 0])(x.astype(np.float64))


def by_position(weight: np.ndarray, bias: np.ndarray | float = 0.0) -> object:
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
    check_refused(model, "unknown-operator", "'g'")


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
