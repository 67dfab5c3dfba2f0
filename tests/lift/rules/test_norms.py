"""Norms after the pool: divided by the size of the pooled vector."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers.support import (
    chain,
    check_conditional,
    check_exact,
    check_refused,
    dense,
    images,
    lift,
    pooled,
    text_model,
    weights,
)

W, S, T = weights(5, 6), weights(6), weights(6, seed=2)
POOL = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)"
LAST = "y = Gemm<transB=1>(n, w)"
EPSILON = 1e-3


def layer_norm(scale: np.ndarray | float = 1.0, bias: np.ndarray | float = 0.0, epsilon: float = EPSILON) -> object:
    def apply(cells: np.ndarray) -> np.ndarray:
        centred = cells - cells.mean(axis=1, keepdims=True)
        spread = pooled(cells).var(axis=1, keepdims=True)
        return centred / np.sqrt(spread + epsilon) * column(scale) + column(bias)

    return apply


def rms_norm(scale: np.ndarray | float = 1.0, epsilon: float = EPSILON) -> object:
    def apply(cells: np.ndarray) -> np.ndarray:
        return cells / np.sqrt((pooled(cells) ** 2).mean(axis=1, keepdims=True) + epsilon) * column(scale)

    return apply


def column(values: np.ndarray | float) -> np.ndarray:
    array = np.asarray(values, np.float64)
    return array.reshape(-1, 1, 1) if array.ndim else array


@pytest.mark.parametrize("batch", ["N", "1", "2"])
@pytest.mark.parametrize("axis", [-1, 1])
def test_layer_normalization_operator(batch: str, axis: int) -> None:
    model = text_model(
        f"{POOL}\n n = LayerNormalization<axis={axis}, epsilon=0.001>(f, s, t)\n {LAST}",
        x=f"float[{batch},6,3,5] x",
        y=f"float[{batch},5] y",
        init={"w": W, "s": S, "t": T},
    )
    check_conditional(model, chain(layer_norm(S, T), dense(W)))


def test_layer_normalization_without_bias() -> None:
    model = text_model(f"{POOL}\n n = LayerNormalization<epsilon=0.001>(f, s)\n {LAST}", init={"w": W, "s": S})
    check_conditional(model, chain(layer_norm(S), dense(W)))


def test_layer_normalization_between_transposes() -> None:
    """ConvNeXt: (N, C, 1, 1) to NHWC, norm, back."""
    model = text_model(
        "p = GlobalAveragePool(x)\n a = Transpose<perm=[0, 2, 3, 1]>(p)\n"
        " c = LayerNormalization<epsilon=0.001>(a, s, t)\n"
        " d = Transpose<perm=[0, 3, 1, 2]>(c)\n n = Flatten(d)\n " + LAST,
        init={"w": W, "s": S, "t": T},
    )
    check_conditional(model, chain(layer_norm(S, T), dense(W)))


@pytest.mark.parametrize("opset", [11, 17, 18])
def test_layer_normalization_spelled_out(opset: int) -> None:
    axes, init = ("<axes=[-1]>", {}) if opset < 18 else ("", {"a": np.array([-1], np.int64)})
    operand = ", a" if opset >= 18 else ""
    pool = POOL if opset < 18 else "p = GlobalAveragePool(x)\n f = Flatten(p)"
    model = text_model(
        f"""{pool}
        m = ReduceMean{axes}(f{operand})
        c = Sub(f, m)
        q = Pow(c, two)
        v = ReduceMean{axes}(q{operand})
        e = Add(v, eps)
        d = Sqrt(e)
        u = Div(c, d)
        k = Mul(u, s)
        n = Add(k, t)
        y = Gemm<transB=1>(n, w, b)""",
        opset=opset,
        init={"w": W, "b": np.zeros(5, np.float32), "s": S, "t": T, "two": np.float32(2), "eps": np.float32(EPSILON)}
        | init,
    )
    check_conditional(model, chain(layer_norm(S, T), dense(W)))


def test_rms_normalization_operator() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n n = RMSNormalization<epsilon=0.001>(f, s)\n " + LAST,
        opset=23,
        init={"w": W, "s": S},
    )
    check_conditional(model, chain(rms_norm(S), dense(W)))


def test_rms_normalization_spelled_out() -> None:
    model = text_model(
        f"{POOL}\n q = Mul(f, f)\n v = ReduceMean<axes=[1]>(q)\n e = Add(v, eps)\n d = Sqrt(e)\n u = Div(f, d)\n"
        f" n = Mul(u, s)\n {LAST}",
        init={"w": W, "s": S, "eps": np.float32(EPSILON)},
    )
    check_conditional(model, chain(rms_norm(S), dense(W)), instance=False)


def test_rms_normalization_by_a_reciprocal_root_keeps_it_as_a_gate() -> None:
    """``t * (1 / sqrt(mean t^2 + eps))``: the product lifts t, the rest is a gate."""
    model = text_model(
        f"{POOL}\n q = Pow(f, two)\n v = ReduceMean<axes=[1]>(q)\n e = Add(v, eps)\n d = Sqrt(e)\n r = Reciprocal(d)\n"
        f" n = Mul(f, r)\n {LAST}",
        init={"w": W, "two": np.float32(2), "eps": np.float32(EPSILON)},
    )
    check_conditional(model, chain(rms_norm(), dense(W)), instance=False)


@pytest.mark.parametrize("p", [1, 2])
def test_lp_normalization(p: int) -> None:
    model = text_model(f"{POOL}\n n = LpNormalization<axis=1, p={p}>(f)\n {LAST}", init={"w": W})

    def norm(cells: np.ndarray) -> np.ndarray:
        return cells / (np.abs(pooled(cells)) ** p).sum(axis=1, keepdims=True) ** (1 / p)

    check_conditional(model, chain(norm, dense(W)))


def test_layer_normalization_in_half_precision_does_not_overflow() -> None:
    """Squares of 300 exceed float16; the deviation is computed in float32."""
    model = text_model(
        f"{POOL}\n n = LayerNormalization(f, s)\n y = Gemm<transB=1>(n, w)",
        x="float16[N,6,3,5] x",
        y="float16[N,5] y",
        init={"w": W.astype(np.float16), "s": S.astype(np.float16)},
    )
    x = (images(model) * 100 + 300 * np.arange(6).reshape(6, 1, 1)).astype(np.float16)
    found = lift(model, x)
    mean = found.grid.astype(np.float64).mean(axis=(2, 3))
    assert np.abs(mean - found.logits).max() <= 1e-2 * np.abs(found.logits).max()
    expected = chain(layer_norm(S, 0.0, 1e-5), dense(W))(x.astype(np.float64))
    assert np.abs(found.grid - expected).max() <= 2e-2 * np.abs(expected).max()


def test_norm_before_the_pool_belongs_to_the_features() -> None:
    model = text_model(
        f"k = Transpose<perm=[0, 2, 3, 1]>(x)\n l = LayerNormalization(k, s)\n"
        f" n = ReduceMean<axes=[1, 2], keepdims=0>(l)\n {LAST}",
        init={"w": W, "s": S},
    )
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "exact"
    cells = x.astype(np.float64)
    centred = cells - cells.mean(axis=1, keepdims=True)
    normed = centred / np.sqrt(centred.var(axis=1, keepdims=True) + 1e-5) * column(S)
    np.testing.assert_allclose(found.grid, dense(W)(normed), atol=1e-5)


def test_norm_over_groups_of_channels_is_refused() -> None:
    model = text_model(
        f"{POOL}\n r = Reshape(f, shape)\n g = LayerNormalization(r, s)\n n = Flatten(g)\n {LAST}",
        init={"w": W, "s": S[:3], "shape": np.array([0, 2, 3], np.int64)},
    )
    check_refused(model, "unknown-operator", "'g'")


def test_norm_with_a_scale_from_a_second_input_is_refused() -> None:
    model = text_model(
        f"{POOL}\n n = LayerNormalization(f, meta)\n {LAST}", x="float[N,6,3,5] x, float[6] meta", init={"w": W}
    )
    check_refused(model, "unknown-operator", "'n'")


def test_affine_part_after_a_norm_of_the_trunk_is_exact() -> None:
    model = text_model(
        "a = LpNormalization<axis=1>(x)\n p = GlobalAveragePool(a)\n n = Flatten(p)\n y = Gemm<transB=1>(n, w)",
        init={"w": W},
    )
    x = images(model)
    unit = x / np.sqrt((x.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    found = lift(model, x)
    assert found.verdict == "exact"
    np.testing.assert_allclose(found.grid, dense(W)(unit), atol=1e-5)
    check_exact(text_model(f"{POOL}\n y = Gemm<transB=1>(f, w)", init={"w": W}))


def group_norm(groups: int, scale: np.ndarray, bias: np.ndarray, epsilon: float = EPSILON) -> object:
    """Centred in each cell, by the deviation of the pooled group."""

    def apply(cells: np.ndarray) -> np.ndarray:
        apart = cells.reshape(cells.shape[0], groups, -1, *cells.shape[2:])
        spread = pooled(cells).reshape(cells.shape[0], groups, -1, 1, 1).var(axis=2, keepdims=True)
        centred = (apart - apart.mean(axis=2, keepdims=True)) / np.sqrt(spread + epsilon)
        return centred.reshape(cells.shape) * column(scale) + column(bias)

    return apply


GROUP_NORMS = {
    "operator": ("g = GlobalAveragePool(x)\n m = GroupNormalization<num_groups=2, epsilon=0.001>(g, s, t)\n"
                 " n = Flatten(m)", 21),
    "spelled": ("g = GlobalAveragePool(x)\n r = Reshape(g, apart)\n"
                " i = InstanceNormalization<epsilon=0.001>(r, one, no)\n b = Reshape(i, back)\n c = Mul(b, s)\n"
                " n = Add(c, t)", 17),
}  # fmt: skip


@pytest.mark.parametrize("spelling", GROUP_NORMS)
def test_group_normalization_of_a_pooled_vector(spelling: str) -> None:
    body, opset = GROUP_NORMS[spelling]
    init = {"w": W, "s": S, "t": T, "apart": np.array([0, 2, 3]), "back": np.array([0, 6])}
    init |= {"one": np.ones(2, np.float32), "no": np.zeros(2, np.float32)}
    model = text_model(f"{body}\n {LAST}", opset=opset, init=init)
    check_conditional(model, chain(group_norm(2, S, T), dense(W)), tolerance=3e-5)
    report = rewrite(model, write=False).proof
    assert report is not None
    assert report.passed


def test_group_normalization_by_what_the_image_decides_is_refused() -> None:
    body = "g = GlobalAveragePool(x)\n f = Flatten(g)\n h = ReduceMean<axes=[0], keepdims=0>(f)\n"
    model = text_model(
        f"{body} m = GroupNormalization<num_groups=2>(g, h, t)\n n = Flatten(m)\n {LAST}",
        opset=17,
        init={"w": W, "t": T},
    )
    model.opset_import[0].version = 21
    model.graph.node[2].CopyFrom(onnx.helper.make_node("ReduceMean", ["f", "rows"], ["h"], keepdims=0))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "rows"))
    check_refused(model, "unknown-operator", "GroupNormalization")
