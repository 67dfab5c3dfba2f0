"""Trains and exports the PyTorch samples: two convolutional nets and a vision transformer.

python sample_models/train_torch.py                 # all three
python sample_models/train_torch.py --only legacy   # or dynamo, or vit
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from evaluate import FOLDER, FloatArray, Origin, Preprocess, finish
from scenes import CLASS_NAMES, SCENE_SIZE, SceneSet, iter_scenes
from torch import Tensor, nn
from training import (
    CNN_LAYERS,
    WEIGHT_DECAY,
    batches,
    learning_rate,
    steps_per_epoch,
    training_scenes,
)

CLASSES = len(CLASS_NAMES)
PATCH = 16  # pixels: the side of a transformer's patch
CELL_SCENES = 500  # scenes of several digits for `digits_found_in_cells`


def conv_features(activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Returns convolutions: images (N, 3, 96, 96) to a feature grid (N, 64, 12, 12)."""
    layers: list[nn.Module] = []
    inside = 3
    for outside, stride in CNN_LAYERS:
        layers += [
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            activation(),
        ]
        inside = outside
    return nn.Sequential(*layers)


class PooledLinear(nn.Module):
    """The plain head: feature grid, global average pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = conv_features(nn.ReLU)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(CNN_LAYERS[-1][0], CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, 96, 96) to logits (N, 10)."""
        return self.classifier(self.pool(self.features(images)).flatten(1))

    def grid(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, 96, 96) to each cell's class evidence (N, 10, 12, 12)."""
        weight = self.classifier.weight[:, :, None, None]
        return nn.functional.conv2d(self.features(images), weight, self.classifier.bias)


class PooledMlp(nn.Module):
    """MobileNetV3's kind of head: pooling, linear, hard swish, linear."""

    def __init__(self, hidden: int = 128) -> None:
        super().__init__()
        self.features = conv_features(nn.Hardswish)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(CNN_LAYERS[-1][0], hidden), nn.Hardswish(), nn.Linear(hidden, CLASSES)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, 96, 96) to logits (N, 10)."""
        return self.classifier(self.pool(self.features(images)).flatten(1))


class Attention(nn.Module):
    """Multi-head self-attention over tokens (N, T, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps tokens (N, T, C) to tokens (N, T, C)."""
        _, count, width = tokens.shape
        qkv = self.qkv(tokens).reshape(-1, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        weights = (query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(-1)
        return self.out((weights @ value).transpose(1, 2).reshape(-1, count, width))


class Block(nn.Module):
    """A transformer block with the norms first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps tokens (N, T, C) to tokens (N, T, C)."""
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class ClassTokenVit(nn.Module):
    """A small vision transformer that reads its class token: no spatial mean, hence no grid."""

    def __init__(self, width: int = 64, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(  # without convolutions before the patches it learns slowly
            nn.Conv2d(3, 16, 3, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, width, PATCH // 4, PATCH // 4),
        )
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 1 + (SCENE_SIZE // PATCH) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, 96, 96) to logits (N, 10)."""
        patches = self.stem(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], 1) + self.position
        return self.classifier(self.norm(self.blocks(tokens))[:, 0])


@dataclass(frozen=True)
class Recipe:
    """How one of the models is made: `opset` and `dynamo` choose the exporter."""

    name: str
    model: Callable[[], nn.Module]
    preprocess: Preprocess
    opset: int
    dynamo: bool
    epochs: int
    peak: float


