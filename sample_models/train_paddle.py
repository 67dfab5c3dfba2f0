"""Trains and exports the Paddle sample: convolutions and a pooled linear head, via paddle2onnx.

python sample_models/train_paddle.py
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import paddle
import paddle2onnx
from evaluate import FOLDER, FloatArray, Origin, Preprocess, finish
from paddle import Tensor, nn
from scenes import CLASS_NAMES, SCENE_SIZE
from training import (
    CNN_LAYERS,
    WEIGHT_DECAY,
    batches,
    learning_rate,
    steps_per_epoch,
    training_scenes,
)

NAME = "digits_paddle"
PREPROCESS = Preprocess(layout="NCHW", scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
EPOCHS = 4
OPSET = 17


class PooledLinear(nn.Layer):
    """Convolutions to a 12x12 feature grid, global average pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Layer] = []
        inside = 3
        for outside, stride in CNN_LAYERS:
            convolution = nn.Conv2D(inside, outside, 3, stride, 1, bias_attr=False)
            layers += [convolution, nn.BatchNorm2D(outside), nn.ReLU()]
            inside = outside
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.classifier = nn.Linear(inside, len(CLASS_NAMES))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, 96, 96) to logits (N, 10)."""
        return self.classifier(paddle.flatten(self.pool(self.features(images)), 1))


def train() -> PooledLinear:
    """Trains the model on the scenes' single labels and returns it, ready for inference."""
    paddle.seed(0)
    scenes = training_scenes()
    model = PooledLinear()
    optimizer = paddle.optimizer.AdamW(parameters=model.parameters(), weight_decay=WEIGHT_DECAY)
    total = EPOCHS * steps_per_epoch(scenes)
    step = 0
    for epoch in range(EPOCHS):
        losses = []
        for inputs, labels in batches(scenes, PREPROCESS, epoch):
            optimizer.set_lr(learning_rate(step, total))
            loss = nn.functional.cross_entropy(model(paddle.to_tensor(inputs)), paddle.to_tensor(labels))
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            losses.append(float(loss))
            step += 1
        print(f"{NAME} epoch {epoch}: loss {np.mean(losses):.4f}", flush=True)
    model.eval()
    return model


def export(model: PooledLinear) -> None:
    """Writes the model as .onnx with a dynamic batch."""
    image = paddle.static.InputSpec([None, 3, SCENE_SIZE, SCENE_SIZE], "float32", "image")
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / NAME
        paddle.jit.save(model, str(stem), [image])
        paddle2onnx.export(
            f"{stem}.json",
            f"{stem}.pdiparams",
            str(FOLDER / f"{NAME}.onnx"),
            opset_version=OPSET,
            verbose=False,
        )


def main() -> None:
    """Trains, exports, checks and measures the model."""
    model = train()
    export(model)

    def reference(inputs: FloatArray) -> FloatArray:
        with paddle.no_grad():
            return model(paddle.to_tensor(inputs)).numpy()

    parameters = sum(int(np.prod(weights.shape)) for weights in model.parameters())
    exporter = f"paddle2onnx {version('paddle2onnx')}"
    finish(
        NAME,
        PREPROCESS,
        Origin("PaddlePaddle", paddle.__version__, exporter, parameters),
        reference,
    )


if __name__ == "__main__":
    main()
