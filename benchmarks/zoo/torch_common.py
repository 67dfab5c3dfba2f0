"""What the PyTorch scripts share: torchvision that imports on a CPU, weights that say something, and both exporters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

torch.set_num_threads(1)
# torchvision's wheel is built for another torch; without its compiled operators it wants their schemas at least.
LIBRARY = torch.library.Library("torchvision", "DEF")
LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

CLASSES = 10
#: Name for the tables: (is it the dynamo exporter, opset).
EXPORTERS = {"torch legacy": (False, 17), "torch dynamo": (True, 20)}


def settle(model: torch.nn.Module, image: torch.Tensor) -> None:
    """Give random weights what training would: varied biases and gains, and batch statistics that fit."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1 and float(parameter.std()) == 0.0:
                scale = 0.1 if float(parameter.abs().max()) > 1e-3 else 0.05
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = 1.0
    model.eval()
    for norm in norms:
        norm.train()
    try:
        with torch.no_grad():
            model(image)
    finally:
        model.eval()


def export(model: torch.nn.Module, image: torch.Tensor, exporter: str, path: Path) -> dict[str, Any]:
    """Write one model: the legacy exporter with an open batch, dynamo with a batch of 1 as its default is."""
    dynamo, opset = EXPORTERS[exporter]
    with torch.no_grad():
        scores = model(image[:1])
    scores = scores[0] if isinstance(scores, (tuple, list)) else scores
    if not torch.isfinite(scores).all():
        raise ValueError("the random model's own logits are not finite")
    options: dict[str, Any] = {"input_names": ["image"], "opset_version": opset, "dynamo": dynamo}
    if dynamo:
        options.update(external_data=False, verbose=False)
        torch.onnx.export(model, (image[:1],), str(path), **options)
        return {"file": path.name, "input": [1, *image.shape[1:]]}
    options["output_names"] = ["logits"]
    open_batch: dict[str, Any] = {"dynamic_axes": {"image": {0: "N"}, "logits": {0: "N"}}}
    failures: list[Exception] = []
    for changes in (
        open_batch,
        {},
        {**open_batch, "opset_version": 18},
    ):  # what it writes for known shapes alone, or late
        try:
            torch.onnx.export(model, (image[:1],), str(path), **{**options, **changes})
        except torch.onnx.OnnxExporterError as error:
            failures.append(error)
            continue
        batch = "N" if "dynamic_axes" in changes else 1
        return {"file": path.name, "input": [batch, *image.shape[1:]], "opset": {**options, **changes}["opset_version"]}
    raise failures[0]
