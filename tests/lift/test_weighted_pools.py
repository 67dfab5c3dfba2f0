"""What is said of a pool's weights equals the NumPy weights, however the pool is spelled, and lies as the cells do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_gapmil.lift.weighted_pools import WeightedPool
from onnx_gapmil.rewriting.inspection import inspect
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers.support import text_model, weights

ROWS, COLUMNS, CHANNELS = 3, 5, 6
CELLS = ROWS * COLUMNS
END = "y = Gemm<transB=1>(f, w)"
W = weights(5, CHANNELS)
#: Below 0, 0 and above it; their sum is not 1.
PLACES = weights(ROWS, COLUMNS) / CELLS
PLACES[1, 2] = 0
EACH = weights(CHANNELS, ROWS, COLUMNS) / CELLS
SPACE = np.array([2, 3])


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def model_of(body: str, **init: np.ndarray) -> onnx.ModelProto:
    return text_model(f"k = Conv(x, c)\n {body}\n {END}", init={"w": W, "c": weights(CHANNELS, CHANNELS, 1, 1), **init})


def pool_of(model: onnx.ModelProto) -> WeightedPool:
    (pool,) = inspect(model).heads[0].pool_weights
    return pool


SPELLED = {
    "matmul_by_a_vector": (
        "r = Reshape(k, s)\n f = MatMul(r, v)",
        {"s": ints(0, CHANNELS, -1), "v": PLACES.ravel()},
        PLACES,
    ),
    "vector_by_tokens": (
        "r = Reshape(k, s)\n t = Transpose<perm=[0, 2, 1]>(r)\n f0 = MatMul(v, t)\n f = Flatten(f0)",
        {"s": ints(0, CHANNELS, -1), "v": PLACES.reshape(1, -1)},
        PLACES,
    ),
    "product_and_sum": ("q = Mul(k, v)\n f = ReduceSum<keepdims=0>(q, a)", {"v": PLACES, "a": SPACE}, PLACES),
    "product_and_mean": ("q = Mul(k, v)\n f = ReduceMean<axes=[2, 3], keepdims=0>(q)", {"v": PLACES * CELLS}, PLACES),
    "einsum": ('f = Einsum<equation="nchw,hw->nc">(k, v)', {"v": PLACES}, PLACES),
    "channels_last": (
        "t = Transpose<perm=[0, 2, 3, 1]>(k)\n q = Mul(t, v)\n f = ReduceSum<keepdims=0>(q, a)",
        {"v": PLACES[:, :, None], "a": ints(1, 2)},
        PLACES,
    ),
    "depthwise_convolution": (
        f"p = Conv<group={CHANNELS}>(k, v)\n f = Flatten(p)",
        {"v": EACH[:, None]},
        EACH,
    ),
    "convolution_of_one_map": (
        f"p = Conv<group={CHANNELS}>(k, v)\n f = Flatten(p)",
        {"v": np.repeat(PLACES[None, None], CHANNELS, axis=0)},
        PLACES,
    ),
    "product_by_channel": ("q = Mul(k, v)\n f = ReduceSum<keepdims=0>(q, a)", {"v": EACH, "a": SPACE}, EACH),
    "einsum_by_channel": ('f = Einsum<equation="nchw,chw->nc">(k, v)', {"v": EACH}, EACH),
}


@pytest.mark.parametrize("name", SPELLED)
def test_weights_are_numpys(name: str) -> None:
    body, init, truth = SPELLED[name]
    pool = pool_of(model_of(body, **init))
    exact = truth.astype(np.float64).reshape(-1, CELLS) * CELLS
    several = len(exact) > 1
    assert pool.by == ("position and channel" if several else "position")
    assert pool.sets == len(exact)
    said = [pool.least, pool.largest, *(pool.sums or ())]
    sums = exact.mean(axis=1)
    np.testing.assert_allclose(said, [exact.min(), exact.max(), sums.min(), sums.max()], rtol=1e-5)
    assert pool.below_zero == pytest.approx((exact < 0).mean())
    np.testing.assert_allclose(pool.map, exact.mean(axis=0).reshape(ROWS, COLUMNS), rtol=1e-4, atol=1e-6)
    assert pool.map_is == f"{'mean over 6 channels of the ' if several else ''}weight of each cell"


@pytest.mark.parametrize(
    ("moved", "turned"),
    [
        pytest.param("t = Transpose<perm=[0, 1, 3, 2]>(k)", PLACES.T, id="rows_for_columns"),
        pytest.param("t = Slice(k, first, last, last_axis, step)", PLACES[:, ::-1], id="mirrored"),
    ],
)
def test_the_map_lies_in_reading_order_as_the_grid_does(moved: str, turned: np.ndarray) -> None:
    """The vendor turned its map before the pool, and its weights with it."""
    slicing = {"first": ints(-1), "last": ints(-(1 << 31)), "last_axis": ints(3), "step": ints(-1)}
    init = {"v": np.ascontiguousarray(turned), "a": SPACE} | (slicing if "Slice" in moved else {})
    pool = pool_of(model_of(f"{moved}\n q = Mul(t, v)\n f = ReduceSum<keepdims=0>(q, a)", **init))
    np.testing.assert_allclose(pool.map, PLACES * CELLS, rtol=1e-5)


def test_several_sums_of_the_positions_are_no_channels() -> None:
    vectors = np.stack([PLACES.ravel(), 2 * PLACES.ravel()[::-1]], axis=1)
    body = "r = Reshape(k, s)\n m = MatMul(r, v)\n n = Flatten(m)\n f = MatMul(n, u)"
    pool = pool_of(model_of(body, s=ints(0, CHANNELS, -1), v=vectors, u=weights(12, CHANNELS)))
    assert (pool.by, pool.sets) == ("position and sum", 2)
    np.testing.assert_allclose(np.ravel(pool.map or ()), vectors.mean(axis=1) * CELLS, rtol=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        "p = GlobalAveragePool(k)\n f = Flatten(p)",
        "p = GlobalMaxPool(k)\n f = Flatten(p)",
        f"p = Conv<group={CHANNELS}>(k, v)\n f = Flatten(p)",
        "p = MaxPool<kernel_shape=[2, 4], strides=[9, 9]>(k)\n f = Flatten(p)",
    ],
)
def test_nothing_is_said_of_pools_without_weights_of_their_own(body: str) -> None:
    alike = {"v": np.full((CHANNELS, 1, ROWS, COLUMNS), 0.25, np.float32)} if ", v)" in body else {}
    assert inspect(model_of(body, **alike)).heads[0].pool_weights == ()


@pytest.mark.parametrize(
    "body",
    [
        "r = Reshape(k, s)\n b = MatMul(u, r)\n a = Softmax<axis=2>(b)\n t = Transpose<perm=[0, 2, 1]>(r)\n"
        " q = MatMul(a, t)\n f = Flatten(q)",
        "r = Reshape(k, s)\n b = MatMul(u, r)\n a = Softmax<axis=2>(b)\n q = Mul(r, a)\n"
        " f = ReduceSum<keepdims=0>(q, two)",
        "r = Reshape(k, s)\n b = MatMul(u, r)\n a = Softmax<axis=2>(b)\n"
        ' q = Einsum<equation="nmt,nct->nmc">(a, r)\n f = Flatten(q)',
    ],
)
def test_attention_has_no_fixed_map(body: str) -> None:
    init = {"s": ints(0, CHANNELS, -1), "u": weights(1, CHANNELS)} | ({"two": ints(2)} if "two" in body else {})
    pool = pool_of(model_of(body, **init))
    assert (pool.by, pool.map, pool.least) == ("image", None, None)
    assert "no fixed map" in pool.describe()


def test_a_rewritten_file_has_the_weights_from_its_graph(tmp_path: Path) -> None:
    body, init, _ = SPELLED["product_and_sum"]
    model = model_of(body, **init)
    onnx.save(model, tmp_path / "m.onnx")
    written = rewrite(tmp_path / "m.onnx", output=tmp_path / "r.onnx")
    metadata = {entry.key: entry.value for entry in written.model.metadata_props}
    assert "map" not in json.loads(metadata["gapmil.heads"])[0]
    assert rewrite_model(tmp_path / "r.onnx").heads[0].pool_weights == (pool_of(model),)
    # Where numbers must decide, as of an older record without its chain, the weights are those of the graph, too.
    entry = next(entry for entry in written.model.metadata_props if entry.key == "gapmil.heads")
    entry.value = json.dumps([{**head, "chain": []} for head in json.loads(entry.value)])
    assert rewrite_model(written.model).heads[0].pool_weights == (pool_of(model),)


@pytest.mark.parametrize(("size", "rows"), [((7,), 1), ((2, 3, 4), None)])
def test_a_line_has_a_map_of_one_row_and_a_volume_none(size: tuple[int, ...], rows: int | None) -> None:
    axes = ints(*range(2, 2 + len(size)))
    values = weights(*size)
    model = text_model(
        f"k = Conv(x, c)\n q = Mul(k, v)\n f = ReduceSum<keepdims=0>(q, a)\n {END}",
        x=f"float[N,{CHANNELS},{','.join(map(str, size))}] x",
        init={"w": W, "c": weights(CHANNELS, CHANNELS, *[1] * len(size)), "v": values, "a": axes},
    )
    pool = pool_of(model)
    assert pool.least == pytest.approx(values.min() * values.size)
    assert (None if pool.map is None else len(pool.map)) == rows
