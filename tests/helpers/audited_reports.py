"""Reports of real audits, for the tests of the page: the audit is run, and what its page holds is read back."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from PIL import Image

from onnx_gapmil.auditing import AuditSummary, Request, audit
from onnx_gapmil.auditing.confusions import Confusions
from onnx_gapmil.auditing.gallery import Gallery
from onnx_gapmil.auditing.page import Report
from onnx_gapmil.files.serial import from_json
from onnx_gapmil.metrics.figures import ClassRow
from onnx_gapmil.prediction.page.content import PageModel
from sample_models.scenes import make_scene, write_scenes
from tests.helpers.scene_data import MODEL, SCENES
from tests.helpers.support import text_model, weights


def digits(folder: Path, count: int, seed: int = 5) -> Report:
    """Digit scenes that the sample model has not seen; each has one label and one to four digits."""
    write_scenes((make_scene("held_out", seed, index) for index in range(count)), folder / "scenes")
    return audited(folder, MODEL, folder / "scenes")


def many_classes(folder: Path, *, classes: int, images: int, seed: int = 0) -> Report:
    """Blobs of colour, without boxes, by a made-up model of many classes.

    Every tenth photo is wide, and the model sees its middle.
    """
    rng = np.random.default_rng(seed)
    body = "a = AveragePool<kernel_shape=[12, 12], strides=[12, 12]>(x)\n c = Conv(a, w)\n"
    body += " p = GlobalAveragePool(c)\n y = Flatten(p)"
    kernel = weights(classes, 3, 1, 1, seed=seed) * 6
    model = text_model(body, x="float[N,3,48,48] x", y=f"float[N,{classes}] y", init={"w": kernel})
    labels = rng.permutation(classes)
    lines = []
    (folder / "val").mkdir(parents=True)
    for index in range(images):
        height, width = 48, 72 if index % 10 == 0 else 48
        knots = rng.uniform(0, 255, (3, 3, 3)).astype(np.float32)
        photo = np.clip(cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)
        name = f"val/{index:05d}.png"
        Image.fromarray(photo).save(folder / name, compress_level=1)
        lines.append({"image": name, "label": int(labels[index % classes])})
    names = [f"made-up class {index}" for index in range(classes)]
    return audited(folder, saved(model, folder, names), write_labels(folder, lines))


def flattened(folder: Path) -> Report:
    """The scenes of the repository by a model whose head has weights of its own for each cell."""
    return audited(folder, flattened_model(folder), SCENES)


def flattened_model(folder: Path) -> Path:
    """Pixels averaged to 6 x 6, flattened, and a dense layer."""
    body = "a = AveragePool<kernel_shape=[16, 16], strides=[16, 16]>(x)\n f = Flatten(a)\n y = Gemm<transB=1>(f, w)"
    model = text_model(body, x="float[N,3,96,96] x", y="float[N,10] y", init={"w": weights(10, 3 * 6 * 6)})
    return saved(model, folder)


def saved(model: onnx.ModelProto, folder: Path, names: list[str] | None = None, **recipe: Any) -> Path:
    """A model as a file, with names and preprocessing beside it; ``recipe`` replaces keys of the preprocessing."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    if names is not None:
        path.with_suffix(".labels.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    height, width = (side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim[2:])
    plain = {"layout": "NCHW", "color": "RGB", "size": [height, width], "resize": "shortest", "crop": 1.0}
    plain |= {"interpolation": "bilinear", "scale": 1 / 255, "mean": [0.0] * 3, "std": [1.0] * 3, "dtype": "float32"}
    path.with_suffix(".preprocess.json").write_text(json.dumps(plain | recipe))
    return path


def write_labels(folder: Path, lines: list[dict[str, Any]]) -> Path:
    """A label file of JSON lines."""
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def audited(folder: Path, model: Path, data: Path, **request: Any) -> Report:
    """The report of an audit whose gallery has all images."""
    audit(Request(model=model, data=data, **request), folder / "audit", gallery=5000)
    return read_report(folder / "audit" / "report.html")


def read_report(path: Path) -> Report:
    """What a page was made of, by the data that it holds."""
    found = re.findall(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', path.read_text("utf-8"), re.S)
    parts = {name: json.loads(text) for name, text in found}
    data = parts["data"]
    known = {field.name for field in fields(ClassRow)}  # of several labels at once the page knows more of each
    rows = [{key: value for key, value in row.items() if key in known} for row in data["classes"]]
    return Report(
        summary=from_json(AuditSummary, parts["summary-json"] | {"classes": rows}),
        names={int(index): name for index, name in data["names"].items()},
        activation=data["activation"],
        gallery=from_json(Gallery, data["gallery"]),
        confusions=from_json(Confusions, data["confusions"]),
        model=from_json(PageModel, data["models"][0]),
    )
