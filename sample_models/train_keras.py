"""Trains and exports the Keras sample: channels last, softmax in the graph, via tf2onnx.

python sample_models/train_keras.py
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from evaluate import FOLDER, FloatArray, Origin, Preprocess, finish
from keras import layers
from scenes import CLASS_NAMES, SCENE_SIZE
from training import (
    CNN_LAYERS,
    WEIGHT_DECAY,
    batches,
    learning_rate,
    steps_per_epoch,
    training_scenes,
)

NAME = "digits_keras"
# Pixels to [-1, 1].
PREPROCESS = Preprocess(layout="NHWC", scale=1 / 127.5, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0))
EPOCHS = 4
OPSET = 17


def build() -> keras.Model:
    """Returns a model that maps images (N, 96, 96, 3) to class probabilities (N, 10)."""
    images = grid = layers.Input((SCENE_SIZE, SCENE_SIZE, 3), name="image")
    for channels, stride in CNN_LAYERS:
        grid = layers.Conv2D(channels, 3, stride, padding="same", use_bias=False)(grid)
        grid = layers.BatchNormalization(momentum=0.95)(grid)
        grid = layers.ReLU(6.0)(grid)
    pooled = layers.GlobalAveragePooling2D()(grid)
    return keras.Model(images, layers.Dense(len(CLASS_NAMES), "softmax", name="probabilities")(pooled), name=NAME)


def train() -> keras.Model:
    """Trains the model on the scenes' single labels and returns it."""
    keras.utils.set_random_seed(0)
    scenes = training_scenes()
    model = build()
    optimizer = keras.optimizers.AdamW(weight_decay=WEIGHT_DECAY)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    total = EPOCHS * steps_per_epoch(scenes)
    step = 0
    for epoch in range(EPOCHS):
        losses = []
        for inputs, labels in batches(scenes, PREPROCESS, epoch):
            optimizer.learning_rate = learning_rate(step, total)
            model.reset_metrics()
            losses.append(float(model.train_on_batch(inputs, labels)))
            step += 1
        print(f"{NAME} epoch {epoch}: loss {np.mean(losses):.4f}", flush=True)
    return model


def export(model: keras.Model) -> None:
    """Writes the model as .onnx with a dynamic batch."""
    signature = [tf.TensorSpec((None, SCENE_SIZE, SCENE_SIZE, 3), tf.float32, name="image")]

    @tf.function(input_signature=signature)
    def probabilities(image: tf.Tensor) -> tf.Tensor:
        return model(image, training=False)

    tf2onnx.convert.from_function(
        probabilities,
        input_signature=signature,
        opset=OPSET,
        output_path=str(FOLDER / f"{NAME}.onnx"),
    )


def main() -> None:
    """Trains, exports, checks and measures the model."""
    model = train()
    export(model)

    def reference(inputs: FloatArray) -> FloatArray:
        return np.asarray(model(inputs, training=False))

    parameters = sum(int(np.prod(weights.shape)) for weights in model.trainable_weights)
    origin = Origin("Keras", keras.__version__, f"tf2onnx {tf2onnx.__version__}", parameters)
    finish(NAME, PREPROCESS, origin, reference)


if __name__ == "__main__":
    main()
