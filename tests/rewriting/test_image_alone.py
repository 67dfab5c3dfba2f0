"""One image without a batch, (H, W, C) or (C, H, W), in the ways that graphs add the batch: it is no batch of rows.

What is expected comes from NumPy in float64, patch by patch, and from a photo whose squares lie at known places.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_gapmil.rewriting.proof.checks import Check
from onnx_gapmil.rewriting.result import Rewrite
from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers.support import run, text_model, weights

INIT = {
    "k": weights(6, 3, 8, 8) / 8,
    "w": weights(6, 5),
    "front": np.array([0]),
    "scale": np.array(0.25, np.float32),
    "pads": np.array([1]),
    "shape": np.array([1, 3, 64, 48]),
}
TAIL = """
    c = Conv<strides=[8,8]>(n, k)
    a = Relu(c)
    p = GlobalAveragePool(a)
    f = Flatten<axis=1>(p)
    y = MatMul(f, w)
"""
ROWS_FIRST = "u = Unsqueeze(z, front)\n n = Transpose<perm=[0,3,1,2]>(u)"
COLOURS_FIRST = "t = Transpose<perm=[2,0,1]>(z)\n n = Unsqueeze(t, front)"
COMPUTED = """
    s = Shape(x)
    target = Concat<axis=0>(pads, s)
    n = Reshape(z, target)
"""
CASES = {
    "bytes_open": ("uint8[h,w,3]", f"z = Cast<to=1>(x)\n {ROWS_FIRST}"),
    "bytes_turned_first": ("uint8[h,w,3]", f"z = Cast<to=1>(x)\n {COLOURS_FIRST}"),
    "bytes_of_one_width": ("uint8[h,48,3]", f"z = Cast<to=1>(x)\n {ROWS_FIRST}"),
    "bytes_fixed": ("uint8[64,48,3]", f"z = Cast<to=1>(x)\n {ROWS_FIRST}"),
    "floats_open": ("float[h,w,3]", f"z = Mul(x, scale)\n {ROWS_FIRST}"),
    "floats_fixed": ("float[64,48,3]", f"z = Mul(x, scale)\n {COLOURS_FIRST}"),
    "colours_first_open": ("float[3,h,w]", "z = Mul(x, scale)\n n = Unsqueeze(z, front)"),
    "colours_first_fixed": ("float[3,64,48]", "z = Mul(x, scale)\n n = Unsqueeze(z, front)"),
    "reshaped": ("float[3,64,48]", "z = Mul(x, scale)\n n = Reshape(z, shape)"),
    "reshaped_to_what_is_computed": ("float[3,h,w]", f"z = Mul(x, scale)\n {COMPUTED}"),
}


def model_of(kind: str, body: str) -> onnx.ModelProto:
    return text_model(f"{body}\n{TAIL}", x=f"{kind} x", y="float[1,5] y", init=INIT)


def image_of(kind: str) -> np.ndarray:
    image = np.random.default_rng(3).integers(0, 256, (64, 48, 3))
    turned = image.transpose(2, 0, 1) if kind.startswith("float[3") else image
    return turned.astype(np.uint8 if kind.startswith("uint8") else np.float32)


def by_patches(kind: str, image: np.ndarray) -> np.ndarray:
    """(1, 5, 8, 6): each patch of 8 x 8 pixels through the weights, in float64."""
    values = image.astype(np.float64) * (1.0 if kind.startswith("uint8") else 0.25)
    planes = values if kind.startswith("float[3") else values.transpose(2, 0, 1)
    patches = planes.reshape(3, 8, 8, 6, 8)
    features = np.maximum(np.einsum("crisj,kcij->krs", patches, INIT["k"].astype(np.float64)), 0)
    return np.asarray(np.einsum("krs,ko->ors", features, INIT["w"].astype(np.float64)))[None]


def place(made: Rewrite) -> Check:
    assert made.proof is not None
    return next(check for check in made.proof.checks if check.name == "place")


@pytest.mark.parametrize("name", CASES)
def test_an_image_without_a_batch_has_one_grid_in_its_own_places(name: str) -> None:
    kind, body = CASES[name]
    made: Rewrite = rewrite(model_of(kind, body), write=False)
    head = made.heads[0]
    assert head.grid_shape[:2] == (1, 5)
    image = image_of(kind)
    grid, logits, vendor = run(made.model, image, ["gapmil_grid", "gapmil_logits", "y"])
    expected = by_patches(kind, image)
    np.testing.assert_allclose(grid, expected, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(logits, vendor, rtol=1e-5)
    assert place(made).passed is True
    rows, columns = head.places.rows, head.places.columns
    assert rows is not None
    assert columns is not None
    assert (rows.first, rows.step, columns.first, columns.step) == (4.0, 8.0, 4.0, 8.0)


@pytest.mark.parametrize("name", ["bytes_open", "floats_open", "colours_first_open"])
def test_open_sizes_stay_open(name: str) -> None:
    made = rewrite(model_of(*CASES[name]), write=False)
    kind = CASES[name][0]
    image = image_of(kind)
    half = image[:, :32] if kind.startswith("float[3") else image[:32]
    grid = run(made.model, half, ["gapmil_grid"])[0]
    whole = by_patches(kind, image)
    np.testing.assert_allclose(grid, whole[:, :, :4], atol=2e-5 * np.abs(whole).max())


@pytest.mark.parametrize("axis", [1, 2])
def test_signals_that_get_an_axis_of_their_own_keep_their_batch(axis: int) -> None:
    """TensorFlow's Conv1D expands the dims of a batch behind its first axis."""
    kernel = weights(6, 3, 1, 4) if axis == 2 else weights(6, 1, 3, 4)
    body = f"""
        n = Unsqueeze(x, axes)
        c = Conv<strides=[{1 if axis == 2 else 3},4]>(n, k)
        p = GlobalAveragePool(c)
        f = Flatten<axis=1>(p)
        y = MatMul(f, w)
    """
    init = {"k": kernel, "w": weights(6, 5), "axes": np.array([axis])}
    model = text_model(body, x="float[N,3,64] x", y="float[N,5] y", init=init)
    made = rewrite(model, write=False)
    assert made.heads[0].grid_shape == ("N", 5, 1, 16)
    assert len(run(made.model, weights(4, 3, 64), ["gapmil_grid"])[0]) == 4


@pytest.mark.shared
def test_a_photo_as_bytes_shows_its_squares_where_they_are(shared: Path) -> None:
    """Red at 16 to 32, blue at 40 to 48, on both axes, of a detector in steps of 8."""
    from PIL import Image

    made = rewrite(shared / "reports" / "10-preprocess-in-graph" / "hwc_uint8.onnx", write=False)
    assert place(made).passed is True
    with Image.open(shared / "reports" / "images" / "mid.png") as opened:
        photo = np.asarray(opened.convert("RGB"))
    grid = run(made.model, photo, ["gapmil_grid"])[0]
    assert grid.shape == (1, 3, photo.shape[0] // 8, photo.shape[1] // 8)
    winners = grid[0].argmax(axis=0)
    assert (winners[2:4, 2:4] == 0).all()
    assert winners[5, 5] == 2
