"""Pools that weigh positions: the map behind is lifted, and the weights are reported."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onnx_gapmil.lift.verdict import PoolWeights
from onnx_gapmil.rewriting.record import read_heads
from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers.support import (
    assert_close,
    assert_mean_is_logits,
    check_refused,
    dense,
    images,
    lift,
    text_model,
    weights,
)

W = weights(5, 6)
END = "y = Gemm<transB=1>(f, w)"
MEAN = "f = ReduceMean<axes=[2, 3], keepdims=0>(q)"
SUM = "f = ReduceSum<keepdims=0>(q, space)"
PLACES, EACH, ROWS = weights(1, 1, 3, 5), weights(6, 3, 5), weights(3, 1)
MASK = PLACES > 0


SCATTERED = [(0, 1), (1, 4), (2, 2)]
ZEROS = {
    "elements": (
        "q = ScatterElements<axis=3>(x, i, u)",
        {"i": np.full((1, 6, 3, 1), 2), "u": np.zeros((1, 6, 3, 1), np.float32)},
        [(row, 2) for row in range(3)],
    ),
    "nd": (
        "q = ScatterND(x, i, u)",
        {
            "i": np.array([[0, channel, *place] for channel in range(6) for place in SCATTERED]),
            "u": np.zeros(18, np.float32),
        },
        SCATTERED,
    ),
    "factors": (
        'q = ScatterElements<axis=2, reduction="mul">(x, i, u)',
        {"i": np.full((1, 6, 1, 5), 1), "u": np.zeros((1, 6, 1, 5), np.float32)},
        [(1, column) for column in range(5)],
    ),
}


@pytest.mark.parametrize("kind", sorted(ZEROS))
def test_zeros_scattered_over_a_map_are_a_mask(kind: str) -> None:
    """PyTorch's ``x[..., mask] = 0`` and index_fill: which elements they replace is fixed."""
    body, init, places = ZEROS[kind]
    mask = np.ones((3, 5))
    mask[tuple(np.transpose(places))] = 0
    model = text_model(
        f"{body}\n {MEAN}\n {END}", x="float[1,6,3,5] x", y="float[1,5] y", init={"w": W} | init, opset=16
    )
    found = lift(model, images(model))
    assert (found.verdict, found.rewrite.heads[0].position_dependent) == ("exact", True)
    assert_mean_is_logits(found)
    np.testing.assert_array_equal(found.features, found.x)
    assert_close(found.grid, dense(W)(found.x.astype(np.float64) * mask))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("c = Where(m, x, nought)\n q = Relu(c)", id="mask_before_an_activation"),
        pytest.param("q = Where(m, x, one)", id="ones"),
        pytest.param("q = ScatterElements<axis=2>(x, i, u)", id="other_numbers"),
    ],
)
def test_cells_that_are_constants_are_no_class_token(body: str) -> None:
    """They have no place, and all others have: the head is lifted, and its places are not drawn."""
    init = {
        "w": W,
        "m": MASK,
        "nought": np.float32(0),
        "one": np.float32(1),
        "i": np.full((1, 6, 1, 5), 1),
        "u": weights(1, 6, 1, 5),
    }
    used = {name: value for name, value in init.items() if f"{name})" in body or f"{name}," in body or name == "w"}
    made = rewrite(
        text_model(f"{body}\n {MEAN}\n {END}", x="float[1,6,3,5] x", y="float[1,5] y", init=used, opset=16), write=False
    )
    (head,) = made.heads
    assert head.verdict == "exact"
    assert not head.places.known
    assert made.proof is not None
    assert made.proof.passed


