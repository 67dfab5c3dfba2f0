"""Volumes, clips and signals: grids in their own axes, each cell at its place, by the vendor's own head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from onnx_gapmil import Emit, rewrite
from tests.helpers.support import assert_close, check_refused, images, lift, rng, run, session, text_model, weights

CONV3 = "h = Conv<strides=[2,2,2], kernel_shape=[2,2,2]>(x, w)  m = Relu(h)"
VOLUME = {"w": weights(4, 1, 2, 2, 2), "k": weights(5, 4), "b": weights(5)}
IMAGE = {"w": weights(4, 3, 4, 4), "k": weights(5, 4), "b": weights(5), "kt": weights(4, 5)}
#: Photos of a clip (N, 4, 3, 16, 16), each through an image's trunk.
FOLD = """
  folded = Reshape(x, fold)
  c = Conv<strides=[4,4], kernel_shape=[4,4]>(folded, w)
  m = Relu(c)
"""
TRUNK = {
    **IMAGE,
    "fold": np.array([-1, 3, 16, 16]),
    "clip": np.array([-1, 4, 4]),
    "scores": np.array([-1, 4, 5]),
    "one": np.array([1]),
    "two": np.array([2]),
    "quarter": np.array(0.25, np.float32),
}
CLIP = "float[N,4,3,16,16] x"
POOL = "p = GlobalAveragePool(m)  f = Flatten(p)\n"
MEAN = "g = Reshape(f, clip)  a = ReduceMean<axes=[1], keepdims=0>(g)  y = Gemm<transB=1>(a, k, b)"
CONSENSUS = "l = Gemm<transB=1>(f, k, b)  g = Reshape(l, scores)  y = ReduceMean<axes=[1], keepdims=0>(g)"


def moved(model: onnx.ModelProto, head: Any, x: np.ndarray, at: tuple[int, ...]) -> list[list[int]]:
    """The cells of the first image that a change of one element of the input moves."""
    made = session(model)
    other = x.copy()
    other[at] += 3
    before, after = (made.run([head.features], {made.get_inputs()[0].name: array})[0] for array in (x, other))
    assert np.array_equal(before[1:], after[1:])
    return np.argwhere(np.abs(before[0] - after[0]).max(axis=0) > 1e-6).tolist()


def frame_by_frame(model: onnx.ModelProto, x: np.ndarray, grid: np.ndarray) -> None:
    """A clip that shows one frame's part everywhere has that cell as the vendor's own logits."""
    size = x.shape[-1] // grid.shape[-1]
    for t, i, j in ((0, 0, 0), (1, 2, 3), (3, 3, 1)):
        part = x[:, t, :, i * size : (i + 1) * size, j * size : (j + 1) * size]
        whole = np.tile(part, (1, 1, grid.shape[-2], grid.shape[-1]))
        clip = np.repeat(whole[:, None], x.shape[1], axis=1)
        assert_close(grid[:, :, t, i, j], run(model, clip)[0].reshape(grid.shape[:2]))


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("p = GlobalAveragePool(m)  f = Flatten(p)  y = Gemm<transB=1>(f, k, b)", {}, id="gap"),
        pytest.param("p = ReduceMean<axes=[2,3,4], keepdims=0>(m)  y = Gemm<transB=1>(p, k, b)", {}, id="reduce_mean"),
        pytest.param(
            "q = ReduceMean<axes=[3,4], keepdims=0>(m)  p = ReduceMean<axes=[2], keepdims=0>(q)"
            "  y = Gemm<transB=1>(p, k, b)",
            {},
            id="plane_then_depth",
        ),
        pytest.param(
            "t = Transpose<perm=[0,2,3,4,1]>(m)  p = ReduceMean<axes=[1,2,3], keepdims=0>(t)"
            "  y = Gemm<transB=1>(p, k, b)",
            {},
            id="channels_last",
        ),
        pytest.param(
            "p = AveragePool<kernel_shape=[2,3,4]>(m)  f = Flatten(p)  y = Gemm<transB=1>(f, k, b)", {}, id="window"
        ),
        pytest.param(
            "r = Reshape(m, s)  p = ReduceMean<axes=[2], keepdims=0>(r)  y = Gemm<transB=1>(p, k, b)",
            {"s": np.array([0, 4, -1])},
            id="flattened",
        ),
    ],
)
def test_volume_has_a_grid_of_its_own_axes(body: str, init: Mapping[str, np.ndarray]) -> None:
    model = text_model(CONV3 + "  " + body, x="float[N,1,4,6,8] x", init={**VOLUME, **init})
    x = rng(3).standard_normal((2, 1, 4, 6, 8)).astype(np.float32)
    found = lift(model, x)
    head = found.rewrite.heads[0]
    assert (head.verdict, head.grid_shape, head.arranged) == ("exact", ("N", 5, 2, 3, 4), False)
    features = run(_with_output(model, "m"), x, ["m"])[0]
    assert_close(found.features, features)
    expected = np.einsum("kc,ncdhw->nkdhw", VOLUME["k"].astype(np.float64), features) + VOLUME["b"][:, None, None, None]
    assert_close(found.grid, expected)
    assert_close(found.grid.mean(axis=(2, 3, 4)), found.logits.astype(np.float64))
    places = head.places.to_json()
    assert [places[name] for name in ("depth", "rows", "columns")] == [{"first": 1.0, "step": 2.0}] * 3
    assert places["axes"] == {"depth": 2, "rows": 3, "columns": 4}
    assert moved(found.rewrite.model, head, x, (0, 0, 2, 1, 7)) == [[1, 0, 3]]


def test_turned_volume_is_put_into_reading_order() -> None:
    body = (
        CONV3
        + "  s = Slice(m, last, least, two, last)  t = Transpose<perm=[0,1,4,3,2]>(s)  p = GlobalAveragePool(t)"
        + "  f = Flatten(p)  y = Gemm<transB=1>(f, k, b)"
    )
    steps = {"last": np.array([-1]), "least": np.array([-1000]), "two": np.array([2])}
    model = text_model(body, x="float[N,1,4,6,8] x", init={**VOLUME, **steps})
    x = rng(3).standard_normal((2, 1, 4, 6, 8)).astype(np.float32)
    found = lift(model, x)
    assert_close(found.features, run(_with_output(model, "m"), x, ["m"])[0])
    assert found.rewrite.heads[0].places.to_json()["depth"] == {"first": 1.0, "step": 2.0}


@pytest.mark.parametrize("shape", [(2, 1, 4, 6, 8), (3, 1, 10, 4, 12)])
def test_open_volume(shape: tuple[int, ...]) -> None:
    model = text_model(
        CONV3 + "  p = GlobalAveragePool(m)  f = Flatten(p)  y = Gemm<transB=1>(f, k, b)",
        x="float[N,1,D,H,W] x",
        init=VOLUME,
    )
    x = rng(3).standard_normal(shape).astype(np.float32)
    found = lift(model, x)
    assert found.rewrite.heads[0].grid_shape == ("N", 5, "gapmil_depth", "gapmil_height", "gapmil_width")
    assert_close(found.features, run(_with_output(model, "m"), x, ["m"])[0])


def test_window_that_leaves_voxels_out_weighs_them() -> None:
    body = CONV3 + "  p = AveragePool<kernel_shape=[2,2,3]>(m)  f = Flatten(p)  y = Gemm<transB=1>(f, k, b)"
    model = text_model(body, x="float[N,1,4,6,8] x", init=VOLUME)
    # One window alone: 3 rows, of which the last is left out by a stride of the map's size.
    model.graph.node[2].attribute.append(onnx.helper.make_attribute("strides", [2, 3, 4]))
    x = rng(3).standard_normal((2, 1, 4, 6, 8)).astype(np.float32)
    found = lift(model, x)
    features = run(_with_output(model, "m"), x, ["m"])[0].astype(np.float64)
    weight = np.zeros((2, 3, 4))
    weight[:, :2, :3] = 24 / 12
    k = VOLUME["k"].astype(np.float64)
    expected = np.einsum("kc,ncdhw->nkdhw", k, features * weight) + VOLUME["b"][:, None, None, None]
    assert_close(found.grid, expected)
    assert found.rewrite.heads[0].position_dependent


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(POOL + MEAN, id="features_averaged"),
        pytest.param(POOL + CONSENSUS, id="logits_averaged"),
        pytest.param(POOL + "g = Reshape(f, clip)  l = MatMul(g, kt)  z = Add(l, b)"
                     "  y = ReduceMean<axes=[1], keepdims=0>(z)", id="layer_on_frames"),
        pytest.param(POOL + "g = Reshape(f, clip)  s = ReduceSum<keepdims=0>(g, one)  a = Mul(s, quarter)"
                     "  y = Gemm<transB=1>(a, k, b)", id="sum_and_scale"),
        pytest.param(POOL + "g = Reshape(f, clip)  t = Transpose<perm=[0,2,1]>(g)  q = GlobalAveragePool(t)"
                     "  a = Flatten(q)  y = Gemm<transB=1>(a, k, b)", id="pool_over_frames"),
        pytest.param("n = Reshape(m, back)  a = ReduceMean<axes=[1,3,4], keepdims=0>(n)  y = Gemm<transB=1>(a, k, b)",
                     id="map_unfolded"),
        pytest.param("n = Reshape(m, back)  v = Transpose<perm=[0,2,1,3,4]>(n)  q = GlobalAveragePool(v)"
                     "  a = Flatten(q)  y = Gemm<transB=1>(a, k, b)", id="unfolded_to_ncthw"),
        pytest.param("n = Reshape(m, back)  v = ReduceMean<axes=[1], keepdims=0>(n)  q = GlobalAveragePool(v)"
                     "  a = Flatten(q)  y = Gemm<transB=1>(a, k, b)", id="frames_averaged_first"),
        pytest.param("n = Reshape(m, back)  g = ReduceMean<axes=[3,4], keepdims=0>(n)  l = MatMul(g, kt)"
                     "  z = Add(l, b)  y = ReduceMean<axes=[1], keepdims=0>(z)", id="layer_on_unfolded"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("batch", ["N", "1"])
def test_clip_whose_frames_are_folded_into_the_batch(body: str, batch: str) -> None:
    init = {**TRUNK, "back": np.array([-1, 4, 4, 4, 4])}
    model = text_model(FOLD + body, x=f"float[{batch},4,3,16,16] x", y=f"float[{batch},5] y", init=init)
    x = rng(4).standard_normal((1 if batch == "1" else 2, 4, 3, 16, 16)).astype(np.float32)
    found = lift(model, x)
    head = found.rewrite.heads[0]
    assert (head.verdict, head.grid_shape[1:]) == ("exact", (5, 4, 4, 4))
    assert_close(found.grid.mean(axis=(2, 3, 4)), found.vendor[0].astype(np.float64))
    frame_by_frame(model, x, found.grid)
    places = head.places.to_json()
    assert places["frames"] == {"first": 0.5, "step": 1.0}
    assert places["rows"] == places["columns"] == {"first": 2.0, "step": 4.0}
    assert moved(found.rewrite.model, head, x, (0, 2, 1, 5, 14)) == [[2, 1, 3]]
    proved = rewrite(model, write=False)
    assert proved.proof is not None
    checks = proved.to_json()["proof"]
    assert [checks[name]["passed"] for name in ("sum", "cell", "place")] == [True, True, True]
    assert set(proved.heads[0].places.measured) == {"frames", "rows", "columns"}


@pytest.mark.parametrize("count", [5, 10])
@pytest.mark.parametrize("body", [MEAN, CONSENSUS], ids=["of_features", "of_scores"])
def test_as_many_images_as_customary_crops_may_be_crops(count: int, body: str) -> None:
    init = {**TRUNK, "clip": np.array([-1, count, 4]), "scores": np.array([-1, count, 5])}
    refusal = check_refused(
        text_model(FOLD + POOL + body, x=f"float[N,{count},3,16,16] x", init=init), "different-views"
    )
    assert f"tests on {count} crops of a photo" in refusal.message


@pytest.mark.parametrize("transpose", [True, False])
def test_clip_with_its_channels_first(transpose: bool) -> None:
    """(N, C, T, H, W), folded after a transpose, or through a 3-D trunk."""
    if transpose:
        body = "u = Transpose<perm=[0,2,1,3,4]>(x)" + FOLD.replace("(x, fold)", "(u, fold)") + POOL
        body += "g = Reshape(f, clip)  a = ReduceMean<axes=[1], keepdims=0>(g)  y = Gemm<transB=1>(a, k, b)"
        init: dict[str, np.ndarray] = dict(TRUNK)
    else:
        body = "c = Conv<strides=[1,4,4], kernel_shape=[1,4,4]>(x, v)  m = Relu(c)  p = GlobalAveragePool(m)"
        body += "  f = Flatten(p)  y = Gemm<transB=1>(f, k, b)"
        init = {**IMAGE, "v": IMAGE["w"][:, :, None]}
    model = text_model(body, x="float[N,3,4,16,16] x", init=init)
    x = rng(4).standard_normal((2, 3, 4, 16, 16)).astype(np.float32)
    found = lift(model, x)
    places = found.rewrite.heads[0].places.to_json()
    assert places["frames"] == {"first": 0.5, "step": 1.0}
    assert places["axes"] == {"frames": 2, "rows": 3, "columns": 4}
    assert moved(found.rewrite.model, found.rewrite.heads[0], x, (0, 1, 3, 15, 0)) == [[3, 3, 0]]


def test_clip_folded_frame_by_frame() -> None:
    """(T * N, C, H, W), as a transpose before the fold leaves it."""
    init = {**TRUNK, "apart": np.array([4, 2, 4])}
    body = "u = Transpose<perm=[1,0,2,3,4]>(x)" + FOLD.replace("(x, fold)", "(u, fold)") + POOL
    body += "g = Reshape(f, apart)  a = ReduceMean<axes=[0], keepdims=0>(g)  y = Gemm<transB=1>(a, k, b)"
    model = text_model(body, x="float[2,4,3,16,16] x", y="float[2,5] y", init=init)
    x = rng(4).standard_normal((2, 4, 3, 16, 16)).astype(np.float32)
    found = lift(model, x)
    frame_by_frame(model, x, found.grid)
    assert moved(found.rewrite.model, found.rewrite.heads[0], x, (0, 2, 1, 5, 14)) == [[2, 1, 3]]


@pytest.mark.parametrize("frames", [4, 7])
def test_open_number_of_frames(frames: int) -> None:
    body = """
      shape = Shape(x)  n = Gather(shape, zero)  t = Gather(shape, one)  last = Gather(shape, rest)
      fold2 = Concat<axis=0>(minus, last)
      folded = Reshape(x, fold2)
      c = Conv<strides=[4,4], kernel_shape=[4,4]>(folded, w)
      m = Relu(c)  p = GlobalAveragePool(m)  f = Flatten(p)
      l = Gemm<transB=1>(f, k, b)
      back = Concat<axis=0>(n, t, minus)
      g = Reshape(l, back)
      y = ReduceMean<axes=[1], keepdims=0>(g)
    """
    numbers = {"zero": np.array([0]), "minus": np.array([-1]), "rest": np.array([2, 3, 4])}
    model = text_model(body, x="float[N,T,3,H,W] x", init={**IMAGE, "one": np.array([1]), **numbers})
    x = rng(4).standard_normal((2, frames, 3, 16, 24)).astype(np.float32)
    found = lift(model, x)
    head = found.rewrite.heads[0]
    assert head.grid_shape == ("N", 5, "gapmil_frames", "gapmil_height", "gapmil_width")
    assert found.grid.shape == (2, 5, frames, 4, 6)
    assert_close(found.grid.mean(axis=(2, 3, 4)), found.vendor[0].astype(np.float64))
    assert moved(found.rewrite.model, head, x, (0, 2, 1, 5, 14)) == [[2, 1, 3]]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(
            POOL + "g = Reshape(f, row)  y = Gemm<transB=1>(g, over, b)", "spatial-mixing-after-pool", id="flattened"
        ),
        pytest.param(
            POOL + "g = Reshape(f, clip)  t = Transpose<perm=[0,2,1]>(g)  l = MatMul(t, mix)"
            "  a = ReduceMean<axes=[2], keepdims=0>(l)  y = Gemm<transB=1>(a, k, b)",
            "spatial-mixing-after-pool",
            id="matrix_over_frames",
        ),
        pytest.param(
            POOL
            + "g = Reshape(f, clip)  t = Transpose<perm=[0,2,1]>(g)  l = Conv<kernel_shape=[3], pads=[1,1]>(t, tap)"
            "  a = ReduceMean<axes=[2], keepdims=0>(l)  y = Gemm<transB=1>(a, k, b)",
            "spatial-mixing-after-pool",
            id="convolution_over_frames",
        ),
        pytest.param(
            POOL + "g = Reshape(f, clip)  l = CumSum(g, one)  a = ReduceMean<axes=[1], keepdims=0>(l)"
            "  y = Gemm<transB=1>(a, k, b)",
            "spatial-mixing-after-pool",
            id="running_sum_over_frames",
        ),
        pytest.param(
            POOL + "g = Reshape(f, clip)  a = ReduceMax<axes=[1], keepdims=0>(g)  y = Gemm<transB=1>(a, k, b)",
            "spatial-mixing-after-pool",
            id="largest_frame",
        ),
        *(
            pytest.param(
                f"{POOL} g = Reshape(f, clip)  r = {frames}  a = ReduceMean<axes=[1], keepdims=0>(r)  {bent}"
                "  y = Gemm<transB=1>(t, k, b)",
                code,
                id=f"{name}_{'conditional' if 'Tanh' in bent else 'exact'}",
            )
            for bent in ("t = Identity(a)", "t = Tanh(a)")
            for name, frames, code in (
                ("backwards", "Slice(g, last, start, one, last)", "spatial-mixing-after-pool"),
                ("some_twice", "Gather<axis=1>(g, twice)", "spatial-mixing-after-pool"),
                ("weighed", "Mul(g, each)", "unknown-operator"),
                ("shifted", "Add(g, each)", "unknown-operator"),
            )
        ),
    ],
)
def test_layer_over_pooled_frames_is_refused(body: str, code: str) -> None:
    more: dict[str, np.ndarray] = {
        "last": np.array([-1]),
        "start": np.array([-99]),
        "one": np.array([1]),
        "twice": np.array([0, 0, 1, 1]),
        "each": weights(1, 4, 1),
    }
    more |= {"row": np.array([-1, 16]), "over": weights(5, 16), "mix": weights(4, 4), "tap": weights(4, 4, 3)}
    check_refused(text_model(FOLD + body, x=CLIP, init={**TRUNK, **more}), code)


def test_views_in_the_batch_are_no_frames() -> None:
    """Two halves of each photo, folded into the batch: the cells of the whole photo, and not the sum of two places."""
    body = """
      a = Slice(x, zero, half, three)  c = Slice(x, half, whole, three)
      u = Unsqueeze(a, one)  v = Unsqueeze(c, one)  j = Concat<axis=1>(u, v)
      folded = Reshape(j, fold)
      h = Conv<strides=[4,4], kernel_shape=[4,4]>(folded, w)
      m = Relu(h)  p = GlobalAveragePool(m)  f = Flatten(p)
      g = Reshape(f, views)  q = ReduceMean<axes=[1], keepdims=0>(g)  y = Gemm<transB=1>(q, k, b)
    """
    numbers = {
        "zero": np.array([0]), "half": np.array([16]), "whole": np.array([32]), "three": np.array([3]),
        "one": np.array([1]), "fold": np.array([-1, 3, 16, 16]), "views": np.array([-1, 2, 4]),
    }  # fmt: skip
    model = text_model(body, x="float[N,3,16,32] x", init={**IMAGE, **numbers})
    whole = """
      h = Conv<strides=[4,4], kernel_shape=[4,4]>(x, w)
      m = Relu(h)  p = GlobalAveragePool(m)  f = Flatten(p)  y = Gemm<transB=1>(f, k, b)
    """
    plain = text_model(whole, x="float[N,3,16,32] x", init=IMAGE)
    x = images(model)
    assert_close(lift(model, x).grid, lift(plain, x).grid.astype(np.float64))


@pytest.mark.parametrize("joined", ["Add(p, q)", "Concat<axis=1>(p, q)"])
def test_frames_that_are_taken_apart_are_not_added_up_cell_by_cell(joined: str) -> None:
    """Each of two frames through a trunk of its own: their cells have one row and column, and two places."""
    body = f"""
      a = Gather<axis=1>(x, zero)  c = Conv<strides=[4,4], kernel_shape=[4,4]>(a, w)  p = GlobalAveragePool(c)
      e = Gather<axis=1>(x, one)  d = Conv<strides=[4,4], kernel_shape=[4,4]>(e, w)  q = GlobalAveragePool(d)
      j = {joined}  f = Flatten(j)  y = Gemm<transB=1>(f, k, b)
    """
    init = {**IMAGE, "zero": np.array(0), "one": np.array(1), "k": weights(5, 4 if "Add" in joined else 8)}
    refusal = check_refused(text_model(body, x="float[N,2,3,16,16] x", init=init), "different-views")
    assert "elements 0.5 and 1.5 of axis 1 of 'x'" in refusal.message


def test_one_frame_of_a_clip_has_rows_and_columns() -> None:
    body = "a = Gather<axis=1>(x, two)  c = Conv<strides=[4,4], kernel_shape=[4,4]>(a, w)  m = Relu(c)" + POOL
    model = text_model(body + "y = Gemm<transB=1>(f, k, b)", x=CLIP, init={**IMAGE, "two": np.array(2)})
    head = rewrite(model, write=False).heads[0]
    assert head.places.axes == {"rows": 3, "columns": 4}
    assert set(head.places.measured) == {"rows", "columns"}


def test_emissions_of_a_clip_are_those_of_numpy() -> None:
    model = text_model(FOLD + POOL + CONSENSUS, x=CLIP, init=TRUNK)
    wish = Emit.parse("features,grid,argmax,certainty,peaks,topk:2,classes:1,3,scores:max,lse=2")
    made = rewrite(model, write=False, emit=wish)
    head, x = made.heads[0], rng(4).standard_normal((2, 4, 3, 16, 16)).astype(np.float32)
    names = list(head.by_name())
    got = dict(zip(names, run(made.model, x, list(head.by_name().values())), strict=True))
    grid = got["grid"].astype(np.float64)
    assert grid.shape == (2, 5, 4, 4, 4)
    np.testing.assert_array_equal(got["argmax"], grid.argmax(axis=1))
    share = np.exp(grid - grid.max(axis=1, keepdims=True))
    assert_close(got["certainty"], 1 / share.sum(axis=1))
    np.testing.assert_array_equal(got["peaks"], grid.reshape(2, 5, -1).argmax(axis=2))
    best = np.argsort(-grid.mean(axis=(2, 3, 4)), axis=1, kind="stable")[:, :2]
    np.testing.assert_array_equal(got["topk_classes"], best)
    assert_close(got["topk_grid"], np.take_along_axis(grid, best[:, :, None, None, None], axis=1))
    assert_close(got["classes_grid"], grid[:, [1, 3]])
    assert_close(got["scores.max"], grid.max(axis=(2, 3, 4)))
    declared = {
        value.name: [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
        for value in made.model.graph.output
    }
    assert declared[head.topk.grid if head.topk else ""] == ["N", 2, 4, 4, 4]


def test_record_of_a_clip_is_read_as_it_was_written() -> None:
    made = rewrite(text_model(FOLD + POOL + MEAN, x=CLIP, init=TRUNK), write=False)
    again = rewrite(made.model, write=False)
    assert again.unchanged
    assert again.heads == tuple(replace(head, residual=None, as_deployed=None) for head in made.heads)
    assert again.heads[0].feature_grids[0].cells == (4, 4, 4)


def test_signal_has_columns_alone() -> None:
    body = "c = Conv<strides=[4], kernel_shape=[4]>(x, w)  m = Relu(c)  p = GlobalAveragePool(m)  f = Flatten(p)"
    init = {"w": weights(4, 2, 4), "k": weights(5, 4), "b": weights(5)}
    model = text_model(body + "  y = Gemm<transB=1>(f, k, b)", x="float[N,2,32] x", init=init)
    found = lift(model, rng(3).standard_normal((2, 2, 32)).astype(np.float32))
    head = found.rewrite.heads[0]
    assert head.places.to_json() == {
        "known": True, "input": "x", "columns": {"first": 2.0, "step": 4.0}, "axes": {"columns": 2},
    }  # fmt: skip
    assert (found.grid.shape, head.note, head.arranged) == ((2, 5, 1, 8), "", False)


def _with_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    twin.graph.output.append(onnx.ValueInfoProto(name=name))
    return twin
