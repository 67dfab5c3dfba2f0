"""Keras applications, with random weights, by Keras' own ONNX export and by tf2onnx."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from benchmarks.zoo import protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: By application: height, width, the head in words; all of them pool.
MODELS: dict[str, tuple[int, int, str]] = {
    "MobileNet": (128, 160, "avg pool, Conv1x1, Reshape, Softmax"),
    "MobileNetV2": (128, 160, "avg pool, Dense, Softmax"),
    "MobileNetV3Small": (128, 160, "avg pool, Conv1x1, HardSwish, Conv1x1, Flatten, Softmax"),
    "EfficientNetB0": (128, 160, "avg pool, Dense, Softmax"),
    "EfficientNetV2B0": (128, 160, "avg pool, Dense, Softmax"),
    "DenseNet121": (128, 160, "avg pool, Dense, Softmax"),
    "ResNet50": (128, 160, "avg pool, Dense, Softmax"),
    "ResNet50V2": (128, 160, "avg pool, Dense, Softmax"),
    "Xception": (128, 160, "avg pool, Dense, Softmax"),
    "InceptionV3": (160, 192, "avg pool, Dense, Softmax"),
    "NASNetMobile": (128, 160, "avg pool, Dense, Softmax"),
    "ConvNeXtTiny": (128, 160, "avg pool, LayerNormalization, Dense, Softmax"),
    "VGG16": (64, 64, "flatten, three Dense"),
}
CLASSES = 10


def cases() -> Iterable[dict[str, Any]]:
    """Every application by both exporters."""
    for exporter in ("keras.export", "tf2onnx"):
        for name, (_, _, head) in MODELS.items():
            yield {"exporter": exporter, "group": name, "model": name, "pools": name != "VGG16", "head": head}


def answer(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Export one application."""
    import keras

    random.seed(0)
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()
    height, width, _ = MODELS[case["model"]]
    options: dict[str, Any] = {"weights": None, "classes": CLASSES, "input_shape": (height, width, 3)}
    model = getattr(keras.applications, case["model"])(**options)
    _settle(model)
    path = folder / f"keras-{case['model']}-{case['exporter'].split('.')[0]}.onnx"
    if case["exporter"] == "keras.export":
        model(keras.ops.zeros((1, height, width, 3)))  # it wants a model that was called
        model.export(str(path), format="onnx", verbose=False)
    else:
        import tensorflow as tf
        import tf2onnx

        signature = [tf.TensorSpec((None, height, width, 3), tf.float32, name="image")]
        call = tf.function(lambda image: model(image, training=False), input_signature=signature)
        tf2onnx.convert.from_function(call, input_signature=signature, opset=18, output_path=str(path))
    return {"file": path.name, "input": ["N", height, width, 3]}


def _settle(model: Any) -> None:
    """Biases and gains as after training, so that an addition that goes missing shows."""
    import numpy as np

    generator = np.random.default_rng(1)
    for weight in model.trainable_weights:
        value = np.asarray(weight)
        if value.ndim == 1 and value.std() == 0:
            weight.assign(value + 0.1 * generator.standard_normal(value.shape))


if __name__ == "__main__":
    protocol.main(cases, answer)
