"""Views of one image that lie elsewhere in it: their cells side by side, where each of them looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.lift.coordinates.judging import CellPlaces
from onnx_gapmil.lift.views import common_lattice, is_within
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import (
    assert_close,
    assert_mean_is_logits,
    check_refused,
    lift,
    rng,
    run,
    text_model,
    weights,
)

PATCH, CHANNELS, CLASSES = 4, 6, 5
KERNEL = weights(CHANNELS, 3, PATCH, PATCH)
HEAD = "f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)"

Box = tuple[int, int, int, int]
"""(top, left, bottom, right) in pixels."""


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def model_of(
    boxes: list[Box], join: str, size: tuple[int, int], *, strides: list[int] | None = None
) -> onnx.ModelProto:
    """One trunk of patches on each crop; every pool is ``p0``, ``p1``, ..."""
    lines, init = [], {"c": KERNEL, "axes": ints(2, 3), "b": weights(CLASSES)}
    for place, (top, left, bottom, right) in enumerate(boxes):
        init |= {f"s{place}": ints(top, left), f"e{place}": ints(bottom, right)}
        lines += [
            f"x{place} = Slice(x, s{place}, e{place}, axes)",
            f"k{place} = Conv<strides=[{PATCH}, {PATCH}]>(x{place}, c)",
            f"r{place} = Relu(k{place})",
            f"p{place} = GlobalAveragePool(r{place})",
        ]
    width = CHANNELS * len(boxes) if "Concat" in join else CHANNELS
    init["w"] = weights(CLASSES, width)
    body = "\n".join([*lines, join, HEAD])
    return text_model(body, x=f"float[N,3,{size[0]},{size[1]}] x", init=init)


def joined(op: str, count: int) -> str:
    names = ", ".join(f"p{place}" for place in range(count))
    if op == "Concat":
        return f"p = Concat<axis=1>({names})"
    if op in ("Sum", "Mean"):
        return f"p = {op}({names})"
    lines = ["a0 = Identity(p0)"] + [f"a{place} = Add(a{place - 1}, p{place})" for place in range(1, count)]
    return "\n".join([*lines, f"p = Identity(a{count - 1})"])


def trunk(x: np.ndarray, stride: int = PATCH) -> np.ndarray:
    """The patches of a crop through the convolution and the activation, by its definition in float64."""
    rows = range(0, x.shape[2] - PATCH + 1, stride)
    columns = range(0, x.shape[3] - PATCH + 1, stride)
    kernel = KERNEL.astype(np.float64)
    cells = [
        [np.einsum("ncij,kcij->nk", x[:, :, i : i + PATCH, j : j + PATCH].astype(np.float64), kernel) for j in columns]
        for i in rows
    ]
    return np.maximum(np.moveaxis(np.array(cells), [0, 1], [2, 3]), 0)


def expected_grid(
    model: onnx.ModelProto, x: np.ndarray, boxes: list[Box], op: str, first: Box, step: int, cells: tuple[int, int]
) -> np.ndarray:
    """Every view's cells where it lies, each by its own weights, in units that keep the mean."""
    init = {tensor.name: onnx.numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer}
    total = np.zeros((len(x), CLASSES, *cells))
    for place, (top, left, bottom, right) in enumerate(boxes):
        own = trunk(x[:, :, top:bottom, left:right])
        copies = PATCH // step
        fine = own.repeat(copies, axis=2).repeat(copies, axis=3)
        row, column = (top - first[0]) // step, (left - first[1]) // step
        weight = init["w"][:, place * CHANNELS : (place + 1) * CHANNELS] if op == "Concat" else init["w"]
        weight = weight / (len(boxes) if op == "Mean" else 1)
        part = np.einsum("kc,nchw->nkhw", weight, fine) * np.prod(cells) / np.prod(fine.shape[2:])
        total[:, :, row : row + fine.shape[2], column : column + fine.shape[3]] += part
    return total + init["b"][:, None, None]


QUARTERS = [(0, 0, 16, 16), (0, 16, 16, 32), (16, 0, 32, 16), (16, 16, 32, 32)]
CASES = {
    "halves": ([(0, 0, 32, 16), (0, 16, 32, 32)], 4, (8, 8)),
    "quarters": (QUARTERS, 4, (8, 8)),
    "two_corners": ([(0, 0, 24, 24), (8, 8, 32, 32)], 4, (8, 8)),
    "far_apart": ([(0, 0, 8, 8), (24, 24, 32, 32)], 4, (8, 8)),
    "five_crops": ([*QUARTERS, (8, 8, 24, 24)], 4, (8, 8)),
    "half_a_cell_apart": ([(0, 0, 32, 16), (2, 14, 34, 30)], 2, (17, 15)),
    "strips_of_other_heights": ([(0, 0, 12, 32), (12, 0, 32, 32)], 4, (8, 8)),
}


