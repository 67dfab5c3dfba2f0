"""One image whose batch axis was squeezed away before the pool: what stands first is no batch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.support import assert_close, check_refused, images, lift, text_model, weights

W, TRUNK = weights(5, 6), weights(6, 6, 1, 1)
INIT = {
    "trunk": TRUNK,
    "w": W,
    "zero": np.array([0], np.int64),
    "flat": np.array([6, -1], np.int64),
    "row": np.array([1, 6], np.int64),
    "kernel": W.reshape(5, 6, 1, 1),
}
GEMM = "r = Reshape(f, row)\n y = Gemm<transB=1>(r, w)"
SPELLINGS = {
    "map": f"s = Squeeze(k, zero)\n f = ReduceMean<axes=[1, 2], keepdims=0>(s)\n {GEMM}",
    "channels_last": f"""
        s = Squeeze(k, zero)\n t = Transpose<perm=[1, 2, 0]>(s)
        f = ReduceMean<axes=[0, 1], keepdims=0>(t)\n {GEMM}""",
    "two_steps": f"""
        s = Squeeze(k, zero)\n t = Transpose<perm=[1, 2, 0]>(s)
        g = ReduceMean<axes=[0], keepdims=0>(t)\n f = ReduceMean<axes=[0], keepdims=0>(g)\n {GEMM}""",
    "flattened": f"s = Reshape(k, flat)\n f = ReduceMean<axes=[1], keepdims=0>(s)\n {GEMM}",
    "tokens": f"""
        s = Reshape(k, flat)\n t = Transpose<perm=[1, 0]>(s)
        f = ReduceMean<axes=[0], keepdims=0>(t)\n {GEMM}""",
    "tokens_axis_kept": """
        s = Reshape(k, flat)\n t = Transpose<perm=[1, 0]>(s)
        f = ReduceMean<axes=[0], keepdims=1>(t)\n y = Gemm<transB=1>(f, w)""",
}


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("spelling", sorted(SPELLINGS))
def test_pool_of_an_image_without_a_batch(spelling: str, opset: int) -> None:
    body = SPELLINGS[spelling]
    if opset < 13:
        body = body.replace("Squeeze(k, zero)", "Squeeze<axes=[0]>(k)")
    model = text_model(f"k = Conv(x, trunk)\n {body}", x="float[1,6,8,7] x", y="float[1,5] y", init=INIT, opset=opset)
    x = images(model)
    found = lift(model, x)
    expected = np.einsum("kc,cd,ndhw->nkhw", W.astype(np.float64), TRUNK[:, :, 0, 0], x)
    assert found.verdict == "exact"
    assert_close(found.grid.reshape(expected.shape), expected)
    assert_close(found.logits, expected.mean(axis=(2, 3)))


HEAD_FIRST = {
    "scores": ("y = ReduceMean<axes=[1, 2], keepdims=0>(s)", "float[5] y"),
    "batch_given_back": (
        "z = ReduceMean<axes=[1, 2], keepdims=0>(s)\n y = Unsqueeze(z, zero)",
        "float[1,5] y",
    ),
    "probabilities": (
        "z = ReduceMean<axes=[1, 2], keepdims=0>(s)\n y = Softmax<axis=-1>(z)",
        "float[5] y",
    ),
}


@pytest.mark.parametrize("ends", sorted(HEAD_FIRST))
def test_classes_of_one_image_are_not_taken_for_images(ends: str) -> None:
    """The head stands before the pool (SqueezeNet): its means are five classes, not five images."""
    end, y = HEAD_FIRST[ends]
    model = text_model(f"k = Conv(x, kernel)\n s = Squeeze(k, zero)\n {end}", x="float[1,6,8,7] x", y=y, init=INIT)
    x = images(model)
    found = lift(model, x)
    expected = np.einsum("kc,nchw->nkhw", W.astype(np.float64), x)
    assert found.grid.shape == (1, 5, 8, 7)
    np.testing.assert_allclose(found.grid, expected, atol=1e-5)
    np.testing.assert_allclose(found.logits, expected.mean(axis=(2, 3)), atol=1e-5)


def test_images_of_a_fixed_batch_that_are_averaged_with_their_positions_are_refused() -> None:
    body = f"f = ReduceMean<axes=[0, 2, 3], keepdims=0>(x)\n {GEMM}"
    check_refused(text_model(body, x="float[4,6,3,5] x", y="float[1,5] y", init=INIT), "spatial-mixing-after-pool", "f")
