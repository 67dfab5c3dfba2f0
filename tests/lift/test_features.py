"""Outputs that are no classes: features of others, and vectors of fixed length."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.data.names_by_head import NamedHead, names_by_head
from onnx_gapmil.rewriting.analysis import analyse
from tests.helpers.support import text_model, weights

INIT = {
    "k": weights(6, 3, 2, 2),
    "w": weights(4, 6),
    "v": weights(2, 6),
    "s": weights(2, 4),
    "half": np.float32(0.5),
    "two": np.float32(2.0),
    "eps": np.float32(1e-12),
    "axes": np.array([1]),
    "ages": weights(4, 1),
    "groups": np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32),
    "means": np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], np.float32),
    "levels": np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 1]], np.float32),
    "kernel": np.array([[1, 1, 0, 0], [0, 0, 1, 1]], np.float32)[:, :, None, None],
    "plane": np.array([0, 4, 1, 1]),
    "pairs": weights(2, 2),
    "positive": np.abs(weights(4, 2)),
    "calibration": (np.eye(4) + weights(4, 4) / 10).astype(np.float32),
    "square": weights(4, 4),
}
POOLED = "f = Conv<strides=[2,2]>(x, k)  p = GlobalAveragePool(f)  e = Flatten(p)  "


def heads(body: str, outputs: str) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """By output, in order: what it is features of; and the codes of those that are refused."""
    search = analyse(text_model(POOLED + body, x="float[N,3,8,8] x", y=outputs, init=INIT)).search
    found = {head.output: head.features_of for head in search.heads}
    return found, {output: refusal.code for output, refusal in search.refusals.items()}


def test_an_embedding_beside_its_classes_is_features_and_ranks_last() -> None:
    found, _ = heads("y = Gemm<transB=1>(e, w)", "float[N,6] e, float[N,4] y")
    assert list(found.items()) == [("y", ()), ("e", ("y",))]


def test_features_of_several_heads_and_of_each_other() -> None:
    """e makes a and y, a makes z."""
    body = "a = Gemm<transB=1>(e, w)  y = Gemm<transB=1>(e, v)  r = Relu(a)  z = Gemm<transB=1>(r, s)"
    found, _ = heads(body, "float[N,6] e, float[N,4] a, float[N,2] y, float[N,2] z")
    assert list(found.items()) == [("y", ()), ("z", ()), ("e", ("a", "y", "z")), ("a", ("z",))]


def test_features_of_a_head_that_is_refused_are_features_all_the_same() -> None:
    body = "g = Softmax<axis=0>(e)  y = Gemm<transB=1>(g, w)  q = Gemm<transB=1>(e, v)  t = Sin(q)"
    found, refused = heads(body, "float[N,6] e, float[N,4] y, float[N,2] t")
    assert found == {"e": ("t",)} or found == {"t": (), "e": ("t",)}
    assert "y" in refused


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        pytest.param(
            "a = Gemm<transB=1>(e, w)  b = Mul(a, half)  y = Softmax(b)", "float[N,4] a, float[N,4] y", id="T"
        ),
        pytest.param("a = Gemm<transB=1>(e, w)  y = Softmax(a)", "float[N,4] a, float[N,4] y", id="both"),
        pytest.param(
            "a = Gemm<transB=1>(e, w)  q = Softmax(a)  y = MatMul(q, ages)", "float[N,4] a, float[N,1] y", id="expected"
        ),
        pytest.param("a = Gemm<transB=1>(e, w)  y = MatMul(a, groups)", "float[N,4] a, float[N,2] y", id="coarse"),
        pytest.param(
            "a = Gemm<transB=1>(e, w)  y = Gemm<transB=1>(a, means)", "float[N,4] a, float[N,2] y", id="coarse means"
        ),
        pytest.param(
            "a = Gemm<transB=1>(e, w)  y = MatMul(a, levels)", "float[N,4] a, float[N,3] y", id="overlapping levels"
        ),
        pytest.param(
            "a = Gemm<transB=1>(e, w)  m = Reshape(a, plane)  c = Conv(m, kernel)  y = Flatten(c)",
            "float[N,4] a, float[N,2] y",
            id="coarse by a convolution",
        ),
        pytest.param(
            "a = Gemm<transB=1>(e, w)  b = MatMul(a, calibration)  y = Softmax(b)",
            "float[N,4] a, float[N,4] y",
            id="matrix scaling",
        ),
        pytest.param(
            "c = Gemm<transB=1>(e, w)  a = Softmax(c)  y = Gemm<transB=1>(c, s)", "float[N,4] a, float[N,2] y", id="own"
        ),
    ],
)
def test_scores_that_others_are_made_of_are_classes(body: str, outputs: str) -> None:
    """A temperature, an expected value over the classes, a softmax of its own: whoever reads on, these are classes."""
    found, _ = heads(body, outputs)
    assert found["a"] == ()


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        pytest.param("b = MatMul(a, square)  y = Softmax(b)", "float[N,4] a, float[N,4] y", id="as many"),
        pytest.param("q = MatMul(a, groups)  y = MatMul(q, pairs)", "float[N,4] a, float[N,2] y", id="behind sums"),
        pytest.param("y = MatMul(a, positive)", "float[N,4] a, float[N,2] y", id="no sign"),
    ],
)
def test_numbers_that_general_weights_read_are_features(body: str, outputs: str) -> None:
    found, _ = heads("a = Gemm<transB=1>(e, w)  " + body, outputs)
    assert found["a"] == ("y",)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("y = LpNormalization<axis=1, p=2>(a)", id="one node"),
        pytest.param("n = ReduceL2<axes=[1], keepdims=1>(a)  y = Div(a, n)", id="ReduceL2"),
        pytest.param(
            'q = Einsum<equation="nc,nc->n">(a, a)  n = Sqrt(q)  u = Unsqueeze(n, axes)  y = Div(a, u)', id="Einsum"
        ),
        pytest.param("n = ReduceL2<axes=[1], keepdims=1>(a)  m = Max(n, eps)  y = Div(a, m)", id="PyTorch"),
        pytest.param(
            "q = Mul(a, a)  n = ReduceSum<keepdims=1>(q, axes)  m = Add(n, eps)  r = Sqrt(m)  y = Div(a, r)",
            id="spelled",
        ),
        pytest.param(
            "q = Pow(a, two)  n = ReduceSum<keepdims=1>(q, axes)  r = Sqrt(n)  i = Reciprocal(r)  y = Mul(a, i)",
            id="reciprocal",
        ),
        pytest.param(
            "l = LpNormalization<axis=1, p=2>(a)  m = Mul(l, two)  y = Identity(m)", id="scaled by one number"
        ),
    ],
)
def test_a_vector_of_fixed_length_is_no_scores(body: str) -> None:
    model = text_model(POOLED + "a = Gemm<transB=1>(e, w)  " + body, x="float[N,3,8,8] x", y="float[N,4] y", init=INIT)
    search = analyse(model).search
    assert search.heads == ()
    refusal = search.refusals["y"]
    assert refusal.code == "not-a-classifier"
    assert "a vector of fixed length, an embedding, and no scores of classes" in refusal.message


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("n = LpNormalization<axis=1, p=2>(e)  y = Gemm<transB=1>(n, w)", id="cosine classifier"),
        pytest.param(
            "n = LpNormalization<axis=1, p=2>(e)  z = Gemm<transB=1>(n, w)  y = Softmax(z)", id="with softmax"
        ),
        pytest.param("a = Gemm<transB=1>(e, w)  y = LpNormalization<axis=1, p=1>(a)", id="L1"),
        pytest.param(
            "a = Gemm<transB=1>(e, w)  n = LpNormalization<axis=1, p=2>(a)  y = Softmax(n)", id="softmax of it"
        ),
    ],
)
def test_classifiers_with_a_norm_stay(body: str) -> None:
    found, refused = heads(body, "float[N,4] y")
    assert (found, refused) == ({"y": ()}, {})


def test_names_of_the_fine_classes_find_them_behind_their_coarse_ones() -> None:
    body = "a = Gemm<transB=1>(e, w)  y = MatMul(a, groups)"
    model = text_model(POOLED + body, x="float[N,3,8,8] x", y="float[N,2] y, float[N,4] a", init=INIT)
    found = analyse(model).search.heads
    named = [NamedHead(head.output, head.classes, head.features_of != ()) for head in found]
    coarse, fine = names_by_head(None, named, asked=["a", "b", "c", "d"])
    assert [head.output for head in found] == ["y", "a"]
    assert (coarse.names, list(fine.names or ())) == (None, ["a", "b", "c", "d"])