@pytest.mark.parametrize("op", ["Concat", "Add", "Mean", "Sum"])
@pytest.mark.parametrize("name", CASES)
def test_views_lie_side_by_side(name: str, op: str) -> None:
    boxes, step, cells = CASES[name]
    model = model_of(boxes, joined(op, len(boxes)), (36, 32))
    x = rng(3).standard_normal((2, 3, 36, 32)).astype(np.float32)
    found = lift(model, x)
    head = found.rewrite.heads[0]
    assert found.verdict == "exact"
    assert head.position_dependent
    assert head.places == Places(True, "x", AxisPlaces(step / 2, step), AxisPlaces(step / 2, step))
    assert_mean_is_logits(found)
    assert_close(found.grid, expected_grid(model, x, boxes, op, (0, 0, 0, 0), step, cells))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 7), (7, 0), (5, 4)])
def test_patch_of_the_image_moves_the_cell_that_lies_there(row: int, column: int) -> None:
    model = model_of(QUARTERS, joined("Concat", 4), (32, 32))
    made = rewrite_model(model)
    outputs = [made.heads[0].grid, made.heads[0].features]
    x = rng(4).standard_normal((1, 3, 32, 32)).astype(np.float32)
    before = run(made.model, x, outputs)
    x[:, :, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] += 2
    after = run(made.model, x, outputs)
    for one, two in zip(before, after, strict=True):
        moved = np.argwhere(np.abs(two - one).sum(axis=(0, 1)) > 1e-5)
        assert moved.tolist() == [[row, column]]


def test_one_view_through_two_trunks_and_the_other() -> None:
    """Two grids of one view and one of another, joined at once and one after the other."""
    boxes = [(0, 0, 32, 16), (0, 0, 32, 16), (0, 16, 32, 32)]
    for op in ("Concat", "Add"):
        model = model_of(boxes, joined(op, 3), (32, 32))
        x = rng(5).standard_normal((2, 3, 32, 32)).astype(np.float32)
        found = lift(model, x)
        assert_mean_is_logits(found)
        assert_close(found.grid, expected_grid(model, x, boxes, op, (0, 0, 0, 0), PATCH, (8, 8)))


def test_views_behind_a_hidden_layer_keep_the_mean() -> None:
    model = model_of(
        CASES["halves"][0],
        f"{joined('Concat', 2)}\n q = Flatten(p)\n h = Gemm<transB=1>(q, hidden)\n p2 = Relu(h)",
        (32, 32),
    )
    body = model.graph.node
    flatten = next(node for node in body if node.output[0] == "f")
    flatten.input[0] = "p2"
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights(2 * CHANNELS, 2 * CHANNELS), "hidden"))
    x = rng(6).standard_normal((2, 3, 32, 32)).astype(np.float32)
    found = lift(model, x)
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    assert found.grid.shape == (2, CLASSES, 8, 8)


REFUSED = {
    "mirrored": ("x1 = Slice(x, last, start, three, last)", 32),
    "transposed": ("x1 = Transpose<perm=[0, 1, 3, 2]>(x)", 32),
    "shifted_beyond_the_edge": ("x1 = Pad(x, pads)", 32),
    "part_beside_the_whole": ("x1 = Slice(x, zero, half, three)", 32),
}


@pytest.mark.parametrize("name", REFUSED)
def test_views_that_are_no_parts_of_the_image_are_refused(name: str) -> None:
    """A mirrored patch looks other than the patch does, and a part beside its whole would count places twice."""
    line, size = REFUSED[name]
    body = (
        f"k0 = Conv<strides=[4, 4]>(x, c)\n p0 = GlobalAveragePool(k0)\n {line}\n k1 = Conv<strides=[4, 4]>(x1, c)\n"
        f" p1 = GlobalAveragePool(k1)\n {joined('Mean', 2)}\n {HEAD}"
    )
    init: dict[str, Any] = {
        "c": KERNEL, "w": weights(CLASSES, CHANNELS), "b": weights(CLASSES), "last": ints(-1), "start": ints(-99),
        "three": ints(3), "zero": ints(0), "half": ints(16), "pads": ints(0, 0, 0, 8, 0, 0, 0, -8),
    }  # fmt: skip
    check_refused(text_model(body, x=f"float[N,3,{size},{size}] x", init=init), "different-views")


