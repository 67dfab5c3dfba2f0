"""Arrays of any rank, with and without a batch, and several inputs by name, against the vendor's own session."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnx_gapmil import GridSession, InputError
from tests.helpers.support import rng, run, text_model, weights

K, B = weights(5, 4), weights(5)
SIGNAL = "c = Conv<strides=[4], kernel_shape=[4]>(x, w)  m = Relu(c)  p = GlobalAveragePool(m)  f = Flatten(p)"
VOLUME = "c = Conv<strides=[4,4,4], kernel_shape=[4,4,4]>(x, w)  m = Relu(c)  p = GlobalAveragePool(m)  f = Flatten(p)"
HEAD = "  y = Gemm<transB=1>(f, k, b)"
MODELS: dict[str, tuple[str, str, tuple[int, ...], np.ndarray]] = {
    "signal": (SIGNAL, "float[N,2,32] x", (2, 32), weights(4, 2, 4)),
    "fixed_signal": (SIGNAL, "float[1,2,32] x", (2, 32), weights(4, 2, 4)),
    "volume": (VOLUME, "float[N,1,8,8,8] x", (1, 8, 8, 8), weights(4, 1, 4, 4, 4)),
}


def made(name: str) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    body, x, shape, w = MODELS[name]
    batch = "1" if name.startswith("fixed") else "N"
    return text_model(body + HEAD, x=x, y=f"float[{batch},5] y", init={"w": w, "k": K, "b": B}), shape


@pytest.mark.parametrize("name", sorted(MODELS))
def test_arrays_of_any_rank(name: str) -> None:
    model, shape = made(name)
    session = GridSession(model, "cpu")
    x = rng(2).standard_normal((5, *shape)).astype(np.float32)
    (found,) = session.run(x)
    expected = np.concatenate([run(model, item[None])[0] for item in x])
    np.testing.assert_allclose(found.logits, expected, rtol=1e-5, atol=1e-5)
    assert found.grid is not None
    cells = found.grid.reshape(5, 5, -1)
    np.testing.assert_allclose(cells.mean(axis=2), expected, rtol=1e-4, atol=1e-5)
    assert found.mean_residual() < 1e-5
    (alone,) = session.run(x[3])  # without the batch's axis
    np.testing.assert_allclose(alone.grid[0], found.grid[3], rtol=1e-5, atol=1e-6)  # type: ignore[index]
    (named,) = session.run({"x": x})
    np.testing.assert_array_equal(named.logits, found.logits)


def two_inputs(batch: str = "N", other: str = "N") -> onnx.ModelProto:
    """A photo, and numbers about it that add to the scores."""
    body = """
      p = GlobalAveragePool(image)  f = Flatten(p)  z = Gemm<transB=1>(f, k, b)
      s = MatMul(meta, v)  h = Mul(s, scale)  t = Sigmoid(h)
      yes = Relu(t)
      y = Identity(z)
    """
    init = {"k": weights(5, 3), "b": B, "v": weights(2, 5)}
    return text_model(
        body,
        x=f"float[{batch},3,4,4] image, float[{other},2] meta, float[1] scale",
        y=f"float[{batch},5] y, float[{other},5] yes",
        init=init,
    )


def feeds(count: int) -> dict[str, Any]:
    numbers = rng(6)
    return {
        "image": numbers.standard_normal((count, 3, 4, 4)).astype(np.float32),
        "meta": numbers.standard_normal((count, 2)).astype(np.float32),
        "scale": np.array([2.0], np.float32),
    }


@pytest.mark.parametrize(("batch", "other"), [("N", "N"), ("N", "M"), ("1", "1"), ("2", "2")])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_several_inputs_by_name(batch: str, other: str, count: int) -> None:
    session = GridSession(two_inputs(batch, other), "cpu")
    given = feeds(count)
    (found, *_) = session.run(given)
    expected = np.einsum("kc,nchw->nkhw", weights(5, 3), given["image"]) + B[:, None, None]
    np.testing.assert_allclose(found.grid, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.logits, expected.mean(axis=(2, 3)), rtol=1e-4, atol=1e-4)
    # One number in a graph of one photo may be either, and both come to the same.
    shares = [entry.share for entry in session.inputs.by_name.values()]
    assert shares == ["batch", "batch", "batch" if batch == "1" else "shared"]


def test_lanes_share_several_inputs() -> None:
    given = feeds(7)
    expected = GridSession(two_inputs(), "cpu").run(given)[0].grid
    (found, *_) = GridSession(two_inputs(), "cpu", 3, by_image=True).run(given)
    np.testing.assert_allclose(found.grid, expected, rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]


def test_one_item_of_several_inputs_without_a_batch() -> None:
    session = GridSession(two_inputs(), "cpu")
    given = feeds(1)
    (found, *_) = session.run({**given, "image": given["image"][0], "meta": given["meta"][0]})
    np.testing.assert_array_equal(found.grid, session.run(given)[0].grid)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"meta": None}, r"No array was given for the input 'meta' of g, which takes 'image' \(any, 3, 4, 4\) of type"),
        ({"age": np.zeros(2)}, r"g has no input 'age'; it takes 'image' \(any, 3, 4, 4\) of type float32 and 'meta'"),
        ({"meta": np.zeros((3, 5), np.float32)}, r"shape \(3, 5\) and type float32 does not fit the input 'meta'"),
        ({"meta": np.zeros((3, 2))}, r"takes \(any, 2\) of type float32. Make it one by .astype\('float32'\)."),
        ({"meta": np.zeros((2, 2), np.float32)}, r"2 items were given for the input 'meta' of g, and 3 for 'image'"),
        ({"image": np.zeros((3, 3, 4, 5), np.float32)}, r"shape \(3, 3, 4, 5\) and type float32 does not fit"),
        ({"scale": np.zeros((3,), np.float32)}, r"input 'scale' of g, which takes \(1,\) of type float32"),
        ({"image": np.zeros((0, 3, 4, 4), np.float32)}, "The batch is empty"),
    ],
)
def test_what_does_not_fit_is_told(change: dict[str, Any], words: str) -> None:
    given = {name: array for name, array in {**feeds(3), **change}.items() if array is not None}
    with pytest.raises(InputError, match=words):
        GridSession(two_inputs(), "cpu").run(given)


def test_one_array_for_several_inputs_is_told() -> None:
    with pytest.raises(InputError, match=r"g takes 3 inputs, 'image' .* give an array for each by its name"):
        GridSession(two_inputs(), "cpu").run(feeds(1)["image"])


@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_a_graph_that_takes_one_photo_without_a_batch(layout: str) -> None:
    chw = layout == "chw"
    body = ("t = Identity(x)" if chw else "t = Transpose<perm=[2,0,1]>(x)") + "  q = Cast<to=1>(t)"
    body += "  u = Unsqueeze(q, first)  m = AveragePool<kernel_shape=[4,4], strides=[4,4]>(u)  p = GlobalAveragePool(m)"
    body += "  f = Flatten(p)  y = Gemm<transB=1>(f, k, b)"
    x = "float[3,16,16] x" if chw else "uint8[H,W,3] x"
    init = {"k": weights(5, 3), "b": B, "first": np.array([0])}
    model = text_model(body, x=x, y="float[1,5] y", init=init)
    session = GridSession(model, "cpu")
    assert (session.fixed_batch, session.input.shape) == (1, (1, 3, 16, 16) if chw else (1, None, None, 3))
    numbers = rng(2).integers(0, 255, (3, 3, 16, 16) if chw else (3, 16, 16, 3))
    photos = numbers.astype(np.float32 if chw else np.uint8)
    (found,) = session.run(photos)
    for place, photo in enumerate(photos):
        np.testing.assert_allclose(found.logits[place], run(model, photo)[0][0], rtol=1e-4)
    (alone,) = session.run(photos[1])
    np.testing.assert_allclose(alone.grid[0], found.grid[1])  # type: ignore[index]
    assert session.heads[0].grid_shape[0] == 1
