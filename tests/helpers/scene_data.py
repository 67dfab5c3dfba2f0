"""Scenes of digits as data sets of an audit, and what the vendor's own model says of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
SCENES = SAMPLES / "scenes"
MODEL = SAMPLES / "digits_torch_legacy.onnx"


def entries() -> list[dict[str, Any]]:
    """What the scenes' own file says of them."""
    found: list[dict[str, Any]] = json.loads((SCENES / "scenes.json").read_text("utf-8"))
    return found


def write_scenes(folder: Path, copies: int = 1, **changed: Any) -> Path:
    """A data set of scenes under other names, one JSON line each; ``changed`` replaces fields of all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for copy in range(copies):
        for entry in entries():
            name = f"{copy:02d}_{entry['image']}"
            shutil.copy(SCENES / entry["image"], folder / name)
            lines.append({**entry, "image": name, **changed})
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def pixels(path: str | Path) -> np.ndarray:
    """(H, W, 3) RGB uint8."""
    return np.asarray(Image.open(path).convert("RGB"))


def prepared(photos: np.ndarray) -> np.ndarray:
    """RGB uint8 (N, 96, 96, 3) as the model's input (N, 3, 96, 96): its preprocessing written out by hand."""
    values = (photos / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=np.float32)


def vendor_answers() -> np.ndarray:
    """Logits (scenes, 10) of the untouched model."""
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    photos = np.stack([pixels(SCENES / entry["image"]) for entry in entries()])
    answer: np.ndarray = session.run(None, {session.get_inputs()[0].name: prepared(photos)})[0]
    return answer


def one_logit_model(path: Path) -> None:
    """Answers whether a photo is red: the mean of red less green, through a sigmoid; names and preprocessing beside."""
    weight = numpy_helper.from_array(np.array([[[[8.0]], [[-8.0]], [[0.0]]]], np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["map"], kernel_shape=[1, 1]),
            helper.make_node("AveragePool", ["map"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("GlobalAveragePool", ["cells"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["y"]),
        ],
        "red",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    path.with_suffix(".labels.txt").write_text("red\n")
    recipe = {"layout": "NCHW", "color": "RGB", "size": [32, 32], "resize": "squash", "crop": 1.0}
    recipe |= {"interpolation": "bilinear", "scale": 1 / 255, "mean": [0.0] * 3, "std": [1.0] * 3, "dtype": "float32"}
    path.with_name(f"{path.stem}.preprocess.json").write_text(json.dumps(recipe))
