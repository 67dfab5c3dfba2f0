"""Photos as inputs of a proof."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from onnx_gapmil.errors import ImageError, ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.rewriting.proof.photos import image_batches
from tests.helpers.support import text_model

RED = (250, 10, 40)


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "red.png"
    Image.new("RGB", (20, 10), RED).save(path)
    return str(path)


def pooling(x: str) -> onnx.ModelProto:
    return text_model("p = GlobalAveragePool(x)\n y = Flatten(p)", x=f"{x} x", y="float[N,3] y")


def test_a_photo_is_a_batch_of_one_by_the_models_preprocessing(photo: str) -> None:
    ((label, array),) = image_batches(load_model(pooling("float[N,3,8,6]")), [photo], "unit")
    assert label == photo
    assert array.shape == (1, 3, 8, 6)
    np.testing.assert_allclose(array[0, :, 4, 3], np.array(RED) / 255, atol=1e-6)


def test_a_fixed_batch_is_filled_with_the_photo(photo: str) -> None:
    ((_, array),) = image_batches(load_model(pooling("float[2,3,8,6]")), [photo], "unit")
    assert array.shape == (2, 3, 8, 6)
    np.testing.assert_array_equal(array[0], array[1])


def test_the_models_own_metadata_say_how(photo: str) -> None:
    model = pooling("float[N,3,8,6]")
    stated = (
        '{"layout": "NCHW", "color": "BGR", "size": [8, 6], "resize": "squash", "crop": 1.0, '
        '"interpolation": "bilinear", "scale": 1.0, "mean": [0, 0, 0], "std": [1, 1, 1], "dtype": "float32"}'
    )
    model.metadata_props.add(key="gapmil.preprocess", value=stated)
    ((_, array),) = image_batches(load_model(model), [photo], None)
    np.testing.assert_allclose(array[0, :, 4, 3], RED[::-1], atol=1e-4)


def test_weights_listed_as_inputs_are_none(photo: str) -> None:
    model = text_model(
        "s = Mul(x, k)\n p = GlobalAveragePool(s)\n y = Flatten(p)",
        x="float[N,3,8,6] x, float[1] k",
        y="float[N,3] y",
        init={"k": np.ones(1, np.float32)},
        ir=3,
    )
    assert len(image_batches(load_model(model), [photo], "unit")) == 1


def test_two_inputs_take_no_photo(photo: str) -> None:
    model = text_model(
        "s = Mul(x, k)\n p = GlobalAveragePool(s)\n y = Flatten(p)", x="float[N,3,8,6] x, float[1] k", y="float[N,3] y"
    )
    with pytest.raises(ModelError, match="has 2 inputs; photos can only be fed to a model with one"):
        image_batches(load_model(model), [photo], "unit")


def test_no_photo_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        image_batches(load_model(pooling("float[N,3,8,6]")), [str(tmp_path / "none.png")], "unit")