@pytest.mark.parametrize(
    ("body", "factor"),
    [
        pytest.param(f"q = Mul(x, v)\n {MEAN}", PLACES, id="mean_by_position"),
        pytest.param(f"q = Mul(v, x)\n {SUM}", PLACES * 15, id="sum_by_position"),
        pytest.param(f"q = Mul(x, e)\n {MEAN}", EACH, id="by_position_and_channel"),
        pytest.param(f"q = Mul(x, r)\n {MEAN}", ROWS, id="by_row"),
        pytest.param(f"q = Div(x, v)\n {MEAN}", 1 / PLACES, id="quotient"),
        pytest.param(f"p = Mul(x, v)\n q = Mul(p, e)\n {MEAN}", PLACES * EACH, id="two_products"),
        pytest.param(f"q = Where(m, x, nought)\n {MEAN}", MASK, id="mask"),
        pytest.param(f"q = Where(m, nought, x)\n {MEAN}", ~MASK, id="inverted_mask"),
        pytest.param(f"q = Trilu(x)\n {MEAN}", np.triu(np.ones((3, 5))), id="triangle"),
        pytest.param(f"q = Trilu<upper=0>(x, g)\n {MEAN}", np.tril(np.ones((3, 5)), 1), id="lower_triangle"),
        pytest.param(f"q = Trilu(x, g)\n {SUM}", np.triu(np.ones((3, 5)), 1) * 15, id="sum_of_a_triangle"),
        pytest.param(
            "q = Mul(x, v)\n a = ReduceMean<axes=[3], keepdims=1>(q)\n f = ReduceMean<axes=[2, 3], keepdims=0>(a)",
            PLACES,
            id="columns_then_rows",
        ),
    ],
)
def test_cells_are_those_of_the_map_behind_the_product(body: str, factor: np.ndarray) -> None:
    constants = {
        "v": PLACES,
        "e": EACH,
        "r": ROWS,
        "m": MASK,
        "nought": np.float32(0),
        "space": np.array([2, 3]),
        "g": np.asarray(1),
        "w": W,
    }
    used = {name: value for name, value in constants.items() if f"{name})" in body or f"{name}," in body or name == "w"}
    model = text_model(f"{body}\n {END}", init=used)
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "exact"
    assert_mean_is_logits(found)
    np.testing.assert_array_equal(found.features, x)
    assert_close(found.grid, dense(W)(x.astype(np.float64) * factor))
    (head,) = found.rewrite.heads
    said = head.chain[0].weights
    assert head.position_dependent
    assert said is not None
    full = np.broadcast_to(factor, np.broadcast_shapes(factor.shape, (1, 1, 3, 5)))
    np.testing.assert_allclose(said.least, full.min(), rtol=1e-5)
    np.testing.assert_allclose(said.below_zero, (full < 0).mean())
    np.testing.assert_allclose(said.sums, full.mean(axis=(0, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("q = Mul(x, v)\n r = Reshape(q, flat)\n f = ReduceMean<axes=[2], keepdims=0>(r)", id="flattened"),
        pytest.param(
            "q = Mul(x, v)\n r = Transpose<perm=[0, 2, 3, 1]>(q)\n f = ReduceMean<axes=[1, 2], keepdims=0>(r)",
            id="turned",
        ),
    ],
)
def test_a_product_before_the_map_was_moved_is_said(body: str) -> None:
    used = {"v": PLACES, "w": W} | ({"flat": np.array([0, 6, -1])} if "flat" in body else {})
    model = text_model(f"k = Conv(x, c)\n {body.replace('(x,', '(k,')}\n {END}", init=used | {"c": weights(6, 6, 1, 1)})
    (head,) = lift(model, images(model)).rewrite.heads
    said = head.chain[0].weights
    assert head.position_dependent
    assert said is not None
    np.testing.assert_allclose([said.least, *said.sums], [PLACES.min(), PLACES.mean()], rtol=1e-5)


def test_a_window_that_leaves_cells_out_is_position_dependent() -> None:
    model = text_model(
        f"p = AveragePool<kernel_shape=[2, 4], strides=[9, 9]>(x)\n f = Flatten(p)\n {END}", init={"w": W}
    )
    (head,) = lift(model, images(model)).rewrite.heads
    assert head.chain[0].weights == PoolWeights(0.0, 0.0, (1.0,), 15 / 8)
    assert head.position_dependent
    assert head.said_verdict == "exact, position-dependent"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f"q = Mul(x, s)\n {MEAN}", id="a_scale_for_each_channel"),
        pytest.param(f"q = Mul(x, one)\n {MEAN}", id="one_number"),
        pytest.param(MEAN.replace("(q)", "(x)"), id="no_product"),
        pytest.param(
            "p = AveragePool<kernel_shape=[4, 6], pads=[0, 0, 1, 1], count_include_pad=1>(x)\n f = Flatten(p)",
            id="a_scaled_mean",
        ),
    ],
)
def test_weights_that_are_alike_are_none(body: str) -> None:
    constants = {"s": weights(6, 1, 1), "one": np.float32(3), "w": W}
    used = {name: value for name, value in constants.items() if f", {name})" in body or name == "w"}
    model = text_model(f"{body}\n {END}", init=used)
    (head,) = lift(model, images(model)).rewrite.heads
    assert head.chain[0].weights is None
    assert not head.position_dependent


def test_the_record_keeps_the_weights() -> None:
    model = text_model(f"q = Mul(x, v)\n {MEAN}\n {END}", init={"v": PLACES, "w": W})
    rewritten = lift(model, images(model)).rewrite
    metadata = {entry.key: entry.value for entry in rewritten.model.metadata_props}
    (kept,) = read_heads(metadata, [value.name for value in rewritten.model.graph.output], "m") or ()
    assert kept.chain == rewritten.heads[0].chain
    said = json.loads(json.dumps(kept.to_json()))["chain"][0]["weights"]
    assert set(said) == {"least", "largest", "below_zero", "sums"}


def test_tokens_that_a_fixed_mask_keeps_are_chosen_by_no_image() -> None:
    kept = np.array([True, False, True, True] * 3 + [False, True, True])
    model = text_model(
        f"t = Compress<axis=1>(x, kept)\n f = ReduceMean<axes=[1], keepdims=0>(t)\n {END}",
        x="float[N,15,6] x",
        init={"w": W, "kept": kept},
    )
    found = lift(model, images(model))
    assert found.verdict == "exact"
    assert_mean_is_logits(found)
    expected = np.einsum("kc,ntc->nkt", W.astype(np.float64), found.x[:, kept].astype(np.float64))
    assert_close(found.grid.reshape(3, 5, -1), expected)


@pytest.mark.parametrize("row", [False, True])
def test_a_constant_that_moves_all_patches_on_is_a_token(row: bool) -> None:
    """A learned token in front of patches of which the last was dropped: as many cells as positions."""
    x = "float[1,6,1,15] x" if row else "float[1,6,3,5] x"
    model = text_model(
        "c = Conv(x, k)\n r = Reshape(c, flat)\n t = Transpose<perm=[0, 2, 1]>(r)\n a = Concat<axis=1>(token, t)\n"
        f" s = Slice(a, zero, last, one)\n f = ReduceMean<axes=[1], keepdims=0>(s)\n {END}",
        x=x,
        y="float[1,5] y",
        init={
            "w": W,
            "k": weights(6, 6, 1, 1),
            "flat": np.array([0, 6, 15]),
            "token": weights(1, 1, 6),
            "zero": np.array([0]),
            "last": np.array([-1]),
            "one": np.array([1]),
        },
    )
    check_refused(model, "class-token")
