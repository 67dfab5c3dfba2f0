"""Two models to compare, and what ONNX Runtime and NumPy alone say of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from tests.helpers.scene_data import MODEL, SCENES, entries, pixels, prepared

MAP = "/features/features.17/Relu_output_0"


def changed_model(folder: Path, *, size: float = 0.15, drop: int | None = None) -> Path:
    """The digit model with noise on its head's weights, or with one class that never wins; names and recipe beside."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load(MODEL)
    rng = np.random.default_rng(5)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("classifier."):
            values = numpy_helper.to_array(tensor).copy()
            if drop is None:
                values += (rng.normal(size=values.shape) * size * np.abs(values).std()).astype(np.float32)
            elif tensor.name.endswith("bias"):
                values[drop] -= 50.0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    path = folder / "changed.onnx"
    onnx.save(model, path)
    for ending in ("labels.txt", "preprocess.json"):
        shutil.copy(MODEL.with_name(f"{MODEL.stem}.{ending}"), folder / f"changed.{ending}")
    return path


def write_data(folder: Path, copies: int = 3) -> Path:
    """Scenes made darker from copy to copy, with a column that says which, one JSON line each."""
    folder.mkdir(parents=True, exist_ok=True)
    import cv2

    lines = []
    for copy in range(copies):
        for entry in entries():
            name = f"{copy}_{entry['image']}"
            photo = cv2.imread(str(SCENES / entry["image"]))
            assert photo is not None
            cv2.imwrite(str(folder / name), (photo * (1 - 0.3 * copy)).astype(np.uint8))
            lines.append({**entry, "image": name, "light": ("day", "dusk", "night")[copy % 3]})
    (folder / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return folder


@dataclass(frozen=True)
class Vendor:
    """What a digit model says of photos: logits (N, 10) and the grid (N, 10, 12, 12), in float64."""

    logits: np.ndarray
    grid: np.ndarray


def vendor(path: Path, data: Path) -> Vendor:
    """Run the vendor's file as it is, with its last map as another output, and apply its head cell by cell."""
    model = onnx.load(path)
    model.graph.output.append(onnx.ValueInfoProto(name=MAP))
    weights = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    photos = np.stack([pixels(data / line["image"]) for line in lines_of(data)])
    logits, features = session.run(["logits", MAP], {"image": prepared(photos)})
    grid = np.einsum("nchw,kc->nkhw", features.astype(np.float64), weights["classifier.weight"])
    return Vendor(logits.astype(np.float64), grid + weights["classifier.bias"][None, :, None, None])


def lines_of(data: Path) -> list[dict[str, Any]]:
    """The label file's lines."""
    return [json.loads(line) for line in (data / "labels.jsonl").read_text("utf-8").splitlines()]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: np.ndarray = exp / exp.sum(axis=-1, keepdims=True)
    return result
