"""Rows and columns that are cut off, repeated or put around a map before it is pooled, and crops of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnx_gapmil.images.places import AxisPlaces
from tests.helpers.support import (
    assert_close,
    assert_mean_is_logits,
    check_refused,
    dense,
    images,
    lift,
    run,
    text_model,
    weights,
)

W = weights(5, 6)
HEAD = "p = GlobalAveragePool(q)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w)"


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def model_of(body: str, *, opset: int = 18, x: str = "float[N,6,4,6] x", **init: Any) -> onnx.ModelProto:
    return text_model(body, x=x, opset=opset, init={"w": W} | init)


@pytest.mark.parametrize(
    ("body", "init", "rows", "columns", "said"),
    [
        pytest.param("q = Pad<mode=\"edge\">(x, n)", {"n": ints(0, 0, 1, 0, 0, 0, 0, 2)}, [2, 1, 1, 1],
                     [1, 1, 1, 1, 1, 3], "1 of them several times", id="edge"),
        pytest.param("q = Pad<mode=\"reflect\">(x, n)", {"n": ints(0, 0, 0, 2, 0, 0, 0, 0)}, [1] * 4,
                     [1, 2, 2, 1, 1, 1], "2 of them several times", id="reflect"),
        pytest.param("q = Pad(x, n)", {"n": ints(0, 0, -1, 0, 0, 0, 0, -2)}, [0, 1, 1, 1], [1, 1, 1, 1, 0, 0],
                     "rows 1 to 4, columns 0 to 4", id="pads_below_zero"),
        pytest.param("q = CenterCropPad<axes=[2, 3]>(x, n)", {"n": ints(2, 6)}, [0, 1, 1, 0], [1] * 6,
                     "rows 1 to 3, columns 0 to 6", id="center_crop"),
        pytest.param("q = Slice(x, a, b, n, s)", {"a": ints(0, 5), "b": ints(9, -9), "n": ints(2, 3), "s": ints(3, -2)},
                     [1, 0, 0, 1], [0, 1, 0, 1, 0, 1], "2 of 4 rows, 3 of 6 columns", id="every_second"),
    ],
)  # fmt: skip
def test_a_pool_of_a_cut_map_weighs_the_positions_of_the_whole_one(
    body: str, init: dict[str, np.ndarray], rows: list[int], columns: list[int], said: str
) -> None:
    """``rows`` and ``columns`` say how often each is pooled."""
    model = model_of(f"{body}\n {HEAD}", **init)
    x = images(model)
    found = lift(model, x)
    shares = np.outer(rows, columns)
    counts = shares * 24 / shares.sum()
    assert found.verdict == "exact"
    assert found.rewrite.heads[0].position_dependent == (len(np.unique(counts)) > 1)
    assert said in found.rewrite.heads[0].chain[0].detail
    assert_mean_is_logits(found)
    assert_close(found.grid, dense(W)(x.astype(np.float64) * counts))
    places = found.rewrite.heads[0].places
    assert (places.rows, places.columns) == (AxisPlaces(0.5, 1.0), AxisPlaces(0.5, 1.0))


@pytest.mark.parametrize(
    ("body", "averaged"),
    [
        ("l = Transpose<perm=[0, 2, 3, 1]>(q)\n f = ReduceMean<keepdims=0>(l, one_two)", True),
        ("t = Reshape(q, flat)\n l = Transpose<perm=[0, 2, 1]>(t)\n f = ReduceMean<keepdims=0>(l, one)", True),
        ("l = Transpose<perm=[0, 2, 3, 1]>(q)\n t = Reshape(l, tokens)\n f = ReduceMean<keepdims=0>(t, one)", True),
        ("l = Transpose<perm=[0, 1, 3, 2]>(q)\n f = ReduceMean<keepdims=0>(l, two_three)", True),
        ("l = Transpose<perm=[0, 2, 3, 1]>(q)\n f = ReduceMax<keepdims=0>(l, one_two)", False),
    ],
    ids=["NHWC", "tokens", "tokens of NHWC", "rows and columns exchanged", "the largest"],
)
def test_a_cut_is_seen_behind_the_layout_that_is_pooled(body: str, averaged: bool) -> None:
    """A column is cut off and the last one repeated in its place, which is no cell of the image."""
    init: dict[str, Any] = {"a": ints(0), "b": ints(5), "three": ints(3), "n": ints(0, 0, 0, 0, 0, 0, 0, 1)}
    init |= {"flat": ints(0, 6, 24), "tokens": ints(0, 24, 6)}
    init |= {"one": ints(1), "one_two": ints(1, 2), "two_three": ints(2, 3)}
    cut = 's = Slice(x, a, b, three)\n q = Pad<mode="edge">(s, n)'
    model = model_of(f"{cut}\n {body}\n y = Gemm<transB=1>(f, w)", **init)
    x = images(model)
    found = lift(model, x)
    head = found.rewrite.heads[0]
    assert_mean_is_logits(found)
    assert head.feature_grids[0].source == "x"
    assert_close(found.features, x)
    assert (head.places.rows, head.places.columns) == (AxisPlaces(0.5, 1.0), AxisPlaces(0.5, 1.0))
    if averaged:
        assert_close(found.grid, dense(W)(x.astype(np.float64) * np.array([1, 1, 1, 1, 2, 0])))


def test_the_largest_of_a_part_is_a_cell_of_the_whole_map() -> None:
    model = model_of(
        "q = CenterCropPad<axes=[2, 3]>(x, n)\n p = ReduceMax<keepdims=0>(q, n2)\n y = Gemm<transB=1>(p, w)",
        n=ints(2, 4),
        n2=ints(2, 3),
    )
    x = images(model)
    found = lift(model, x)
    cells = x.astype(np.float64)
    top = cells[:, :, 1:3, 1:5].max(axis=(2, 3), keepdims=True)
    assert_mean_is_logits(found)
    held = np.zeros_like(cells)
    held[:, :, 1:3, 1:5] = 24 * np.where(cells[:, :, 1:3, 1:5] == top, top, 0)
    assert_close(found.grid, dense(W)(held))


@pytest.mark.parametrize(
    ("body", "init", "first"),
    [
        ("q = Pad(x, n)", {"n": ints(0, 0, 1, 1, 0, 0, 0, 1)}, (-0.5, -0.5)),
        ("q = CenterCropPad<axes=[2, 3]>(x, n)", {"n": ints(2, 8)}, (1.5, -0.5)),
        ("c = Slice(x, a, b, n)\n q = Pad(c, m)",
         {"a": ints(1), "b": ints(4), "n": ints(2), "m": ints(0, 0, 1, 1, 0, 0, 1, 0)}, (0.5, -0.5)),
    ],
    ids=["Pad", "CenterCropPad", "Pad behind Slice"],
)  # fmt: skip
@pytest.mark.parametrize("pool", ["GlobalAveragePool", "GlobalMaxPool"])
def test_zeros_around_a_map_are_cells(
    body: str, init: dict[str, np.ndarray], first: tuple[float, float], pool: str
) -> None:
    """They lie around the image, and the largest of a map may be one of them."""
    model = model_of(f"{body}\n {HEAD.replace('GlobalAveragePool', pool)}", **init)
    x = -np.abs(images(model))
    found = lift(model, x)
    assert_mean_is_logits(found)
    cells = run(model_of(f"{body}\n y = Identity(q)", **init), x, ["y"])[0].astype(np.float64)
    if pool == "GlobalMaxPool":
        top = cells == cells.max(axis=(2, 3), keepdims=True)
        cells *= top / top.mean(axis=(2, 3), keepdims=True)
    assert_close(found.grid, dense(W)(cells))
    places = found.rewrite.heads[0].places
    assert (places.rows, places.columns) == (AxisPlaces(first[0], 1.0), AxisPlaces(first[1], 1.0))


@pytest.mark.parametrize("size", [(4, 10), (10, 14)])
def test_the_image_is_cropped_or_padded_in_the_graph(size: tuple[int, int]) -> None:
    model = model_of(
        "c = CenterCropPad<axes=[2, 3]>(x, n)\n q = AveragePool<kernel_shape=[2, 2], strides=[2, 2]>(c)\n" + HEAD,
        x="float[N,6,8,12] x",
        n=ints(*size),
    )
    found = lift(model, images(model))
    places = found.rewrite.heads[0].places
    # Of the first cell, two pixels wide, the middle.
    corner = [(whole - own) / 2 + 1 for whole, own in zip((8, 12), size, strict=True)]
    assert (places.rows, places.columns) == (AxisPlaces(corner[0], 2.0), AxisPlaces(corner[1], 2.0))
    assert_mean_is_logits(found)


def test_a_map_and_its_mirror_image_added_up_are_named() -> None:
    model = model_of(
        "k = Conv(x, c)\n b = Slice(k, back, start, last, back)\n q = Add(k, b)\n"
        " p = ReduceMean<keepdims=0>(q, n)\n y = Gemm<transB=1>(p, w)",
        c=weights(6, 6, 1, 1),
        back=ints(-1),
        start=ints(-99),
        last=ints(3),
        n=ints(2, 3),
    )
    check_refused(model, "different-views")


def test_the_largest_of_a_part_of_a_map_of_integers_is_refused() -> None:
    """QOperator models pool uint8 as it is."""
    model = model_of(
        "q = QuantizeLinear(x, step, nought)\n p = MaxPool<kernel_shape=[3, 4], strides=[9, 9]>(q)\n"
        " d = DequantizeLinear(p, step, nought)\n f = Flatten(d)\n y = Gemm<transB=1>(f, w)",
        step=np.float32(0.05),
        nought=np.uint8(128),
    )
    assert "a map of integers" in check_refused(model, "quantized-nonuniform").message
