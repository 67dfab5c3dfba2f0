"""Trains and exports the JAX sample: flax (NNX), channels last, via jax2onnx.

python sample_models/train_jax.py
"""

from __future__ import annotations

from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import optax
from evaluate import FOLDER, FloatArray, Origin, Preprocess, finish
from flax import nnx
from jax2onnx import to_onnx
from scenes import CLASS_NAMES, SCENE_SIZE
from training import (
    CNN_LAYERS,
    WEIGHT_DECAY,
    batches,
    learning_rate,
    steps_per_epoch,
    training_scenes,
)

NAME = "digits_jax"
PREPROCESS = Preprocess(layout="NHWC", scale=1 / 255, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
EPOCHS = 4


class ConvNorm(nnx.Module):
    """A 3x3 convolution, batch norm, and a rectifier."""

    def __init__(self, inside: int, outside: int, stride: int, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(inside, outside, (3, 3), (stride, stride), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(outside, momentum=0.95, rngs=rngs)

    def __call__(self, grid: jax.Array) -> jax.Array:
        """Maps (N, H, W, inside) to (N, H / stride, W / stride, outside)."""
        return nnx.relu(self.norm(self.conv(grid)))


class PooledLinear(nnx.Module):
    """Convolutions to a 12x12 feature grid, the mean over its cells, one linear layer."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        inside = (3, *(channels for channels, _ in CNN_LAYERS))
        self.layers = nnx.List(
            [ConvNorm(i, o, stride, rngs) for i, (o, stride) in zip(inside[:-1], CNN_LAYERS, strict=True)]
        )
        self.classifier = nnx.Linear(inside[-1], len(CLASS_NAMES), rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images (N, 96, 96, 3) to logits (N, 10)."""
        grid = images
        for layer in self.layers:
            grid = layer(grid)
        return self.classifier(grid.mean((1, 2)))


@nnx.jit
def train_step(
    model: PooledLinear,
    optimizer: nnx.Optimizer[PooledLinear],
    images: jax.Array,
    labels: jax.Array,
) -> jax.Array:
    """Takes one optimizer step in place; returns the loss."""

    def loss_of(model: PooledLinear) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    loss, gradients = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


def train() -> PooledLinear:
    """Trains the model on the scenes' single labels and returns it, ready for inference."""
    scenes = training_scenes()
    model = PooledLinear(nnx.Rngs(0))
    total = EPOCHS * steps_per_epoch(scenes)
    rates = jnp.asarray([learning_rate(step, total) for step in range(total)])
    optimizer = nnx.Optimizer(model, optax.adamw(lambda step: rates[step], weight_decay=WEIGHT_DECAY), wrt=nnx.Param)
    model.train()
    for epoch in range(EPOCHS):
        losses = [train_step(model, optimizer, *batch) for batch in batches(scenes, PREPROCESS, epoch)]
        print(f"{NAME} epoch {epoch}: loss {np.mean(losses):.4f}", flush=True)
    model.eval()
    return model


def export(model: PooledLinear) -> None:
    """Writes the model as .onnx with a dynamic batch."""
    path = FOLDER / f"{NAME}.onnx"
    shape = ("B", SCENE_SIZE, SCENE_SIZE, 3)
    to_onnx(model, [shape], model_name=NAME, return_mode="file", output_path=str(path))
    # jax2onnx moves its transposes but keeps the inner tensors' old shapes: drop these notes.
    exported = onnx.load(path)
    exported.graph.ClearField("value_info")
    onnx.save(exported, path)


def main() -> None:
    """Trains, exports, checks and measures the model."""
    model = train()
    export(model)

    def reference(inputs: FloatArray) -> FloatArray:
        return np.asarray(model(jnp.asarray(inputs)))

    parameters = sum(weights.size for weights in jax.tree.leaves(nnx.state(model, nnx.Param)))
    exporter = f"jax2onnx {version('jax2onnx')}"
    finish(NAME, PREPROCESS, Origin("JAX (flax)", version("jax"), exporter, parameters), reference)


if __name__ == "__main__":
    main()
