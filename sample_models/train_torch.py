"""Trains and exports the PyTorch samples: two convolutional nets and a vision transformer on the first one's stem.

python sample_models/train_torch.py                 # all three
python sample_models/train_torch.py --only legacy   # or dynamo, or vit
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from evaluate import FOLDER, FloatArray, Origin, Preprocess, finish
from onnx import numpy_helper
from scenes import CLASS_NAMES, SCENE_SIZE, SceneSet, iter_scenes
from torch import Tensor, nn
from training import (
    CNN_LAYERS,
    WEIGHT_DECAY,
    learning_rate,
    orders,
    steps_per_epoch,
    training_scenes,
)

CLASSES = len(CLASS_NAMES)
STEM_LAYERS = 5  # of the first convolutional net's six, on which the transformer stands: 27x27 pixels for each patch
PATCH_DROPOUT = 0.5  # of the patches, another half for each scene while it is trained
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


def trained_stem(path: Path) -> nn.Sequential:
    """Returns the first convolutions of an exported net, which stay as they are: (N, 3, 96, 96) to (N, 64, 12, 12)."""
    proto = onnx.load(path)
    weights = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in proto.graph.initializer}
    nodes = [node for node in proto.graph.node if node.op_type == "Conv"][:STEM_LAYERS]
    layers: list[nn.Module] = []
    for node, (outside, stride) in zip(nodes, CNN_LAYERS, strict=False):
        weight, bias = (weights[name] for name in node.input[1:])  # the exporter folded its batch norm into them
        layer = nn.Conv2d(weight.shape[1], outside, 3, stride, 1)
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers += [layer.requires_grad_(False), nn.ReLU()]
    return nn.Sequential(*layers)


class ClassTokenVit(nn.Module):
    """A small vision transformer that reads its class token: no spatial mean, hence no grid without being asked.

    Its patches are the cells of a convolutional net's map (a hybrid, arXiv 2010.11929): on pixels it learns slowly.
    """

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.stem = trained_stem(FOLDER / "digits_torch_legacy.onnx")
        cells = (SCENE_SIZE // math.prod(stride for _, stride in CNN_LAYERS[:STEM_LAYERS])) ** 2
        self.patches = nn.Conv2d(CNN_LAYERS[STEM_LAYERS - 1][0], width, 1)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 1 + cells, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, 96, 96) to logits (N, 10)."""
        return self.answer(self.stem(images))

    def answer(self, features: Tensor) -> Tensor:
        """Maps the stem's features (N, 64, 12, 12) to logits (N, 10)."""
        patches = self.patches(features).flatten(2).transpose(1, 2) + self.position[:, 1:]
        if self.training:
            count = patches.shape[1]
            kept = torch.rand(len(patches), count).argsort(1)[:, : round(count * (1 - PATCH_DROPOUT))]
            patches = patches.gather(1, kept[:, :, None].expand(-1, -1, patches.shape[2]))
        token = (self.class_token + self.position[:, :1]).expand(patches.shape[0], -1, -1)
        return self.classifier(self.norm(self.blocks(torch.cat([token, patches], 1)))[:, 0])


@dataclass(frozen=True)
class Export:
    """A file of a model: `opset` and `dynamo` choose the exporter."""

    name: str
    opset: int
    dynamo: bool


LEGACY_SCENES = Preprocess(layout="NCHW", scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Recipe:
    """How one of the models is made, and written to one file or several."""

    exports: tuple[Export, ...]
    model: Callable[[], nn.Module]
    preprocess: Preprocess
    epochs: int
    peak: float


RECIPES = {
    "legacy": Recipe((Export("digits_torch_legacy", 17, dynamo=False),), PooledLinear, LEGACY_SCENES, 8, 4e-3),
    "dynamo": Recipe(
        (Export("digits_torch_dynamo", 20, dynamo=True),),
        PooledMlp,
        # Near the scenes' own mean and deviation.
        Preprocess(layout="NCHW", scale=1 / 255, mean=(0.25, 0.2, 0.25), std=(0.2, 0.2, 0.2)),
        epochs=6,
        peak=4e-3,
    ),
    "vit": Recipe(
        (Export("digits_torch_vit", 17, dynamo=False), Export("digits_torch_vit_dynamo", 20, dynamo=True)),
        ClassTokenVit,
        LEGACY_SCENES,  # what its stem was trained on
        epochs=2,
        peak=2e-3,
    ),
}


def train(recipe: Recipe, scenes: SceneSet) -> nn.Module:
    """Trains a recipe's model on the scenes' single labels and returns it, ready for inference."""
    torch.manual_seed(0)
    model = recipe.model()
    # A stem that stands still is run once.
    features = stem_features(model.stem, scenes, recipe.preprocess) if isinstance(model, ClassTokenVit) else None
    optimizer = torch.optim.AdamW(
        (each for each in model.parameters() if each.requires_grad), weight_decay=WEIGHT_DECAY
    )
    total = recipe.epochs * steps_per_epoch(scenes)
    step = 0
    for epoch in range(recipe.epochs):
        losses = []
        for chosen in orders(scenes, epoch):
            optimizer.param_groups[0]["lr"] = learning_rate(step, total, recipe.peak)
            if features is None:
                logits = model(torch.from_numpy(recipe.preprocess.apply(scenes.images[chosen])))
            else:
                logits = model.answer(features[torch.from_numpy(chosen)].float())
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(scenes.labels[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
        print(f"{recipe.exports[0].name} epoch {epoch}: loss {np.mean(losses):.4f}", flush=True)
    return model.eval()


@torch.no_grad()
def stem_features(stem: nn.Module, scenes: SceneSet, preprocess: Preprocess, chunk: int = 200) -> Tensor:
    """Returns what a stem makes of all scenes, (N, 64, 12, 12) in half precision: 0.4 GB."""
    parts = [scenes.images[start : start + chunk] for start in range(0, len(scenes.images), chunk)]
    return torch.cat([stem(torch.from_numpy(preprocess.apply(part))).half() for part in parts])


def export(model: nn.Module, recipe: Export, path: Path) -> None:
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
    """Trains one model, exports, checks and measures each of its files."""
    model = train(recipe, scenes)

    def reference(inputs: FloatArray) -> FloatArray:
        with torch.no_grad():
            return model(torch.from_numpy(inputs)).numpy()

    parameters = sum(weights.numel() for weights in model.parameters())
    for wanted in recipe.exports:
        export(model, wanted, FOLDER / f"{wanted.name}.onnx")
        origin = Origin("PyTorch", torch.__version__, f"torch.onnx.export(dynamo={wanted.dynamo})", parameters)
        finish(wanted.name, recipe.preprocess, origin, reference)
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
