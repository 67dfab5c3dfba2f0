"""paddle.vision's classifiers, with random weights, by paddle2onnx."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.zoo import protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

#: By constructor: does the head pool, and that head in words.
MODELS: dict[str, tuple[bool, str, dict[str, Any]]] = {
    "alexnet": (False, "pool to 6x6, flatten, three Linear", {}),
    "densenet121": (True, "avg pool, Linear", {}),
    "googlenet": (True, "avg pool, Dropout, Linear; two auxiliary heads of a strided pool", {}),
    "inception_v3": (True, "avg pool, Dropout, Linear", {}),
    "mobilenet_v1": (True, "avg pool, Linear", {"scale": 0.25}),
    "mobilenet_v2": (True, "avg pool, Dropout, Linear", {"scale": 0.25}),
    "mobilenet_v3_small": (True, "avg pool, Linear, Hardswish, Dropout, Linear", {}),
    "mobilenet_v3_large": (True, "avg pool, Linear, Hardswish, Dropout, Linear", {"scale": 0.5}),
    "resnet18": (True, "avg pool, Linear", {}),
    "resnext50_32x4d": (True, "avg pool, Linear", {}),
    "shufflenet_v2_x0_25": (True, "avg pool, Linear", {}),
    "squeezenet1_1": (True, "Conv, ReLU, avg pool", {}),
    "vgg11": (False, "pool to 7x7, flatten, three Linear", {}),
}
#: Height and width where 96 by 128 will not do.
SIZES = {"alexnet": (224, 224), "inception_v3": (160, 192), "googlenet": (224, 224), "vgg11": (224, 224)}
CLASSES = 10
EXPORTERS = {"paddle2onnx opset 13, open batch": (13, None), "paddle2onnx opset 18, batch 1": (18, 1)}


def cases() -> Iterable[dict[str, Any]]:
    """Every model by both ways of exporting."""
    for exporter in EXPORTERS:
        for name, (pools, head, _) in MODELS.items():
            yield {"exporter": exporter, "group": name, "model": name, "pools": pools, "head": head}


def answer(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Export one model."""
    import numpy as np
    import paddle
    import paddle2onnx
    import polygraphy.config  # before paddle2onnx, which otherwise runs pip by itself

    assert polygraphy.config is not None
    name = case["model"]
    opset, batch = EXPORTERS[case["exporter"]]
    paddle.seed(0)
    paddle.disable_static()
    model = getattr(paddle.vision.models, name)(pretrained=False, num_classes=CLASSES, **MODELS[name][2])
    generator = np.random.default_rng(1)
    for parameter in model.parameters():
        value = parameter.numpy()
        if value.ndim == 1 and value.std() == 0:
            parameter.set_value((value + 0.1 * generator.standard_normal(value.shape)).astype(value.dtype))
    model.eval()
    height, width = SIZES.get(name, (96, 128))
    path = folder / f"paddle-{name}-{opset}.onnx"
    with tempfile.TemporaryDirectory() as parts:
        stem = Path(parts) / "model"
        paddle.jit.save(model, str(stem), [paddle.static.InputSpec([batch, 3, height, width], "float32", "image")])
        program = next(file for file in (stem.with_suffix(".json"), stem.with_suffix(".pdmodel")) if file.is_file())
        paddle2onnx.export(str(program), str(stem.with_suffix(".pdiparams")), str(path), opset_version=opset)
    return {"file": path.name, "input": [batch or "N", 3, height, width]}


if __name__ == "__main__":
    protocol.main(cases, answer)
