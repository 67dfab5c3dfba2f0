"""Make the models of `models.py` once, with seeded random weights, for all peers.

For each in FOLDER: ``NAME.onnx`` (PyTorch's legacy exporter, open batch), ``NAME.batch1.onnx`` (the same for a batch of
one, for heads), ``NAME.npz`` with an image, its logits and the logits of an all-zero map, and ``NAME.pt``, the state
dict that the PyTorch peers load. The ResNet-50 has one state dict and a file for each image size.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers.models import HEADS, MODELS, RESNET50, Model, restore
from benchmarks.zoo.torch_common import export, settle

#: The ResNet-50s whose weights another size has made.
LATER = tuple(RESNET50)[1:]


def logits_of_zeros(model: torch.nn.Module, layer: str, image: torch.Tensor) -> torch.Tensor:
    """The head's answer to a map of zeros: what is left of the logits when no cell has evidence."""

    def zeros(module: torch.nn.Module, given: object, output: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(output)

    handle = model.get_submodule(layer).register_forward_hook(zeros)
    try:
        return model(image)
    finally:
        handle.remove()


def quieten(model: torch.nn.Module) -> None:
    """Small gains where residual branches end, as training leaves them: else 50 random layers magnify rounding."""
    for block in model.modules():
        last = getattr(block, "bn3", None)
        if last is not None:
            last.weight.data.fill_(0.2)


def spread(layer: torch.nn.Linear, model: torch.nn.Module, images: torch.Tensor) -> None:
    """Scale a layer so that its values have deviation 2, as after training: near 0, HardSwish is all but linear."""
    seen: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.no_grad():
        model(images)
        handle.remove()
        layer.weight.mul_(2 / seen[0].std())


def write(name: str, entry: Model, folder: Path) -> None:
    generator = torch.Generator().manual_seed(7)
    image = torch.randn(entry.shape, generator=generator)
    weights = folder / ("resnet50.pt" if name in RESNET50 else f"{name}.pt")
    if name not in LATER:
        torch.manual_seed(3)
        model = entry.build().eval()
        quieten(model)
        images = torch.randn((4, *entry.shape[1:]), generator=generator)
        settle(model, images)
        if name == "mobilenet_v3":
            spread(model.get_submodule("classifier.0"), model, images)
        torch.save(model.state_dict(), weights)
    model = restore(folder, name)
    with torch.no_grad():
        logits, zero = model(image), logits_of_zeros(model, entry.layer, image)
    np.savez(folder / f"{name}.npz", image=image.numpy(), logits=logits.numpy(), zero=zero.numpy())
    export(model, image, "torch legacy", folder / f"{name}.onnx")
    if name in HEADS:
        fixed = folder / f"{name}.batch1.onnx"
        torch.onnx.export(model, (image,), str(fixed), input_names=["image"], opset_version=17, dynamo=False)


def make(folder: Path) -> None:
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    for name, entry in MODELS.items():
        write(name, entry, folder)
        print(f"{name}.onnx", flush=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
