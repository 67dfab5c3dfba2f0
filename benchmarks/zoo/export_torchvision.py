"""torchvision: the smallest variant of every family of classifiers, with random weights, by both PyTorch exporters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.zoo import protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: By model: does its head pool, that head in words, and input height and width where 128 by 160 will not do.
MODELS: dict[str, tuple[bool, str, tuple[int, int]]] = {
    "alexnet": (False, "pool to 6x6, flatten, three Linear", (224, 224)),
    "convnext_tiny": (True, "avg pool, LayerNorm, Linear", (128, 160)),
    "densenet121": (True, "avg pool, Linear", (128, 160)),
    "efficientnet_b0": (True, "avg pool, Linear", (128, 160)),
    "efficientnet_v2_s": (True, "avg pool, Linear", (128, 160)),
    "googlenet": (True, "avg pool, Linear", (128, 160)),
    "inception_v3": (True, "avg pool, Linear", (256, 288)),
    "maxvit_t": (True, "avg pool, LayerNorm, Linear, Tanh, Linear", (224, 224)),
    "mnasnet0_5": (True, "mean, Linear", (128, 160)),
    "mobilenet_v2": (True, "avg pool, Linear", (128, 160)),
    "mobilenet_v3_small": (True, "avg pool, Linear, Hardswish, Linear", (128, 160)),
    "regnet_y_400mf": (True, "avg pool, Linear", (128, 160)),
    "resnet18": (True, "avg pool, Linear", (128, 160)),
    "resnext50_32x4d": (True, "avg pool, Linear", (128, 160)),
    "shufflenet_v2_x0_5": (True, "mean, Linear", (128, 160)),
    "squeezenet1_1": (True, "Conv, ReLU, avg pool", (128, 160)),
    "swin_t": (True, "avg pool, Linear", (224, 256)),
    "swin_v2_t": (True, "avg pool, Linear", (256, 256)),
    "vgg11": (False, "pool to 7x7, flatten, three Linear", (224, 224)),
    "vit_b_32": (False, "class token, Linear", (224, 224)),
    "wide_resnet50_2": (True, "avg pool, Linear", (128, 160)),
}


def cases() -> Iterable[dict[str, Any]]:
    """Every model by every exporter."""
    for exporter in ("torch legacy", "torch dynamo"):
        for model, (pools, head, _) in MODELS.items():
            yield {"exporter": exporter, "group": model, "model": model, "pools": pools, "head": head}


def answer(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Export one model."""
    import torch
    import torchvision

    from benchmarks.zoo import torch_common

    torch.manual_seed(0)
    name = case["model"]
    options = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    if name == "maxvit_t":
        options["input_size"] = MODELS[name][2]
    model = torchvision.models.get_model(name, weights=None, num_classes=torch_common.CLASSES, **options).eval()
    image = torch.randn(2, 3, *MODELS[name][2])
    torch_common.settle(model, image)
    path = folder / f"torchvision-{name}-{case['exporter'].split()[-1]}.onnx"
    return torch_common.export(model, image, case["exporter"], path)


if __name__ == "__main__":
    protocol.main(cases, answer)
