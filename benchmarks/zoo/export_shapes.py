"""Export the classifiers of ``benchmarks/shapes.py`` from timm and keep their graphs, without their weights.

Runs in the torch environment of the zoo, which ``python -m benchmarks.make_zoo timm`` makes, or any other with
requirements-torch.txt and requirements-torch-nodeps.txt. What a graph costs to run does not depend on its weights, and
without them it is some ten kilobytes.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from pathlib import Path

import onnx
import torch

from benchmarks import shapes
from benchmarks.zoo import torch_common


def write(name: str) -> None:
    """Export one with open batch, height and width, and write ``shapes/NAME.onnx.gz``."""
    import timm

    shape = shapes.SHAPES[name]
    pooled = {"global_pool": "avg", "class_token": False} if shape.pooled else {}
    torch.manual_seed(0)
    model = timm.create_model(shape.timm, exportable=True, **pooled).eval()
    image = torch.randn(2, 3, 224, 224)
    torch_common.settle(model, image)
    axes = {0: "N"} if shape.fixed else {0: "N", 2: "H", 3: "W"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            model,
            (image[:1],),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": axes, "logits": {0: "N"}},
        )
        proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        shapes.strip(tensor)
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        node.ClearField("doc_string")
    proto.doc_string = f"{shape.timm} of timm, without its weights"
    shapes.PLACE.mkdir(exist_ok=True)
    data = gzip.compress(proto.SerializeToString(), compresslevel=9, mtime=0)
    (shapes.PLACE / f"{name}.onnx.gz").write_bytes(data)
    print(f"{name}: {len(data):,} bytes")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or shapes.SHAPES:
        write(wanted)
