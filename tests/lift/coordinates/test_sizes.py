"""Places behind a branch that an open size chooses: known where both branches look alike, and else of no size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_gapmil.images.places import AxisPlaces
from onnx_gapmil.rewriting.inspection import inspect
from onnx_gapmil.rewriting.verbs import rewrite, verify
from tests.helpers.support import assert_close, run, text_model, weights

#: From the batch or the height to a condition that holds in the trace (a batch of 2, 224 pixels) or does not.
CONDITIONS = {
    "more than 20 images": "n = Gather<axis=0>(s, batch)\n c = Greater(n, twenty)",
    "other than 7 images": "n = Gather<axis=0>(s, batch)\n u = Equal(n, seven)\n c = Not(u)",
    "up to 2 images": "n = Gather<axis=0>(s, batch)\n g = Greater(n, two)\n c = Not(g)",
    "more than 500 rows": "n = Gather<axis=0>(s, rows)\n c = Greater(n, many)",
    "up to 500 rows": "n = Gather<axis=0>(s, rows)\n c = Less(n, many)",
}
TURNS = (
    "m = If(c) <then_branch = one () => (float[N,6,H,W] t) { t = Relu(k) }, "
    "else_branch = two () => (float[N,6,H,W] t) { t = Transpose<perm=[0,1,3,2]>(k) }>"
)
OPEN = "float[N,3,H,W] x"


def model_of(condition: str, body: str, x: str = OPEN) -> onnx.ModelProto:
    text = f"k = Conv<strides=[32,32]>(x, c0)\n s = Shape(x)\n {condition}\n {body}\n p = GlobalAveragePool(m)"
    init = {"c0": weights(6, 3, 32, 32), "w": weights(5, 6), "batch": np.asarray(0), "rows": np.asarray(2)}
    init |= {name: np.asarray(value) for name, value in (("two", 2), ("seven", 7), ("twenty", 20), ("many", 500))}
    init |= {"on": np.array([1]), "back": np.array([-1]), "first": np.array([0]), "last": np.array([-1])}
    init |= {"far": np.array([999]), "near": np.array([-999]), "axis": np.array([3])}
    return text_model(f"{text}\n f = Flatten(p)\n y = Gemm<transB=1>(f, w)", x=x, init=init)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_branch_that_an_open_size_chooses_has_no_places_where_the_other_turns_the_map(condition: str) -> None:
    """Stripes show one size and one batch, and are not asked."""
    model = model_of(CONDITIONS[condition], TURNS)
    made = rewrite(model, write=False)
    (head,) = made.heads
    assert (head.verdict, head.places.known) == ("exact", False)
    assert "takes another branch at another size of the input, which the file leaves open" in head.places.reason
    # The sum holds at every size, whichever branch runs.
    for shape in ((3, 3, 64, 96), (21, 3, 64, 64), (7, 3, 32, 64)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        assert head.grid is not None
        grid, answer = run(made.model, x, [head.grid, "y"])
        assert_close(grid.mean(axis=(2, 3)), answer)


@pytest.mark.parametrize(
    "body",
    [
        "v = Transpose<perm=[0,1,3,2]>(k)\n m = Where(c, k, v)",
        "b = Where(c, on, back)\n d = Where(c, first, last)\n e = Where(c, far, near)\n q = Slice(k, d, e, axis, b)\n"
        " m = Relu(q)",
    ],
    ids=["Where", "steps of a Slice"],
)
@pytest.mark.parametrize("condition", ["other than 7 images", "more than 500 rows"])
def test_what_chooses_by_an_open_size_without_a_branch_has_no_places_either(condition: str, body: str) -> None:
    (head,) = rewrite(model_of(CONDITIONS[condition], body), write=False).heads
    assert head.places.known is False
    assert "at another size of the input, which the file leaves open" in head.places.reason


def test_branches_that_look_at_the_same_places_have_them() -> None:
    body = (
        "m = If(c) <then_branch = one () => (float[N,6,H,W] t) { t = Relu(k) }, "
        "else_branch = two () => (float[N,6,H,W] t) { t = Sigmoid(k) }>"
    )
    (head,) = rewrite(model_of(CONDITIONS["up to 500 rows"], body), write=False).heads
    assert (head.places.known, head.places.rows) == (True, AxisPlaces(16.0, 32.0))


def test_factors_that_an_open_size_chooses_move_no_places() -> None:
    body = "z = Where(c, on, back)\n g = Cast<to=1>(z)\n m = Mul(k, g)"
    (head,) = rewrite(model_of(CONDITIONS["more than 20 images"], body), write=False).heads
    assert head.places.known is True


@pytest.mark.parametrize(
    ("condition", "x"),
    [
        ("more than 500 rows", "float[N,3,64,96] x"),
        ("more than 20 images", "float[2,3,64,96] x"),
    ],
)
def test_a_size_that_is_fixed_takes_its_branch(condition: str, x: str) -> None:
    (head,) = rewrite(model_of(CONDITIONS[condition], TURNS, x), write=False).heads
    assert (head.places.known, head.places.rows) == (True, AxisPlaces(16.0, 32.0))
    assert head.grid_shape[2:] == (2, 3)  # in reading order, whichever way the vendor has it


def test_a_file_says_the_same_when_it_is_opened_and_verified(tmp_path: Path) -> None:
    model = model_of(CONDITIONS["more than 20 images"], TURNS)
    made = rewrite(model, write=False)
    path = tmp_path / "new.onnx"
    onnx.save(made.model, path)
    (head,) = inspect(path).heads
    assert head.places.known is False
    report = verify(model, path, provider="cpu")
    place = next(check for check in report.checks if check.name == "place")
    assert (place.passed, report.passed) == (None, True)
    assert "which the file leaves open" in place.to_json()["skipped"]


#: From the image to a condition: no size tells it.
BY_THE_IMAGE = "a = ReduceMean<keepdims=0>(x)\n c = Greater(a, half)"


def model_by_the_image(body: str) -> onnx.ModelProto:
    model = model_of(BY_THE_IMAGE, body, "float[N,3,64,96] x")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "half"))
    return model


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            "m = If(c) <then_branch = one () => (float[N,6,H,W] t) { t = Slice(k, last, near, axis, back) }, "
            "else_branch = two () => (float[N,6,H,W] t) { t = Identity(k) }>",
            "takes the branch that the image decides",
        ),
        (
            "l = Cast<to=7>(c)\n z = Cast<to=9>(l)\n m = Loop<body = turn (int64 i, bool g, float[N,6,H,W] v) => "
            "(bool d, float[N,6,H,W] u) { d = Identity(g) u = Slice(v, last, near, axis, back) }>(l, , k)",
            "runs as often as the image decides",
        ),
    ],
    ids=["If", "Loop"],
)
def test_what_the_image_decides_has_no_places(body: str, why: str) -> None:
    """A map that is mirrored where the image is bright: stripes of noise about 0 never show it, and are not asked."""
    model = model_by_the_image(body)
    made = rewrite(model, write=False)
    (head,) = made.heads
    assert (head.verdict, head.places.known) == ("exact", False)
    assert why in head.places.reason
    for light in (0.0, 2.0):
        x = np.random.default_rng(0).standard_normal((3, 3, 64, 96)).astype(np.float32) + np.float32(light)
        assert head.grid is not None
        grid, answer = run(made.model, x, [head.grid, "y"])
        assert_close(grid.mean(axis=(2, 3)), answer)


def test_branches_of_the_image_that_look_at_the_same_places_have_them() -> None:
    """As where a file divides by 255 what was not divided yet."""
    body = (
        "m = If(c) <then_branch = one () => (float[N,6,H,W] t) { t = Mul(k, half) }, "
        "else_branch = two () => (float[N,6,H,W] t) { t = Identity(k) }>"
    )
    (head,) = rewrite(model_by_the_image(body), write=False).heads
    assert (head.places.known, head.places.rows) == (True, AxisPlaces(16.0, 32.0))
