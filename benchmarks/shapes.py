"""Well-known classifiers for measuring speed: their graphs as timm exports them, with random weights.

``shapes/*.onnx.gz`` holds each graph without its weights: of each there is the shape, the mean and the deviation, and
the same random numbers are drawn from them on every machine. Neither PyTorch nor a download is needed. The files are
made by ``benchmarks/zoo/export_shapes.py``.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

PLACE = Path(__file__).resolve().parent / "shapes"
#: Weights with more numbers than this are kept as mean and deviation.
SMALL = 64


@dataclass(frozen=True)
class Shape:
    """One classifier.

    Attributes:
        title: for tables.
        timm: what timm calls it.
        pooled: make timm pool the tokens by their mean, without a class token.
        fixed: height and width stay 224: its position embeddings are of one size.
    """

    title: str
    timm: str
    pooled: bool = False
    fixed: bool = False


SHAPES = {
    "resnet50": Shape("ResNet-50", "resnet50"),
    "efficientnet_b0": Shape("EfficientNet-B0", "efficientnet_b0"),
    "mobilenetv2": Shape("MobileNetV2", "mobilenetv2_100"),
    "convnext_tiny": Shape("ConvNeXt-T", "convnext_tiny"),
    "vit_b16_gap": Shape("ViT-B/16, GAP", "vit_base_patch16_224", pooled=True, fixed=True),
}


def build(name: str) -> onnx.ModelProto:
    """A classifier with random weights: image (N, 3, H, W) float32 to logits (N, 1000).

    Args:
        name: a key of `SHAPES`.
    """
    proto = graph(name)
    for tensor in proto.graph.initializer:
        if not tensor.HasField("raw_data") and tensor.doc_string:
            _fill(tensor)
    return proto


def graph(name: str) -> onnx.ModelProto:
    """The same without its weights: their values are missing."""
    proto = onnx.ModelProto()
    proto.ParseFromString(gzip.decompress((PLACE / f"{name}.onnx.gz").read_bytes()))
    return proto


def strip(tensor: onnx.TensorProto) -> None:
    """Replace a weight by its mean and deviation, kept in its doc string."""
    values = onnx.numpy_helper.to_array(tensor)
    if values.size <= SMALL or values.dtype != np.float32:
        return
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.doc_string = json.dumps({"mean": float(f"{values.mean():.4g}"), "std": float(f"{values.std():.4g}")})


def _fill(tensor: onnx.TensorProto) -> None:
    """Draw a weight from its mean and deviation; its name is the seed."""
    told = json.loads(tensor.doc_string)
    generator = np.random.default_rng(zlib.crc32(tensor.name.encode()))
    values = generator.standard_normal(tuple(tensor.dims), dtype=np.float32)
    values *= np.float32(told["std"])
    values += np.float32(told["mean"])
    tensor.raw_data = values.tobytes()
    tensor.doc_string = ""
