"""torch-cam's CAM beside plain PyTorch: one forward pass, then a map for each class that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torchcam.methods import CAM

from benchmarks.peers.models import MODELS, restore
from benchmarks.peers.peer import ONE_CLASS, PLAIN, Peer, additivity, first_line, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.peers.peer import Array

CLASSES = 1000


class TorchCam(Peer):
    packages = ("torch", "torchvision", "torchcam")

    def variants(self, batch: int) -> tuple[str, ...]:
        return ("CAM, one class", "CAM, all classes")

    def prepare(self, folder: Path, variant: str, images: Array, threads: int) -> Callable[[], Any]:
        torch.set_num_threads(threads)
        name = f"resnet50-{images.shape[-1]}"
        model, batch = restore(folder, name), torch.from_numpy(images)
        if variant == PLAIN:
            return lambda: _forward(model, batch)
        classes = range(CLASSES) if variant == "CAM, all classes" else (ONE_CLASS,)
        extractor = CAM(model, MODELS[name].layer, MODELS[name].linear)

        def run() -> Any:
            scores = _forward(model, batch)
            return [extractor(index, scores, normalized=False)[0] for index in classes]

        return run

    def maps(self, folder: Path, model: str) -> dict[str, Array]:
        torch.set_num_threads(1)
        entry, known = MODELS[model], load(folder, model)
        network, seen = restore(folder, model), []
        network.get_submodule(entry.layer).register_forward_hook(lambda module, given, output: seen.append(output))
        return {"cam": _all_maps(network, known, entry.layer, entry.linear), "features": seen[-1].numpy()}

    def head(self, folder: Path, model: str) -> dict[str, Any]:
        """First as its quick start does, layers found by itself; then with the layers named."""
        entry, known = MODELS[model], load(folder, model)
        tries = {"layers found by itself": (None, None), "layers named": (entry.layer, entry.linear)}
        failures = []
        for how, (layer, linear) in tries.items():
            try:
                maps = _all_maps(restore(folder, model), known, layer, linear)
            except Exception as error:  # noqa: BLE001 - the table says what it was
                failures.append(f"{how}: {first_line(error)}")
                continue
            zero = known["zero"][0][:, None, None]
            return {
                "answer": "map",
                "detail": "; ".join([*failures, how]),
                "shape": maps.shape,
                "additivity": additivity(maps[0] + zero, known["logits"][0]),
            }
        return {"answer": "failed", "detail": "; ".join(failures)}


def _forward(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(images)


def _all_maps(model: torch.nn.Module, known: dict[str, Array], layer: str | None, linear: str | None) -> Array:
    """Raw maps of all classes, (N, K, H, W)."""
    extractor = CAM(model, layer, linear)
    scores = _forward(model, torch.from_numpy(known["image"]))
    maps = [extractor(index, scores, normalized=False)[0].numpy() for index in range(scores.shape[1])]
    return np.stack(maps, axis=1)


if __name__ == "__main__":
    TorchCam().serve()
