"""The models, in PyTorch: the ResNet-50 that is timed, a small one for the golden maps, and heads of many kinds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torchvision
from torch import nn

from benchmarks.zoo import torch_common  # noqa: F401 - torchvision imports on a CPU once it has run

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = 10
SIZES = (224, 448)


@dataclass(frozen=True)
class Model:
    """A classifier and where its maps are taken.

    Attributes:
        build: makes it, with random weights.
        layer: the module whose output is pooled; what people give the tools as target layer.
        linear: the last linear layer.
        shape: of the images, (N, 3, H, W).
    """

    build: Callable[[], nn.Module]
    layer: str
    linear: str
    shape: tuple[int, int, int, int] = (1, 3, 224, 224)


def _tiny() -> nn.Module:
    """Three strided convolutions, average pooling and 7 classes: a 5x7 grid of a 40x56 image."""
    channels = (3, 6, 9, 12)
    body = nn.Sequential()
    for before, after in itertools.pairwise(channels):
        body.append(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False))
        body.append(nn.BatchNorm2d(after))
        body.append(nn.ReLU())
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 7))


def _max_pooled() -> nn.Module:
    model = torchvision.models.resnet18(num_classes=CLASSES)
    model.avgpool = nn.AdaptiveMaxPool2d(1)
    return model


def _vgg() -> nn.Module:
    """VGG-11 with its own flattened 7x7 map, and narrow fully connected layers behind it."""
    model = torchvision.models.vgg11()
    model.classifier = nn.Sequential(nn.Linear(512 * 7 * 7, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, CLASSES))
    return model


def _vit() -> nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=224, patch_size=16, num_layers=3, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=CLASSES
    )


#: Timed; the only one with 1000 classes.
RESNET50 = {
    f"resnet50-{size}": Model(torchvision.models.resnet50, "layer4", "fc", (1, 3, size, size)) for size in SIZES
}
TINY = {"tiny": Model(_tiny, "0", "3", (2, 3, 40, 56))}
#: Heads of many kinds, 10 classes each.
HEADS = {
    "resnet18": Model(lambda: torchvision.models.resnet18(num_classes=CLASSES), "layer4", "fc"),
    "mobilenet_v3": Model(
        lambda: torchvision.models.mobilenet_v3_small(num_classes=CLASSES), "features", "classifier.3"
    ),
    "max_pooled": Model(_max_pooled, "layer4", "fc"),
    "vgg": Model(_vgg, "features", "classifier.3"),
    "vit": Model(_vit, "encoder", "heads.head"),
}
MODELS = {**RESNET50, **TINY, **HEADS}


def restore(folder: Path, name: str) -> nn.Module:
    """A model with the weights that `make_models.py` saved, ready for inference."""
    model = MODELS[name].build()
    stem = "resnet50" if name in RESNET50 else name
    model.load_state_dict(torch.load(folder / f"{stem}.pt", weights_only=True))
    return model.eval()
