"""Class k of the logits is class k of the vendor's output, whatever stands behind the activation."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil import Emit, rewrite
from onnx_gapmil.rewriting.proof.report import ProofReport
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import assert_close, dense, images, lift, pooled, run, text_model, weights

W, B = weights(5, 6), weights(5)
POOL = "p = GlobalAveragePool(x)\n f = Flatten(p)\n z = Gemm<transB=1>(f, w, b)"
CONSTANTS = {
    "one": np.array([1]),
    "end": np.array([99]),
    "start": np.array([-1]),
    "back": np.array([-1]),
    "low": np.array([-99]),
    "order": np.array([4, 2, 0, 1, 3]),
    "two": np.array([2]),
    "parts": np.array([1, 4]),
    "keep": np.array([False, True, True, False, True]),
    "column": np.array([[1], [3]]),
    "scale": np.float32(1 / 255),
    "zero": np.uint8(0),
    "four": np.array([0, 4]),
}


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def model(tail: str, y: str = "float[N,K] y") -> onnx.ModelProto:
    names = {name: value for name, value in CONSTANTS.items() if f"{name})" in tail or f"{name}," in tail}
    return text_model(f"{POOL}\n {tail}", init={"w": W, "b": B} | names, y=y)


TAILS = [
    pytest.param("s = {0}\n y = Slice(s, one, end, one)", [1, 2, 3, 4], id="background_dropped"),
    pytest.param("s = {0}\n y = Slice(s, start, low, one, back)", [4, 3, 2, 1, 0], id="reversed"),
    pytest.param("s = {0}\n y = Gather<axis=1>(s, order)", [4, 2, 0, 1, 3], id="permuted"),
    pytest.param("s = {0}\n q, y = Split<axis=1>(s, parts)", [1, 2, 3, 4], id="split"),
    pytest.param("s = {0}\n q, y = Split<axis=-1>(s, parts)", [1, 2, 3, 4], id="split_from_the_end"),
    pytest.param("s = {0}\n y = Compress<axis=1>(s, keep)", [1, 2, 4], id="compressed"),
    pytest.param(
        "s = {0}\n t = Transpose<perm=[1, 0]>(s)\n g = GatherND(t, column)\n y = Transpose<perm=[1, 0]>(g)",
        [1, 3],
        id="gather_nd",
    ),
    pytest.param(
        "s = {0}\n a = Slice(s, two, end, one)\n c = Slice(s, nought, two, one)\n y = Concat<axis=1>(a, c)",
        [2, 3, 4, 0, 1],
        id="rolled",
    ),
    pytest.param(
        "s = {0}\n a = Slice(s, one, end, one)\n t = Identity(a)\n y = Slice(t, start, low, one, back)",
        [4, 3, 2, 1],
        id="dropped_and_reversed",
    ),
]
CONSTANTS["nought"] = np.array([0])


@pytest.mark.parametrize(("tail", "classes"), TAILS)
@pytest.mark.parametrize("activation", ["Softmax<axis=1>(z)", "Sigmoid(z)", "LogSoftmax<axis=1>(z)"])
def test_logits_and_grid_follow_the_output(tail: str, classes: list[int], activation: str) -> None:
    made = model(tail.format(activation))
    x = images(made)
    found = lift(made, x)
    cells = dense(W, B)(x.astype(np.float64))
    assert_close(found.logits, pooled(cells)[:, classes, 0, 0])
    assert_close(found.grid, cells[:, classes])
    (head,) = found.rewrite.heads
    # The probabilities of a softmax without some of its classes are not those of the logits that are left.
    shares = "softmax" if len(classes) == len(B) else "none"
    assert head.activation == ("sigmoid" if "Sigmoid" in activation else shares)
    assert head.verdict == "exact"
    (y,) = run(made, x, ["y"])
    np.testing.assert_array_equal(y.argsort(axis=1), found.logits.argsort(axis=1))


def test_quantized_probabilities_without_their_background() -> None:
    made = model(
        "s = Softmax<axis=1>(z)\n q = QuantizeLinear(s, scale, zero)\n d = DequantizeLinear(q, scale, zero)\n"
        " y = Slice(d, one, end, one)"
    )
    x = images(made)
    assert_close(lift(made, x).logits, pooled(dense(W, B)(x.astype(np.float64)))[:, 1:, 0, 0])


@pytest.mark.parametrize(
    ("kept", "shares"), [([0, 1, 2], True), ([2, 0, 1], True), ([1, 2], False), ([0, 0, 1], False)]
)
def test_scores_that_are_called_probabilities_are_the_vendors(kept: list[int], shares: bool) -> None:
    """The first class wins by far: of the others 1e-4 is left, and no more is said."""
    bias = np.array([9, 0.5, 0.1], np.float32)
    made = text_model(
        f"{POOL}\n s = Softmax<axis=1>(z)\n y = Gather<axis=1>(s, kept)",
        y=f"float[N,{len(kept)}] y",
        init={"w": W[:3] / 100, "b": bias, "kept": np.array(kept)},
    )
    x = images(made)
    found = lift(made, x)
    (head,) = found.rewrite.heads
    (y,) = run(made, x, ["y"])
    assert np.allclose(y, softmax(found.logits.astype(np.float64)), atol=1e-5) == shares
    assert head.activation == ("softmax" if shares else "none")
    assert ("divided by all classes of the softmax" in head.chain[-1].detail) != shares


def test_normalized_logits_without_their_background_are_classes() -> None:
    made = model(
        "n = LpNormalization<axis=1, p=2>(z)\n s = Softmax<axis=1>(n)\n y = Slice(s, one, end, one)", "float[N,4] y"
    )
    (head,) = rewrite_model(made).heads
    assert (head.output, head.activation, head.features_of) == ("y", "none", ())


def test_one_of_two_classes_is_its_logit_against_the_others() -> None:
    pair, bias = W[:2], B[:2]
    made = text_model(
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n z = Gemm<transB=1>(f, w, b)\n s = Softmax<axis=1>(z)\n"
        " y = Slice(s, one, end, one)",
        y="float[N,1] y",
        init={"w": pair, "b": bias, "one": np.array([1]), "end": np.array([9])},
    )
    x = images(made)
    found = lift(made, x)
    (head,) = found.rewrite.heads
    assert head.activation == "sigmoid"
    cells = dense(pair, bias)(x.astype(np.float64))
    assert_close(found.grid, cells[:, 1:] - cells[:, :1])
    (y,) = run(made, x, ["y"])
    assert_close(y, sigmoid(found.logits.astype(np.float64)))
    assert isinstance(rewrite(made, write=False).proof, ProofReport)


def test_one_of_several_sigmoids_is_a_logit() -> None:
    made = model("s = Sigmoid(z)\n y = Slice(s, one, two, one)")
    x = images(made)
    assert_close(lift(made, x).grid, dense(W, B)(x.astype(np.float64))[:, 1:2])


def test_labels_behind_the_classes_do_not_reorder_them() -> None:
    made = model(
        "s = Softmax<axis=1>(z)\n a = Slice(s, one, end, one)\n i = ArgMax<axis=1, keepdims=0>(a)\n"
        " y = Gather(order, i)",
        y="int64[N] y",
    )
    x = images(made)
    assert_close(lift(made, x).grid, dense(W, B)(x.astype(np.float64))[:, 1:])


def test_outputs_in_different_orders_are_heads_of_their_own() -> None:
    made = model(
        "s = Softmax<axis=1>(z)\n c = Slice(s, one, end, one)\n l = ArgMax<axis=1>(s)",
        y="float[N,5] s, float[N,4] c, int64[N,1] l",
    )
    rewritten = rewrite_model(made)
    assert [head.outputs for head in rewritten.heads] == [("s", "l"), ("c",)]
    x = images(made)
    grids = run(rewritten.model, x, [head.grid for head in rewritten.heads])
    cells = dense(W, B)(x.astype(np.float64))
    assert_close(grids[0], cells)
    assert_close(grids[1], cells[:, 1:])


@pytest.mark.parametrize("emit", ["topk:2", "classes:0,3", "argmax", "scores:max"])
def test_rows_of_the_grid_are_in_the_outputs_order(emit: str) -> None:
    made = model("s = Softmax<axis=1>(z)\n y = Gather<axis=1>(s, order)")
    x = images(made)
    result = rewrite(made, write=False, emit=Emit.parse(emit))
    cells = dense(W, B)(x.astype(np.float64))[:, CONSTANTS["order"]]
    (head,) = result.heads
    logits = pooled(cells)[:, :, 0, 0]
    if head.topk is not None:
        classes, grid = run(result.model, x, [head.topk.classes, head.topk.grid])
        np.testing.assert_array_equal(classes, np.argsort(-logits, axis=1)[:, :2])
        assert_close(grid, np.take_along_axis(cells, classes[:, :, None, None], axis=1))
    if head.classes is not None:
        assert_close(run(result.model, x, [head.classes.grid])[0], cells[:, [0, 3]])
    if head.argmax is not None:
        np.testing.assert_array_equal(run(result.model, x, [head.argmax])[0], cells.argmax(axis=1))
    for name in head.scores.values():
        assert_close(run(result.model, x, [name])[0], cells.max(axis=(2, 3)))


#: Six logits under softmaxes of two or three, and what becomes of the shares.
GROUPS = (
    "p = GlobalAveragePool(x)\n f = Flatten(p)\n z = Gemm<transB=1>(f, w6)\n r = Reshape(z, groups)\n"
    " g = Softmax<axis=2>(r)\n s = Reshape(g, flat)\n "
)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    ("tail", "kept"),
    [
        ("y = Sigmoid(s)", [0, 1, 2, 3, 4, 5]),
        ("t = Gather<axis=1>(s, odd)\n y = Sigmoid(t)", [1, 3, 5]),
        ("y = Softmax<axis=1>(s)", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_shares_of_several_softmaxes_that_go_through_another_activation_keep_their_ranking(
    tail: str, kept: list[int], size: int
) -> None:
    """The logits of classes under different softmaxes say nothing of which share is larger."""
    init = {"w6": weights(6, 6, seed=3), "groups": np.array([0, 6 // size, size]), "flat": np.array([0, 6])}
    made = text_model(
        GROUPS + tail, init=init | ({"odd": np.array([1, 3, 5])} if "odd" in tail else {}), y="float[N,K] y"
    )
    x = images(made)
    found = lift(made, x)
    z = dense(init["w6"])(x.astype(np.float64)).mean(axis=(2, 3))
    shares = softmax(z.reshape(-1, size)).reshape(z.shape)[:, kept]
    shares = softmax(shares) if "Softmax" in tail else shares
    odds = np.log(shares / (1 - shares))
    assert_close(found.logits, odds, 1e-4)
    assert_close(found.grid.mean(axis=(2, 3)), odds, 1e-4)


def test_sigmoids_under_softmaxes_of_their_own_are_not_ranked_by_their_logits() -> None:
    init = {"w6": weights(6, 6, seed=3), "groups": np.array([0, 2, 3]), "flat": np.array([0, 6])}
    body = GROUPS.replace("r = Reshape(z, groups)", "q = Sigmoid(z)\n r = Reshape(q, groups)").replace("s = R", "y = R")
    made = text_model(body, init=init, y="float[N,6] y")
    x = images(made)
    found = lift(made, x)
    (y,) = run(made, x, ["y"])
    assert (found.logits.argsort(axis=1) == y.argsort(axis=1)).all()
    assert_close(found.grid.mean(axis=(2, 3)), found.logits, 1e-4)


@pytest.mark.parametrize(
    ("tail", "activation"),
    [("y = Slice(s, one, end, one)", "sigmoid"), ("t = Slice(s, one, end, one)\n y = Sigmoid(t)", "none")],
)
def test_one_of_two_classes_is_a_sigmoid_only_where_the_output_is_its_share(tail: str, activation: str) -> None:
    made = text_model(
        f"p = GlobalAveragePool(x)\n f = Flatten(p)\n z = Gemm<transB=1>(f, w)\n s = Softmax<axis=1>(z)\n {tail}",
        y="float[N,1] y",
        init={"w": W[:2], "one": np.array([1]), "end": np.array([9])},
    )
    (head,) = rewrite_model(made).heads
    assert head.activation == activation


@pytest.mark.parametrize(("tail", "activation"), [("y = Identity(s)", "sigmoid"), ("y = Sigmoid(s)", "none")])
def test_shares_of_several_softmaxes_are_sigmoids_only_where_they_are_the_output(tail: str, activation: str) -> None:
    init = {"w6": weights(6, 6, seed=3), "groups": np.array([0, 2, 3]), "flat": np.array([0, 6])}
    (head,) = rewrite_model(text_model(GROUPS + tail, init=init, y="float[N,6] y")).heads
    assert head.activation == activation
