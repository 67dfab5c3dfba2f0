"""Reductions over pooled channels: by their slopes at the pooled value; a float64 formula is the reference."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers.support import (
    Head,
    assert_close,
    chain,
    check_conditional,
    check_refused,
    dense,
    images,
    lift,
    pooled,
    text_model,
    weights,
)

V = weights(15, 6)
W = weights(5, 6)
POOL = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)"
PIECES = f"{POOL}\n z = Gemm<transB=1>(f, v)\n r = Reshape(z, s)"
INIT = {"v": V, "s": np.array([0, 5, 3], np.int64)}

Slope = "np.ndarray"


def tangent(value: Head, slope: Head) -> Head:
    """``y + sum_j s_j (z_j - t_j)`` over axis 2 of (N, 5, 3, H, W), y and s at the pooled t."""

    def apply(cells: np.ndarray) -> np.ndarray:
        n, _, height, width = cells.shape
        z = cells.reshape(n, 5, 3, height, width)
        t = pooled(cells).reshape(n, 5, 3, 1, 1)
        return value(t) + (slope(t) * (z - t)).sum(axis=2)

    return apply


def log_sum_exp(t: np.ndarray) -> np.ndarray:
    return np.log(np.exp(t).sum(axis=2))


FORMULAS: dict[str, tuple[Head, Head]] = {
    "ReduceMax": (lambda t: t.max(axis=2), lambda t: t == t.max(axis=2, keepdims=True)),
    "ReduceMin": (lambda t: t.min(axis=2), lambda t: t == t.min(axis=2, keepdims=True)),
    "ReduceLogSumExp": (log_sum_exp, lambda t: np.exp(t - log_sum_exp(t)[:, :, None])),
    "ReduceL1": (lambda t: np.abs(t).sum(axis=2), np.sign),
    "ReduceL2": (
        lambda t: np.sqrt((t**2).sum(axis=2)),
        lambda t: t / np.sqrt((t**2).sum(axis=2, keepdims=True)),
    ),
}


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("operator", sorted(FORMULAS))
def test_reduction_over_the_pieces_of_each_class(operator: str, keepdims: int) -> None:
    model = text_model(f"{PIECES}\n p = {operator}<axes=[2], keepdims={keepdims}>(r)\n y = Flatten(p)", init=INIT)
    check_conditional(model, chain(dense(V), tangent(*FORMULAS[operator])))


def test_sum_of_squares_by_its_own_factors() -> None:
    """``sum z * t``: it is homogeneous of degree two, so that no constant is needed."""

    def expected(cells: np.ndarray) -> np.ndarray:
        z = dense(V)(cells)
        return (z * pooled(z)).reshape(z.shape[0], 5, 3, *z.shape[2:]).sum(axis=2)

    check_conditional(text_model(f"{PIECES}\n y = ReduceSumSquare<axes=[2], keepdims=0>(r)", init=INIT), expected)


def test_logarithm_of_a_sum_of_positive_channels() -> None:
    model = text_model(f"{PIECES}\n y = ReduceLogSum<axes=[2], keepdims=0>(r)", init=INIT | {"v": np.abs(V)})
    formula = tangent(lambda t: np.log(t.sum(axis=2)), lambda t: np.ones_like(t) / t.sum(axis=2, keepdims=True))
    check_conditional(model, chain(dense(np.abs(V)), formula), images(model, low=0.5))


def test_ties_share_the_maximum() -> None:
    model = text_model(f"{PIECES}\n y = ReduceMax<axes=[2], keepdims=0>(r)", init=INIT | {"v": np.repeat(W, 3, axis=0)})
    found = lift(model, images(model))
    assert_close(found.grid, dense(W)(found.x.astype(np.float64)))


@pytest.mark.parametrize("size", ["3,5", "H,W"])
def test_distances_to_prototypes(size: str) -> None:
    """Negative squared distances to K centroids, spelled by broadcasting; also where the size is open."""
    centres = weights(1, 5, 6)
    model = text_model(
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n u = Unsqueeze(f, one)\n d = Sub(u, c)\n q = Mul(d, d)\n"
        " s = ReduceSum<keepdims=0>(q, two)\n y = Neg(s)",
        x=f"float[N,6,{size}] x",
        init={"c": centres, "one": np.array([1]), "two": np.array([2])},
    )
    x = weights(3, 6, 3, 5)
    found = lift(model, x)
    cells = x.astype(np.float64)[:, None] - centres[0][None, :, :, None, None]
    t = cells.mean(axis=(3, 4), keepdims=True)
    assert found.verdict == "conditional"
    assert_close(found.grid, -(cells * t).sum(axis=2), 2e-5)


SPELLINGS = {
    "spelled_out": "l = ReduceLogSumExp<axes=[1]>(z)\n y = Sub(z, l)",
    "without_its_axis_kept": "l = ReduceLogSumExp<axes=[1], keepdims=0>(z)\n u = Unsqueeze(l, one)\n y = Sub(z, u)",
}


@pytest.mark.parametrize("spelling", sorted(SPELLINGS))
def test_log_softmax_takes_the_normalizer_by_its_shares(spelling: str) -> None:
    model = text_model(
        f"{POOL}\n z = Gemm<transB=1>(f, w)\n {SPELLINGS[spelling]}", init={"w": W, "one": np.array([1])}
    )

    def expected(cells: np.ndarray) -> np.ndarray:
        z = dense(W)(cells)
        t = pooled(z)
        total = np.log(np.exp(t).sum(axis=1, keepdims=True))
        return z - total - (np.exp(t - total) * (z - t)).sum(axis=1, keepdims=True)

    check_conditional(model, expected, tolerance=2e-5)


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceL2", "ReduceLogSumExp"])
def test_reduction_over_the_batch_is_refused(operator: str) -> None:
    model = text_model(
        f"{POOL}\n m = {operator}<axes=[0]>(f)\n s = Add(f, m)\n y = Gemm<transB=1>(s, w)", init={"w": W}
    )
    check_refused(model, "spatial-mixing-after-pool")


LOG_SOFTMAX = {
    "operator": "l = LogSoftmax<axis=1>(z)",
    "log_sum_exp": "n = ReduceLogSumExp<axes=[1]>(z)\n l = Sub(z, n)",
    "spelled": "e = Exp(z)\n t = ReduceSum(e, one)\n n = Log(t)\n l = Sub(z, n)",
}


@pytest.mark.parametrize("spelling", LOG_SOFTMAX)
def test_log_softmax_within_a_head(spelling: str) -> None:
    model = text_model(
        f"{POOL}\n z = Gemm<transB=1>(f, w)\n {LOG_SOFTMAX[spelling]}\n y = Gemm<transB=1>(l, v)",
        init={"w": W, "v": weights(4, 5, seed=3), "one": np.array([1])}, y="float[N,4] y",
    )  # fmt: skip

    def expected(cells: np.ndarray) -> np.ndarray:
        z = dense(W)(cells)
        t = pooled(z)
        total = np.log(np.exp(t).sum(axis=1, keepdims=True))
        return dense(weights(4, 5, seed=3))(z - total - (np.exp(t - total) * (z - t)).sum(axis=1, keepdims=True))

    check_conditional(model, expected, tolerance=2e-5)


@pytest.mark.parametrize("spelling", LOG_SOFTMAX)
def test_a_class_that_is_nearly_sure_loses_no_digits(spelling: str) -> None:
    """Its logarithm is near 0, a difference of large numbers in every cell."""
    model = text_model(
        f"{POOL}\n z = Gemm<transB=1>(f, w, b)\n {LOG_SOFTMAX[spelling]}\n y = Identity(l)",
        init={"w": W, "b": np.array([12, 0, 1, 2, 3], np.float32), "one": np.array([1])},
    )
    # An Add keeps the operator from being the last, whose logits are what it reads.
    model.graph.node[-1].CopyFrom(onnx.helper.make_node("Add", ["l", "nought"], ["y"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(5, np.float32), "nought"))
    report = rewrite(model, write=False).proof
    assert report is not None
    assert report.passed


def test_one_image_reduced_with_its_channels_is_no_crash() -> None:
    body = f"{POOL}\n z = Gemm<transB=1>(f, w)\n y = ReduceMean<axes=[0, 1], keepdims=0>(z)"
    model = text_model(body, x="float[1,6,3,5] x", y="float y", init={"w": W})
    found = lift(model, images(model))
    assert found.grid.shape == (1, 1, 3, 5)
    np.testing.assert_allclose(found.grid.mean(), found.vendor[0], atol=1e-6)


def stacked(hidden: str, batch: str) -> onnx.ModelProto:
    """``torch.stack([head(mean of hidden states), head(mean of the map)]).sum(0)``, as EfficientViM fuses its heads."""
    return text_model(
        f"""
        flat = Reshape(x, flat_map)
        scores = Conv(x, c)
        flat_scores = Reshape(scores, flat_states)
        shares = Softmax<axis=-1>(flat_scores)
        turned = Transpose<perm=[0, 2, 1]>(shares)
        states = MatMul(flat, turned)
        t = Transpose<perm=[0, 2, 1]>(states)
        n = LayerNormalization<axis=-1>(t, ones)
        m = ReduceMean<axes=[1], keepdims=0>({hidden})
        p = ReduceMean<axes=[2, 3], keepdims=0>(x)
        a = Gemm<transB=1>(m, w)
        b = Gemm<transB=1>(p, u)
        a0 = Unsqueeze(a, zero)
        b0 = Unsqueeze(b, zero)
        s = Concat<axis=0>(a0, b0)
        y = ReduceSum<keepdims=0>(s, zero)""",
        x=f"float[{batch},6,3,5] x",
        y=f"float[{batch},5] y",
        init={
            "c": weights(4, 6, 1, 1),
            "flat_map": np.array([0, 6, -1], np.int64),
            "flat_states": np.array([0, 4, -1], np.int64),
            "ones": np.ones(6, np.float32),
            "w": W,
            "u": weights(5, 6, seed=1),
            "zero": np.array([0], np.int64),
        },
    )


@pytest.mark.parametrize("batch", ["1", "N"])
def test_sum_of_stacked_logits_is_refused_for_what_they_are_made_of(batch: str) -> None:
    """The axis of the stack is not the batch, even where no coordinates say which axis is."""
    check_refused(stacked("n", batch), "learned-tokens", "'m'")


@pytest.mark.parametrize("batch", ["1", "N"])
def test_sum_of_stacked_logits_lifts(batch: str) -> None:
    model = stacked("t", batch)
    x = images(model, 1 if batch == "1" else 3)
    found = lift(model, x)
    cells = x.astype(np.float64).reshape(*x.shape[:2], 15)
    scores = np.exp(np.einsum("sc,ncp->nsp", weights(4, 6, 1, 1)[:, :, 0, 0], cells))
    shares = (scores / scores.sum(axis=2, keepdims=True)).mean(axis=1, keepdims=True)
    expected = dense(W)((15 * shares * cells)[..., None]) + dense(weights(5, 6, seed=1))(cells[..., None])
    assert_close(found.grid.reshape(expected.shape), expected)


#: Along an axis of extent 1, each from the pooled numbers t and the cells z.
ALONE: dict[str, tuple[Head, Head]] = {
    "ReduceL1": (np.abs, np.sign),
    "ReduceL2": (np.abs, np.sign),
    "ReduceLogSum": (np.log, lambda t: 1 / t),
    "ReduceSumSquare": (np.square, lambda t: t),
    "Softmax": (np.ones_like, np.zeros_like),
    "LogSoftmax": (np.zeros_like, np.zeros_like),
}


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("operator", ALONE)
def test_over_an_axis_of_extent_one(operator: str, opset: int) -> None:
    """Nothing is summed: no axes at all are a fault before operator set 18, and from there all of them."""
    value, slope = ALONE[operator]
    attrs = "axis=2" if operator.endswith("Softmax") else "axes=[2]"
    node = f"p = {operator}<{attrs}>(r)" if opset < 18 or "axis=" in attrs else f"p = {operator}(r, two)"
    body = f"f = GlobalAveragePool(x)\n q = Reshape(f, s)\n r = Exp(q)\n {node}\n h = Reshape(p, flat)\n y = Mul(h, v)"
    init = {"s": np.array([0, 6, 1]), "flat": np.array([0, 6]), "two": np.array([2]), "v": W[0]}
    used = {name: array for name, array in init.items() if name != "two" or "two" in node}
    model = text_model(body, init=used, y="float[N,6] y", opset=opset)

    def expected(cells: np.ndarray) -> np.ndarray:
        mean = pooled(cells)
        grown = np.exp(mean)
        z = 1 + cells * (grown - 1) / mean  # the slope of Exp from its anchor, 0
        t = grown
        lifted = slope(t) * z if operator == "ReduceSumSquare" else value(t) + slope(t) * (z - t)
        return lifted * W[0].reshape(1, -1, 1, 1)

    check_conditional(model, expected)
