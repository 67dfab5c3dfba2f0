"""Detectors of coloured patches whose right answers follow from the pixels, and photos of such patches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image

from tests.helpers.support import text_model

CELL, SIDE = 8, 48
NAMES = ("red", "green", "blue")
#: The evidence of a cell is 30 times the share of the colour's full brightness in it, less 2.
GAIN, BIAS = 30.0, -2.0
_KERNEL = np.zeros((3, 3, CELL, CELL), np.float32)
for _channel in range(3):
    _KERNEL[_channel, _channel] = 1 / CELL**2
_INIT: dict[str, np.ndarray] = {
    "k": _KERNEL,
    "w": (GAIN * np.eye(3)).astype(np.float32),
    "b": np.full(3, BIAS, np.float32),
    "u": np.array([[GAIN, 0, 0]], np.float32),
    "c": np.array([BIAS], np.float32),
}
_TRUNK = f"m = Conv<strides=[{CELL},{CELL}]>(x, k)  p = GlobalAveragePool(m)  e = Flatten(p)  "
#: Of each kind: what stands behind the pool, and the outputs.
_KINDS = {
    "sigmoids": ("z = Gemm<transB=1>(e, w, b)  y = Sigmoid(z)", "float[N,3] y"),
    "logits": ("y = Gemm<transB=1>(e, w, b)", "float[N,3] y"),
    "one": ("z = Gemm<transB=1>(e, u, c)  y = Sigmoid(z)", "float[N,1] y"),
    "heads": (
        "d = Gemm<transB=1>(e, u, c)  defect = Sigmoid(d)  colour = Gemm<transB=1>(e, w, b)",
        "float[N,3] e, float[N,1] defect, float[N,3] colour",
    ),
}


def model(kind: str) -> onnx.ModelProto:
    """``sigmoids``, ``logits``, ``one`` (a sigmoid, of red), or ``heads``: features, a defect (red) and a colour."""
    body, outputs = _KINDS[kind]
    used = {name: value for name, value in _INIT.items() if name == "k" or f", {name}" in body}
    return text_model(_TRUNK + body, x=f"float[N,3,{SIDE},{SIDE}] x", y=outputs, init=used)


def write_model(path: Path, kind: str) -> Path:
    """The model, with its preprocessing beside it."""
    onnx.save(model(kind), path)
    recipe: dict[str, Any] = {"layout": "NCHW", "color": "RGB", "size": [SIDE, SIDE], "resize": "squash", "crop": 1.0}
    recipe |= {"interpolation": "nearest", "scale": 1 / 255, "mean": [0.0] * 3, "std": [1.0] * 3, "dtype": "float32"}
    path.with_name(f"{path.stem}.preprocess.json").write_text(json.dumps(recipe))
    return path


def photo(patches: list[tuple[int, int, int, int]]) -> np.ndarray:
    """(48, 48, 3) RGB uint8, black but for patches (channel, row, column, size) in cells."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    for channel, row, column, size in patches:
        pixels[row * CELL : (row + size) * CELL, column * CELL : (column + size) * CELL, channel] = 255
    return pixels


def write_photos(folder: Path, count: int, seed: int = 0, *, names: bool = True) -> Path:
    """Photos of up to three patches, labelled by their colours, some by none; their label file."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    lines = []
    for place in range(count):
        patches, labels, boxes = [], [], []
        for channel in range(3):
            if rng.random() < 0.45:
                size = int(rng.integers(1, 4))
                row, column = (int(value) for value in rng.integers(0, 6 - size, 2))
                patches.append((channel, row, column, size))
                labels.append(NAMES[channel] if names else channel)
                corner = [column * CELL, row * CELL, (column + size) * CELL, (row + size) * CELL]
                boxes.append(corner)
        Image.fromarray(photo(patches)).save(folder / f"{place:03}.png")
        lines.append({"image": f"{place:03}.png", "labels": labels, "boxes": boxes, "box_labels": labels})
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def logits(pixels: np.ndarray) -> np.ndarray:
    """(3,) by hand: the mean over cells of 30 times the colour's share, less 2."""
    return GAIN * (pixels / 255.0).mean(axis=(0, 1)) + BIAS