RECIPES = {
    "legacy": Recipe(
        "digits_torch_legacy",
        PooledLinear,
        Preprocess(layout="NCHW", scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        opset=17,
        dynamo=False,
        epochs=8,
        peak=4e-3,
    ),
    "dynamo": Recipe(
        "digits_torch_dynamo",
        PooledMlp,
        # Near the scenes' own mean and deviation.
        Preprocess(layout="NCHW", scale=1 / 255, mean=(0.25, 0.2, 0.25), std=(0.2, 0.2, 0.2)),
        opset=20,
        dynamo=True,
        epochs=6,
        peak=4e-3,
    ),
    "vit": Recipe(
        "digits_torch_vit",
        ClassTokenVit,
        Preprocess(layout="NCHW", scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        opset=17,
        dynamo=False,
        epochs=4,
        peak=1e-3,
    ),
}


def train(recipe: Recipe, scenes: SceneSet) -> nn.Module:
    """Trains a recipe's model on the scenes' single labels and returns it, ready for inference."""
    torch.manual_seed(0)
    model = recipe.model()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
    total = recipe.epochs * steps_per_epoch(scenes)
    step = 0
    for epoch in range(recipe.epochs):
        losses = []
        for inputs, labels in batches(scenes, recipe.preprocess, epoch):
            optimizer.param_groups[0]["lr"] = learning_rate(step, total, recipe.peak)
            loss = nn.functional.cross_entropy(model(torch.from_numpy(inputs)), torch.from_numpy(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
        print(f"{recipe.name} epoch {epoch}: loss {np.mean(losses):.4f}", flush=True)
    return model.eval()


def export(model: nn.Module, recipe: Recipe, path: Path) -> None:
    """Writes a model as one .onnx file with a dynamic batch."""
    example = (torch.zeros(2, 3, SCENE_SIZE, SCENE_SIZE),)
    names = {"input_names": ["image"], "output_names": ["logits"], "opset_version": recipe.opset}
    if recipe.dynamo:
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(model, example, path, dynamo=True, dynamic_shapes=shapes, external_data=False, **names)
        drop_stack_traces(path)
    else:
        axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
        torch.onnx.export(model, example, path, dynamo=False, dynamic_axes=axes, **names)


def drop_stack_traces(path: Path) -> None:
    """Removes each node's Python stack trace, with its file names, that the dynamo exporter writes."""
    exported = onnx.load(path)
    for node in exported.graph.node:
        kept = [entry for entry in node.metadata_props if not entry.key.endswith("stack_trace")]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(exported, path)


@torch.no_grad()
def digits_found_in_cells(model: PooledLinear, preprocess: Preprocess) -> float:
    """Returns the share of digits, in scenes of several, that win a cell centred in their box."""
    scenes = [scene for scene in iter_scenes("held_out", 5, 2 * CELL_SCENES) if len(scene.objects) > 1][:CELL_SCENES]
    inputs = preprocess.apply(np.stack([scene.image for scene in scenes]))
    winners = torch.cat([model.grid(part).argmax(1) for part in torch.from_numpy(inputs).split(100)]).numpy()
    stride = SCENE_SIZE // winners.shape[1]
    centres = (np.arange(winners.shape[1]) + 0.5) * stride
    found = []
    for scene, cells in zip(scenes, winners, strict=True):
        for item in scene.objects:
            x0, y0, x1, y1 = item.box
            rows, columns = (centres >= y0) & (centres < y1), (centres >= x0) & (centres < x1)
            found.append(bool((cells[np.ix_(rows, columns)] == item.label).any()))
    return float(np.mean(found))


def make(recipe: Recipe, scenes: SceneSet) -> None:
    """Trains, exports, checks and measures one model."""
    model = train(recipe, scenes)
    path = FOLDER / f"{recipe.name}.onnx"
    export(model, recipe, path)

    def reference(inputs: FloatArray) -> FloatArray:
        with torch.no_grad():
            return model(torch.from_numpy(inputs)).numpy()

    exporter = f"torch.onnx.export(dynamo={recipe.dynamo})"
    parameters = sum(weights.numel() for weights in model.parameters())
    finish(
        recipe.name,
        recipe.preprocess,
        Origin("PyTorch", torch.__version__, exporter, parameters),
        reference,
    )
    if isinstance(model, PooledLinear):
        share = digits_found_in_cells(model, recipe.preprocess)
        print(f"digits that win a cell in their box, {CELL_SCENES} multi-digit scenes: {share:.1%}")


def main() -> None:
    """Trains and exports the PyTorch samples."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--only", action="append", choices=list(RECIPES), help="one model (default: all)")
    chosen = parser.parse_args().only or list(RECIPES)
    scenes = training_scenes()
    for which in chosen:
        make(RECIPES[which], scenes)


if __name__ == "__main__":
    main()
