"""What becomes of each output, and what a head says of itself."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.graph.builder import GraphBuilder
from onnx_gapmil.graph.trace import trace
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.lift.heads import HeadSearch, lift_heads
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import text_model, weights

W = weights(5, 6)
POOL = "p = GlobalAveragePool(x)\n f = Flatten(p)"


def search(model: onnx.ModelProto) -> HeadSearch:
    graph = ModelGraph(model)
    return lift_heads(graph, trace(graph), GraphBuilder(graph))


def quantized(range_end: float) -> onnx.ModelProto:
    """Pool, pair, dense layer; the pair clips nothing of the Sigmoid before it if its range ends at 1 or above."""
    return text_model(
        "s = Sigmoid(x)\n p = GlobalAveragePool(s)\n f = Flatten(p)\n q = QuantizeLinear(f, step, zero)\n"
        " d = DequantizeLinear(q, step, zero)\n y = Gemm<transB=1>(d, w)",
        init={"w": W, "step": np.float32(range_end / 255), "zero": np.uint8(0)},
    )


def test_scores_and_label_of_the_same_logits_are_one_head() -> None:
    model = text_model(
        f"{POOL}\n z = Gemm<transB=1>(f, w)\n l = ArgMax<axis=1, keepdims=0>(z)\n y = Softmax<axis=1>(z)",
        y="int64[N] l, float[N,5] y",
        init={"w": W},
    )
    found = search(model)
    assert found.refusals == {}
    (head,) = found.heads
    assert head.outputs == ("l", "y")
    assert (head.output, head.logits.tensor, head.logits.activation) == ("l", "z", "softmax")
    assert (head.classes, head.verdict) == (5, "exact")
    assert [step.op for step in head.chain] == ["GlobalAveragePool", "Flatten", "Gemm"]


def test_each_output_has_a_head_or_a_refusal() -> None:
    model = text_model(
        f"{POOL}\n a = Gemm<transB=1>(f, w)\n h = Relu(f)\n b = Gemm<transB=1>(h, w)\n c = Relu(x)",
        y="float[N,5] a, float[N,5] b, float[N,6,3,5] c",
        init={"w": W},
    )
    found = search(model)
    assert [(head.output, head.verdict) for head in found.heads] == [("a", "exact"), ("b", "conditional")]
    assert {output: refusal.code for output, refusal in found.refusals.items()} == {"c": "not-a-classifier"}
    assert "2x6x3x5" in found.refusals["c"].message


def test_two_heads_share_the_grid_that_they_pool() -> None:
    model = text_model(
        f"{POOL}\n a = Gemm<transB=1>(f, w)\n b = Gemm<transB=1>(f, v)",
        y="float[N,5] a, float[N,3] b",
        init={"w": W, "v": weights(3, 6)},
    )
    first, second = search(model).heads
    assert first.features == second.features
    assert (first.classes, second.classes) == (5, 3)


@pytest.mark.parametrize(("end", "verdict"), [(1.0, "exact"), (0.5, "conditional")])
def test_rounding_bound_of_a_quantized_head_is_half_a_step_times_its_weights(end: float, verdict: str) -> None:
    (head,) = search(quantized(end)).heads
    assert head.quantized
    assert head.verdict == verdict
    expected = np.abs(W.astype(np.float64)).sum(axis=1).max() * np.float64(np.float32(end / 255)) / 2
    assert head.rounding_bound == pytest.approx(expected, rel=1e-9)


def test_a_head_that_does_not_round_has_no_rounding_bound() -> None:
    (head,) = search(text_model(f"{POOL}\n y = Gemm<transB=1>(f, w)", init={"w": W})).heads
    assert not head.quantized
    assert head.rounding_bound is None
    assert not head.position_dependent


def test_no_bound_is_known_for_a_scale_found_at_run_time() -> None:
    model = text_model(
        f"{POOL}\n q, s, z = DynamicQuantizeLinear(f)\n d = DequantizeLinear(q, s, z)\n y = Gemm<transB=1>(d, w)",
        init={"w": W},
    )
    (head,) = search(model).heads
    assert head.quantized
    assert head.rounding_bound is None


def test_weights_of_its_own_for_each_position_make_a_head_position_dependent() -> None:
    model = text_model(
        "c = Conv(x, k)\n f = Flatten(c)\n y = Gemm<transB=1>(f, w)",
        x="float[N,3,4,4] x",
        init={"k": weights(2, 3, 1, 1), "w": weights(5, 32)},
    )
    (head,) = search(model).heads
    assert head.position_dependent


def test_an_output_of_no_elements_is_no_classifier() -> None:
    model = text_model(
        f"{POOL}\n y = Slice(f, zero, zero, one)", y="float[N,0] y", init={"zero": np.array([0]), "one": np.array([1])}
    )
    assert search(model).refusals["y"].code == "not-a-classifier"


def test_a_photo_without_a_batch_is_lifted_and_its_cells_are_where_they_look() -> None:
    """(H, W, 3) uint8 of any size, as a phone hands it over; the graph adds the batch and makes 16 x 16 of it."""
    body = """t = Transpose<perm=[2, 0, 1]>(x)  b = Unsqueeze(t, zero)  f = Cast<to=1>(b)
        r = Resize<mode="linear">(f, , , sizes)  c = Conv<kernel_shape=[4, 4], strides=[4, 4]>(r, k)
        p = GlobalAveragePool(c)  q = Flatten(p)  y = Gemm<transB=1>(q, w)"""
    init = {
        "zero": np.array([0]),
        "sizes": np.array([1, 3, 16, 16]),
        "k": np.ones((6, 3, 4, 4), np.float32),
        "w": weights(5, 6),
    }
    model = text_model(body, x="uint8[h,w,3] x", y="float[1,5] y", init=init)
    (head,) = rewrite_model(model).heads
    assert head.verdict == "exact"
    assert head.grid_shape[1] == 5
    assert head.places.known
    assert head.places.rows is not None
    # The trace takes a photo of 224 x 224: a quarter of it is 56.
    assert (head.places.rows.first, head.places.rows.step) == pytest.approx((28.0, 56.0), abs=0.01)
    assert head.places.columns == head.places.rows
