"""Photos as inputs for a proof: prepared as the model wants them, in its own batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from onnx_gapmil.errors import ImageError, ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.rewriting.proof.photos import image_batches
from tests.helpers.scene_data import MODEL, SCENES, pixels, prepared
from tests.helpers.support import text_model

SUM = "s = Add(x, w)  p = GlobalAveragePool(s)  y = Flatten(p)"


def test_photos_are_prepared_by_the_json_beside_the_model() -> None:
    paths = [str(SCENES / "scene_00.png"), str(SCENES / "scene_05.png")]
    found = image_batches(load_model(MODEL), paths, None)
    assert [label for label, _ in found] == paths
    for (_, batch), path in zip(found, paths, strict=True):
        assert (batch.shape, batch.dtype) == ((1, 3, 96, 96), np.float32)
        np.testing.assert_allclose(batch, prepared(pixels(path)[None]), atol=1e-5)


def test_a_preset_that_is_asked_for_outranks_the_json() -> None:
    ((_, batch),) = image_batches(load_model(MODEL), [str(SCENES / "scene_00.png")], "raw")
    np.testing.assert_array_equal(batch[0].transpose(1, 2, 0), pixels(SCENES / "scene_00.png"))


def test_a_fixed_batch_is_filled_with_the_photo(tmp_path: Path) -> None:
    model = text_model("p = GlobalAveragePool(x)  y = Flatten(p)", x="float16[4,96,96,3] x", y="float16[4,96] y")
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    recipe = json.loads(MODEL.with_suffix(".preprocess.json").read_text("utf-8"))
    path.with_suffix(".preprocess.json").write_text(json.dumps({**recipe, "layout": "NHWC", "dtype": "float16"}))
    ((_, batch),) = image_batches(load_model(path), [str(SCENES / "scene_00.png")], None)
    assert (batch.shape, batch.dtype) == ((4, 96, 96, 3), np.float16)
    assert (batch == batch[0]).all()


def test_a_model_of_two_inputs_takes_no_photo() -> None:
    model = text_model(
        "s = Add(x, z)  p = GlobalAveragePool(s)  y = Flatten(p)", x="float[1,3,8,8] x, float[1,3,8,8] z"
    )
    with pytest.raises(ModelError, match="has 2 inputs; photos can only be fed to a model with one"):
        image_batches(load_model(model), [str(SCENES / "scene_00.png")], None)


def test_weights_that_are_listed_among_the_inputs_are_none() -> None:
    """As format versions before 4 demand it."""
    model = text_model(
        "s = Add(x, w)  p = GlobalAveragePool(s)  y = Flatten(p)", x="float[1,3,8,8] x, float[1,3,1,1] w"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "w"))
    ((_, batch),) = image_batches(load_model(model), [str(SCENES / "scene_00.png")], "raw")
    assert batch.shape == (1, 3, 8, 8)


def test_photos_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        image_batches(load_model(MODEL), [str(tmp_path / "*.png")], None)