@pytest.mark.parametrize(
    ("join", "code"),
    [
        ("a = Add(p0, pm)\n p = Add(a, p1)", "different-views"),
        ("a = Add(p1, p0)\n p = Add(a, pm)", "different-grids"),  # 4x8 cells of both views, and 4x4
        ("p = Sum(p1, pm, p0)", "different-views"),
    ],
)
def test_mirrored_view_is_refused_beside_another_too(join: str, code: str) -> None:
    """On the lattice of all views the cells of a patch and of its mirror image would seem to look alike."""
    model = model_of([(0, 0, 16, 16), (0, 16, 16, 32)], join, (16, 32))
    model.graph.initializer.append(onnx.numpy_helper.from_array(ints(-1), "last"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(ints(-99), "start"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(ints(3), "three"))
    helper = onnx.helper
    mirrored = [
        helper.make_node("Slice", ["x0", "last", "start", "three", "last"], ["xm"]),
        helper.make_node("Conv", ["xm", "c"], ["km"], strides=[PATCH, PATCH]),
        helper.make_node("GlobalAveragePool", ["km"], ["pm"]),
    ]
    for place, node in enumerate(mirrored):
        model.graph.node.insert(1 + place, node)
    check_refused(model, code)


def test_views_of_an_open_image_are_refused() -> None:
    model = model_of(CASES["halves"][0], joined("Mean", 2), (32, 32))
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side{axis}"
    check_refused(model, "different-views")


# --- the lattice ---------------------------------------------------------------------------------------------------


def view(rows: tuple[float, float], columns: tuple[float, float] | None, size: tuple[int, int]) -> CellPlaces:
    across = AxisPlaces(*(columns or rows))
    return CellPlaces(Places(True, "x", AxisPlaces(*rows) if columns else None, across), size)


def test_cells_that_are_coarser_cover_several() -> None:
    found = common_lattice([view((4, 8), (4, 8), (2, 2)), view((18, 4), (18, 4), (4, 4))])
    assert found is not None
    assert found.size == (8, 8)
    assert found.places.rows == AxisPlaces(2, 4)
    assert found.spans == (((0, 2), (0, 2)), ((4, 1), (4, 1)))


def test_signals_have_columns_alone() -> None:
    found = common_lattice([view((4, 8), None, (1, 4)), view((36, 8), None, (1, 4))])
    assert found is not None
    assert (found.size, found.places.rows, found.places.columns) == ((1, 8), None, AxisPlaces(4, 8))


@pytest.mark.parametrize(
    "views",
    [
        pytest.param([view((4, 8), (4, 8), (4, 4)), view((16, 8.9), (16, 8.9), (4, 4))], id="steps_without_a_ratio"),
        pytest.param([view((4, 8), (4, 8), (4, 4)), view((4, 8), None, (1, 4))], id="a_map_and_a_signal"),
        pytest.param([view((4, 8), (4, 8), (4, 4)), view((99999, 8), (99999, 8), (2, 2))], id="far_apart"),
    ],
)
def test_no_lattice(views: list[CellPlaces]) -> None:
    assert common_lattice(views) is None


def test_a_part_is_within_its_whole_and_not_within_itself() -> None:
    whole, part, other = (view((first, 8), (first, 8), (4, 4 - cut)) for first, cut in ((4, 0), (4, 2), (12, 0)))
    assert is_within(part, whole)
    assert not is_within(whole, part)
    assert not is_within(whole, whole)
    assert not is_within(other, whole)


@settings(max_examples=30)
@given(
    corners=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=4, unique=True),
    cells=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    op=st.sampled_from(["Concat", "Add", "Mean", "Sum"]),
    seed=st.integers(0, 2**16),
)
def test_random_crops(corners: list[tuple[int, int]], cells: tuple[int, int], op: str, seed: int) -> None:
    """Crops of one size, anywhere in the image: every cell is what the views that cover it say, in float64."""
    assume(cells != (1, 1))  # a map of one cell is not pooled
    height, width = cells[0] * PATCH, cells[1] * PATCH
    boxes = [(i * PATCH, j * PATCH, i * PATCH + height, j * PATCH + width) for i, j in corners]
    side = 9 * PATCH
    model = model_of(boxes, joined(op, len(boxes)), (side, side))
    x = rng(seed).standard_normal((2, 3, side, side)).astype(np.float32)
    found = lift(model, x, check=False)
    first = (min(box[0] for box in boxes), min(box[1] for box in boxes), 0, 0)
    size = (max(box[2] for box in boxes) - first[0]) // PATCH, (max(box[3] for box in boxes) - first[1]) // PATCH
    assert_mean_is_logits(found)
    assert_close(found.grid, expected_grid(model, x, boxes, op, first, PATCH, size))
    places = found.rewrite.heads[0].places
    assert places.rows is not None
    assert places.columns is not None
    # Where a kernel looks within its patch is stated to a quarter of a cell.
    assert (places.rows.step, places.columns.step) == (PATCH, PATCH)
    assert abs(places.rows.first - first[0] - PATCH / 2) <= PATCH / 4
    assert abs(places.columns.first - first[1] - PATCH / 2) <= PATCH / 4
