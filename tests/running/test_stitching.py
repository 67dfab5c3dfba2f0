"""A stitched grid against the network slid over the image by half its step, in NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_gapmil import repool
from onnx_gapmil.aggregate.fitted import FittedPool
from onnx_gapmil.errors import InputError
from onnx_gapmil.images.input_spec import InputSpec
from onnx_gapmil.running.grid_session import GridSession
from onnx_gapmil.running.stitching import StitchedSession, interleaved, shifted
from tests.helpers.support import rng, text_model, weights

STEP = 4
KERNEL, HEAD, BIAS = weights(6, 3, STEP, STEP), weights(5, 6), weights(5)


def vendor(step: int = STEP, *, batch: int | str = "N", last: bool = False) -> onnx.ModelProto:
    """Each patch of step x step pixels by itself; behind the pool a dense layer and a softmax."""
    first = "t = Transpose<perm=[0,3,1,2]>(x)  " if last else "t = Identity(x)  "
    return text_model(
        first + f"m = Conv<strides=[{step},{step}]>(t, k)  p = GlobalAveragePool(m)  e = Flatten(p)  "
        "z = Gemm<transB=1>(e, w, b)  y = Softmax(z)",
        x=f"float[{batch},16,24,3] x" if last else f"float[{batch},3,16,24] x",
        y=f"float[{batch},5] y",
        init={"k": weights(6, 3, step, step), "w": HEAD, "b": BIAS},
    )


def at(image: np.ndarray, top: int, left: int) -> np.ndarray:
    """The head's answer to the patch whose first pixel is there; what lies beyond the image repeats its border."""
    rows = np.clip(np.arange(top, top + STEP), 0, image.shape[1] - 1)
    columns = np.clip(np.arange(left, left + STEP), 0, image.shape[2] - 1)
    patch = image[:, rows[:, None], columns[None, :]].astype(np.float64)
    return HEAD @ np.einsum("fcij,cij->f", KERNEL, patch) + BIAS


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("batch", ["N", 1])
def test_each_cell_is_the_network_half_a_step_on(batch: int | str, last: bool) -> None:
    images = rng(1).standard_normal((2, 3, 16, 24)).astype(np.float32)
    session = StitchedSession(vendor(batch=batch, last=last))
    given = images.transpose(0, 2, 3, 1).copy() if last else images
    (found,) = session.run(given, outputs={"grid"})
    assert found.grid is not None
    expected = [
        [[at(image, 2 * row - 1, 2 * column - 1) for column in range(12)] for row in range(8)] for image in images
    ]
    np.testing.assert_allclose(found.grid.transpose(0, 2, 3, 1), np.array(expected), rtol=1e-4, atol=1e-4)


def test_the_answer_is_the_unshifted_images() -> None:
    images = rng(2).standard_normal((3, 3, 16, 24)).astype(np.float32)
    (plain,), (stitched,) = (kind(vendor()).run(images, outputs={"grid"}) for kind in (GridSession, StitchedSession))
    np.testing.assert_array_equal(stitched.logits, plain.logits)
    assert stitched.grid is not None
    assert np.abs(stitched.grid.mean(axis=(2, 3)) - stitched.logits).max() > 1e-2  # borders are seen otherwise


def test_places_lie_half_a_step_apart_and_cover_what_the_grid_covers() -> None:
    plain, stitched = GridSession(vendor()).heads[0], StitchedSession(vendor()).heads[0]
    assert stitched.grid_shape[2:] == (8, 12)
    for own, finer, cells in (
        (plain.places.rows, stitched.places.rows, 4),
        (plain.places.columns, stitched.places.columns, 6),
    ):
        assert own is not None
        assert finer is not None
        assert finer.step == own.step / 2
        assert finer.first - finer.step / 2 == pytest.approx(own.first - own.step / 2)
        assert finer.centre(2 * cells - 0.5) == pytest.approx(own.centre(cells - 0.5))
    assert "not the model's answer" in stitched.note


def test_a_shift_by_an_odd_half_is_of_whole_pixels() -> None:
    """Of a step of 6, cells lie 3 pixels apart: the image moves by 1 and by 2."""
    spec = InputSpec("x", (1, 1, 4, 4), "float32", "NCHW")
    image = np.arange(16.0).reshape(1, 1, 4, 4)
    assert shifted(image, (1, 0), spec)[0, 0, :, 0].tolist() == [4, 8, 12, 12]
    assert shifted(image, (0, -2), spec)[0, 0, 0].tolist() == [0, 0, 0, 1]


def test_grids_are_interleaved_in_reading_order() -> None:
    parts = [np.full((1, 1, 1, 2), value) + np.array([0, 10]) for value in range(4)]
    assert interleaved(parts)[0, 0].tolist() == [[0, 1, 10, 11], [2, 3, 12, 13]]


def test_what_cannot_be_stitched_is_one_sentence() -> None:
    with pytest.raises(InputError, match="no whole number of pixels"):
        StitchedSession(vendor(3))
    flat = text_model(
        "m = Conv<strides=[4,4]>(x, k)  e = Flatten(m)  y = Gemm<transB=1>(e, w)",
        x="float[N,3,16,24] x",
        init={"k": KERNEL, "w": weights(5, 6 * 24)},
    )
    with pytest.raises(InputError, match="weights of their own for each position"):
        StitchedSession(flat)
    with pytest.raises(InputError, match="argmax would be of one run"):
        StitchedSession(vendor()).run(np.zeros((1, 3, 16, 24), np.float32), outputs={"argmax"})


FLEX = FittedPool("flex", (), {"positions": weights(4, 6), "scale": np.array([1.2]), "bias": weights(5, seed=2)})


@pytest.mark.parametrize("pool", ["max", FLEX], ids=["max", "flex"])
def test_a_repooled_models_answer_is_by_its_own_cells_and_its_grid_is_the_vendors(
    pool: str | FittedPool, tmp_path: Path
) -> None:
    """Weights of positions too: the cells are the vendor's, which have none, and the pool reads the unshifted ones."""
    onnx.save(vendor(), tmp_path / "m.onnx")
    repool(tmp_path / "m.onnx", pool, output=tmp_path / "r.onnx")
    batch = rng(4).standard_normal((2, 3, 16, 24)).astype(np.float32)
    (found,) = StitchedSession(tmp_path / "r.onnx").run(batch, outputs={"grid"})
    (plain,) = GridSession(tmp_path / "r.onnx").run(batch, outputs={"grid"})
    (vendors,) = StitchedSession(tmp_path / "m.onnx").run(batch, outputs={"grid"})
    assert plain.grid is not None
    cells = plain.grid.reshape(2, 5, -1).astype(np.float64)
    by_pool = cells.max(axis=-1) if pool == "max" else 1.2 * cells @ FLEX.arrays["positions"].ravel()
    offset = 0 if pool == "max" else FLEX.arrays["bias"]
    np.testing.assert_allclose(found.logits, by_pool + offset, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.grid, vendors.grid)
    assert found.mean is not None
    np.testing.assert_array_equal(found.mean, vendors.logits)
    assert vendors.mean is None
