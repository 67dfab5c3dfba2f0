"""pytorch-grad-cam's Grad-CAM and Eigen-CAM beside plain PyTorch: each call is a forward pass and more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pytorch_grad_cam import EigenCAM, GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from benchmarks.peers import models
from benchmarks.peers.peer import HEAD_CLASSES, ONE_CLASS, PLAIN, Peer, first_line, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.peers.peer import Array

#: Each class is a pass forward and back of its own; so many are timed to see that the cost is so many times one.
SEVERAL = 4


class GradCamPeer(Peer):
    packages = ("torch", "torchvision", "grad-cam")

    def variants(self, batch: int) -> tuple[str, ...]:
        several = (f"Grad-CAM, {SEVERAL} classes",) if batch == 1 else ()
        return ("Grad-CAM, one class", *several, "Eigen-CAM, no class")

    def prepare(self, folder: Path, variant: str, images: Array, threads: int) -> Callable[[], Any]:
        torch.set_num_threads(threads)
        name = f"resnet50-{images.shape[-1]}"
        model, batch = models.restore(folder, name), torch.from_numpy(images)
        layer = model.get_submodule(models.MODELS[name].layer)
        if variant == PLAIN:
            return lambda: _forward(model, batch)
        if variant == "Eigen-CAM, no class":
            eigen = EigenCAM(model, [layer])
            return lambda: eigen(batch, [ClassifierOutputTarget(ONE_CLASS)] * len(batch))
        grad = GradCAM(model, [layer])
        classes = (ONE_CLASS,) if variant == "Grad-CAM, one class" else range(SEVERAL)
        return lambda: [grad(batch, [ClassifierOutputTarget(index)] * len(batch)) for index in classes]

    def maps(self, folder: Path, model: str) -> dict[str, Array]:
        """Of the first classes alone: each costs a pass forward and back."""
        torch.set_num_threads(1)
        network, images = models.restore(folder, model), torch.from_numpy(load(folder, model)["image"])
        return {"grad_cam": _maps(network, models.MODELS[model].layer, images, GradCAM, range(7))}

    def head(self, folder: Path, model: str) -> dict[str, Any]:
        network, images = models.restore(folder, model), torch.from_numpy(load(folder, model)["image"])
        try:
            maps = _maps(network, models.MODELS[model].layer, images, GradCAM, range(HEAD_CLASSES))
        except Exception as error:  # noqa: BLE001 - the table says what it was
            return {"answer": "failed", "detail": first_line(error)}
        return {
            "answer": "map",
            "detail": f"each map from {maps.min():.2g} to {maps.max():.2g}",
            "shape": maps.shape,
            "additivity": None,
        }


def _forward(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(images)


def _maps(model: torch.nn.Module, layer: str, images: torch.Tensor, method: Any, classes: range) -> Array:
    """(N, K, H, W) of the image's own size."""
    extractor = method(model, [model.get_submodule(layer)])
    found = [extractor(images, [ClassifierOutputTarget(index)] * len(images)) for index in classes]
    return np.stack(found, axis=1)


if __name__ == "__main__":
    GradCamPeer().serve()
