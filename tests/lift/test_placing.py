"""Places of lifted heads: reading order restored, views that differ refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_gapmil.images.places import AxisPlaces
from onnx_gapmil.lift.lifted import UNARRANGED
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import (
    assert_close,
    assert_mean_is_logits,
    check_refused,
    images,
    lift,
    run,
    text_model,
    weights,
)

PATCH = 4
SIZE = (5, 7)
HEAD = "f = Flatten(p)\n y = Gemm<transB=1>(f, w)"


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


BOUNDS = {"last": ints(-1), "start": ints(-99), "two": ints(2), "three": ints(3), "zero": ints(0), "half": ints(4)}


def model_of(
    body: str,
    x: str = f"float[N,3,{SIZE[0] * PATCH},{SIZE[1] * PATCH}] x",
    y: str = "float[N,5] y",
    **init: Any,
) -> onnx.ModelProto:
    """A trunk of patches, so that each patch of the image decides one cell; ``k`` is its map of 6 channels."""
    trunk = f"k = Conv<strides=[{PATCH}, {PATCH}]>(x, c)\n"
    init = {"c": weights(6, 3, PATCH, PATCH), "w": weights(5, 6)} | BOUNDS | init
    return text_model(trunk + body, x=x, y=y, init=init)


def moved_cell(model: onnx.ModelProto, row: int, column: int, output: str, size: tuple[int, int] = SIZE) -> list[int]:
    """The one cell that a change of one patch moves."""
    x = np.zeros((1, 3, size[0] * PATCH, size[1] * PATCH), np.float32)
    (before,) = run(model, x, [output])
    x[:, :, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = 1
    (after,) = run(model, x, [output])
    moved = np.argwhere(np.abs(after - before).sum(axis=(0, 1)) > 1e-6)
    assert len(moved) == 1
    return [int(place) for place in moved[0]]


MOVED = {
    "mirrored": ("m = Slice(k, last, start, three, last)\n p = GlobalAveragePool(m)\n", {}),
    "upside_down": ("m = Slice(k, last, start, two, last)\n p = GlobalAveragePool(m)\n", {}),
    "transposed": (
        "m = Transpose<perm=[0, 1, 3, 2]>(k)\n r = Relu(m)\n g = Add(r, m)\n p = GlobalAveragePool(g)\n",
        {},
    ),
    "column_major_tokens": (
        "m = Transpose<perm=[0, 3, 2, 1]>(k)\n r = Reshape(m, t)\n g = MatMul(r, e)\n s = Add(r, g)\n"
        " p = ReduceMean<axes=[1], keepdims=0>(s)\n",
        {"t": ints(0, -1, 6), "e": weights(6, 6)},
    ),
    "shuffled": (
        "a = Reshape(k, t)\n b = Gather<axis=2>(a, order)\n g = Relu(b)\n h = Add(g, b)\n"
        " p = ReduceMean<axes=[2], keepdims=0>(h)\n",
        {"t": ints(0, 6, -1), "order": np.random.default_rng(3).permutation(35)},
    ),
}


@pytest.mark.parametrize("name", MOVED)
def test_reading_order_is_restored(name: str) -> None:
    body, init = MOVED[name]
    made = rewrite_model(model_of(body + HEAD, **init))
    head = made.heads[0]
    assert head.places.to_json() == {
        "known": True,
        "input": "x",
        "rows": {"first": 2.0, "step": 4.0},
        "columns": {"first": 2.0, "step": 4.0},
    }
    assert head.grid is not None
    assert head.features is not None
    assert head.grid_shape[2:] == SIZE
    for output in (head.grid, head.features):
        for row, column in ((0, 0), (1, 4), (4, 0), (2, 6)):
            assert moved_cell(made.model, row, column, output) == [row, column]


@pytest.mark.parametrize("name", ["mirrored", "transposed"])
def test_map_of_an_open_size_is_turned_at_any_size(name: str) -> None:
    made = rewrite_model(model_of(MOVED[name][0] + HEAD, x="float[N,3,H,W] x"))
    head = made.heads[0]
    assert head.grid is not None
    assert moved_cell(made.model, 1, 2, head.grid, size=(3, 8)) == [1, 2]


def test_order_that_holds_at_one_size_only_is_said_not_to_be_known() -> None:
    body = (
        "s = Slice(k, zero, half, three)\n e = Slice(k, half, far, three)\n m = Concat<axis=3>(e, s)\n"
        " p = GlobalAveragePool(m)\n"
    )
    head = rewrite_model(model_of(body + HEAD, x="float[N,3,H,W] x", far=ints(1 << 30))).heads[0]
    assert not head.places.known
    assert UNARRANGED in head.note


VIEWS = {
    "mirror_image": "m = Slice(x, last, start, three, last)\n",
    "shifted": "m = Pad(x, pads)\n",
    "transposed": "m = Transpose<perm=[0, 1, 3, 2]>(x)\n",
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("join", ["late", "early"])
def test_views_that_differ_are_refused(name: str, join: str) -> None:
    ends = {
        "late": "p0 = GlobalAveragePool(k)\n q = GlobalAveragePool(n)\n p = Add(p0, q)\n",
        "early": "s = Add(k, n)\n p = GlobalAveragePool(s)\n",
    }
    body = VIEWS[name] + f"n = Conv<strides=[{PATCH}, {PATCH}]>(m, c)\n" + ends[join] + HEAD
    pads = ints(0, 0, 0, 8, 0, 0, 0, -8)
    check_refused(model_of(body, x="float[N,3,28,28] x", pads=pads), "different-views")


def test_view_that_is_turned_back_is_no_other_view() -> None:
    body = (
        "m = Slice(x, last, start, three, last)\n"
        f"n = Conv<strides=[{PATCH}, {PATCH}]>(m, c)\n b = Slice(n, last, start, three, last)\n"
        "p0 = GlobalAveragePool(k)\n q = GlobalAveragePool(b)\n p = Add(p0, q)\n"
    )
    assert rewrite_model(model_of(body + HEAD)).heads[0].places.known


def test_cropped_photo_says_where_its_cells_lie() -> None:
    """The middle of the photo is cut out in the graph: the first cell lies a patch from its corner."""
    body = f"m = Slice(x, four, to, axes)\n n = Conv<strides=[{PATCH}, {PATCH}]>(m, c)\n p = GlobalAveragePool(n)\n"
    init = {"four": ints(4, 8), "to": ints(16, 28), "axes": ints(2, 3), "c": np.ones((6, 3, PATCH, PATCH), np.float32)}
    places = rewrite_model(model_of(body + HEAD, **init)).heads[0].places
    assert places.to_json() == {
        "known": True,
        "input": "x",
        "rows": {"first": 6.0, "step": 4.0},
        "columns": {"first": 10.0, "step": 4.0},
    }


TOKENS_FIRST = {
    "tokens": "r = Reshape(k, t)\n s = Transpose<perm=[2, 0, 1]>(r)\n m = MatMul(s, e)\n"
    " p = ReduceMean<axes=[0], keepdims=0>(m)",
    "rows_and_columns": "s = Transpose<perm=[2, 3, 0, 1]>(k)\n m = MatMul(s, e)\n"
    " p = ReduceMean<axes=[0, 1], keepdims=0>(m)",
    "axes_kept": "r = Reshape(k, t)\n s = Transpose<perm=[2, 0, 1]>(r)\n m = MatMul(s, e)\n"
    " a = ReduceMean<axes=[0], keepdims=1>(m)\n p = Transpose<perm=[1, 2, 0]>(a)",
}


@pytest.mark.parametrize("name", TOKENS_FIRST)
@pytest.mark.parametrize("batch", ["N", "1"])
def test_positions_may_stand_before_the_batch(name: str, batch: str) -> None:
    mix = weights(6, 6)
    x = f"float[{batch},3,{SIZE[0] * PATCH},{SIZE[1] * PATCH}] x"
    model = model_of(f"{TOKENS_FIRST[name]}\n {HEAD}", x=x, t=ints(0, 6, -1), e=mix)
    photos = images(model)[: 1 if batch == "1" else 3]
    found = lift(model, photos)
    assert_mean_is_logits(found)
    assert found.rewrite.heads[0].places.known
    (cells,) = run(model_of("y = Identity(k)", y="float[N,6,5,7] y", x=x), photos)
    assert_close(found.features, np.einsum("nchw,cd->ndhw", cells, mix))


# --- at random -----------------------------------------------------------------------------------------------------

#: Ways to move the pixels or the cells of a square map of 6 by 6 cells, of so many pixels each.
MOVES = {
    "flip_rows": lambda t, o, _: f"{o} = Slice({t}, last, start, two, last)",
    "flip_columns": lambda t, o, _: f"{o} = Slice({t}, last, start, three, last)",
    "transpose": lambda t, o, _: f"{o} = Transpose<perm=[0, 1, 3, 2]>({t})",
    "roll": lambda t, o, cell: (
        f"{o}a = Slice({t}, zero, n{cell * 2}, three)\n {o}b = Slice({t}, n{cell * 2}, n{cell * 6}, three)\n"
        f"{o} = Concat<axis=3>({o}b, {o}a)"
    ),
    "reverse_by_numbers": lambda t, o, cell: f"{o} = Gather<axis=2>({t}, back{cell * 6})",
    "skip_of_a_pool": lambda t, o, _: f"{o}a = GlobalAveragePool({t})\n {o}b = Sigmoid({o}a)\n {o} = Mul({t}, {o}b)",
    "through_tokens": lambda t, o, cell: (
        f"{o}s = Shape({t})\n {o}a = Reshape({t}, flat)\n {o}b = Transpose<perm=[0, 2, 1]>({o}a)\n"
        f"{o}c = Transpose<perm=[0, 2, 1]>({o}b)\n {o} = Reshape({o}c, {o}s)"
    ),
}
SHUFFLES = {
    "none": "",
    "tokens": "{o}a = Reshape({t}, flat)\n {o} = Gather<axis=2>({o}a, order)",
    "windows": "{o}a = Reshape({t}, six)\n {o}b = Transpose<perm=[0, 1, 2, 4, 3, 5]>({o}a)\n {o} = Reshape({o}b, flat)",
    "permutation_matrix": "{o}a = Reshape({t}, flat)\n {o} = MatMul({o}a, matrix)",
}
MOVE = st.sampled_from(sorted(MOVES))


@settings(max_examples=60)
@given(before=st.lists(MOVE, max_size=3), after=st.lists(MOVE, max_size=3), end=st.sampled_from(sorted(SHUFFLES)))
def test_random_movers_are_undone(before: list[str], after: list[str], end: str) -> None:
    """Whatever moves pixels or cells: a changed patch moves the features of the cell that claims its place, alone."""
    lines, tensor = [], "x"
    for number, (name, cell) in enumerate([(name, PATCH) for name in before] + [(name, 1) for name in after]):
        if number == len(before):
            lines.append(f"k = Conv<strides=[{PATCH}, {PATCH}]>({tensor}, c)")
            tensor = "k"
        lines.append(MOVES[name](tensor, f"m{number}", cell))
        tensor = f"m{number}"
    if not after:
        lines.append(f"k = Conv<strides=[{PATCH}, {PATCH}]>({tensor}, c)")
        tensor = "k"
    if end != "none":
        lines.append(SHUFFLES[end].format(t=tensor, o="e"))
        lines.append("p = ReduceMean<axes=[2], keepdims=0>(e)\n y = Gemm<transB=1>(p, w)")
    else:
        lines.append(f"p = GlobalAveragePool({tensor})\n {HEAD}")
    order = np.random.default_rng(len(lines)).permutation(36)
    init = {f"n{count}": ints(count) for count in (2, 6, 8, 24)} | {
        "back6": np.arange(6)[::-1].copy(),
        "back24": np.arange(24)[::-1].copy(),
        "flat": ints(0, 0, -1),
        "six": ints(0, 6, 2, 3, 3, 2),
        "order": order,
        "matrix": np.eye(36, dtype=np.float32)[order],
    }
    model = text_model(
        "\n".join(lines),
        x="float[N,3,24,24] x",
        init={"c": weights(6, 3, PATCH, PATCH), "w": weights(5, 6)} | BOUNDS | init,
    )
    made = rewrite_model(model)
    head = made.heads[0]
    assert head.places.known, head.places.reason
    assert head.features is not None
    for row, column in ((0, 0), (1, 4), (5, 2)):
        x = np.random.default_rng(0).standard_normal((2, 3, 24, 24)).astype(np.float32)
        (old,) = run(made.model, x, [head.features])
        x[:, :, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] += 3
        (new,) = run(made.model, x, [head.features])
        change = np.abs(new - old).sum(axis=(0, 1))
        assert np.unravel_index(change.argmax(), change.shape) == (row, column)


def test_rows_that_are_added_up_one_by_one_leave_columns_with_places() -> None:
    """They are no learned tokens, though no map has so few positions."""
    rows = "\n".join(f"r{row} = Gather<axis=2>(m, i{row})" for row in range(4))
    body = f"m = Conv<strides=[4, 4]>(x, k)\n{rows}\na = Add(r0, r1)\nb = Add(a, r2)\nc = Add(b, r3)\nd = Relu(c)\n"
    model = text_model(
        body + "p = ReduceMean<axes=[2], keepdims=0>(d)\n y = Gemm<transB=1>(p, w)",
        x="float[N,3,16,24] x",
        y="float[N,5] y",
        init={"k": weights(6, 3, 4, 4), "w": weights(5, 6)} | {f"i{row}": np.array(row) for row in range(4)},
    )
    (head,) = rewrite_model(model).heads
    assert head.feature_grids[0].size == (1, 6)
    assert (head.places.known, head.places.columns) == (True, AxisPlaces(2.0, 4.0))


@pytest.mark.parametrize("first", [2, 3])
def test_a_map_that_a_matrix_mirrors_is_pooled_along_both_axes(first: int) -> None:
    """A product with a matrix over columns reads like a layer over channels, and they are none."""
    model = model_of(
        f"m = MatMul(k, mirror)\n r = ReduceMean<axes=[{first}], keepdims=0>(m)\n"
        " p = ReduceMean<axes=[2], keepdims=0>(r)\n y = Gemm<transB=1>(p, w)",
        mirror=np.eye(SIZE[1], dtype=np.float32)[::-1].copy(),
    )
    (head,) = rewrite_model(model).heads
    assert (head.feature_grids[0].size, head.feature_grids[0].channels) == (SIZE, 6)
    assert head.places.columns == AxisPlaces.tiling(SIZE[1], SIZE[1] * PATCH)
