"""Real models compared on real photos, against ONNX Runtime, OpenCV, SciPy and NumPy alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from scipy.stats import binomtest

from onnx_gapmil import Comparison, compare

pytestmark = pytest.mark.shared

COUNT = 60
RECIPE: dict[str, Any] = {"size": [224, 224], "resize": "squash", "crop": 1.0, "interpolation": "bilinear"}
TORCH = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scale": 1 / 255, "dtype": "float32"}


@dataclass(frozen=True)
class Real:
    """A model, how it wants photos, and the class that it gives to ImageNet's class 0."""

    file: str
    recipe: dict[str, Any]
    labels: str
    offset: int = 0


MOBILENET = Real(
    "in1k_mobilenetv2_100_224_tflite_fp32",
    {**RECIPE, "layout": "NHWC", "color": "RGB", "scale": 1.0, "mean": [0, 0, 0], "std": [1, 1, 1], "dtype": "uint8"},
    "imagenet1001_coral.txt",
    1,
)
QDQ = Real(
    "in1k_mobilenetv2_qdq_zoo", {**RECIPE, **TORCH, "layout": "NCHW", "color": "RGB"}, "imagenet1000_synset_words.txt"
)
SHUFFLENET = Real(
    "in1k_shufflenetv2_int8_qop", {**RECIPE, **TORCH, "layout": "NCHW", "color": "RGB"}, "imagenet1000_synset_words.txt"
)
SQUEEZENET = Real(
    "in1k_squeezenet_fp16_caffe2",
    {
        **RECIPE,
        **{"layout": "NCHW", "color": "BGR", "scale": 1.0, "mean": [104, 117, 123], "std": [1, 1, 1]},
        "dtype": "float16",
    },
    "imagenet1000_synset_words.txt",
)


def entries(shared: Path) -> list[dict[str, Any]]:
    folder = shared / "real" / "images" / "ilsvrc_val_227"
    found: list[dict[str, Any]] = json.loads((folder / "annotations.json").read_text("utf-8"))
    return [{**entry, "path": str(folder / entry["file"])} for entry in found[:COUNT]]


def feed(pixels: np.ndarray, model: Real) -> np.ndarray:
    """A photo as OpenCV reads it, BGR, as this model's input: the recipe, written out by hand."""
    small = cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_LINEAR)
    if model is MOBILENET:
        return np.ascontiguousarray(small[None, :, :, ::-1])
    if model is SQUEEZENET:
        return (small - np.array([104.0, 117.0, 123.0])).transpose(2, 0, 1)[None].astype(np.float16)
    values = (small[:, :, ::-1] / 255.0 - TORCH["mean"]) / TORCH["std"]
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)


def answers(shared: Path, model: Real) -> np.ndarray:
    """(images, classes): the vendor's logits, which are what its Softmax reads, where it has one."""
    proto = onnx.load(shared / "real" / "models" / f"{model.file}.onnx")
    logits = next((node.input[0] for node in proto.graph.node if node.op_type == "Softmax"), proto.graph.output[0].name)
    if logits not in [value.name for value in proto.graph.output]:
        proto.graph.output.append(onnx.ValueInfoProto(name=logits))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    scores = [
        np.asarray(session.run([logits], {name: feed(cv2.imread(entry["path"]), model)})[0], dtype=np.float64).ravel()
        for entry in entries(shared)
    ]
    return np.stack(scores)


def compared(shared: Path, folder: Path, old: Real, new: Real, *, names: bool) -> Comparison:
    lines = [
        json.dumps({"image": entry["path"], "label": entry["label"], "boxes": entry["boxes_227_xyxy"]})
        for entry in entries(shared)
    ]
    (folder / "labels.jsonl").write_text("\n".join(lines))
    recipes = []
    for side, model in (("old", old), ("new", new)):
        recipes.append(folder / f"{side}.json")
        recipes[-1].write_text(json.dumps(model.recipe))
    models = shared / "real" / "models"
    more: dict[str, Any] = {}
    if names:
        more = {"names": models / "labels" / old.labels, "names_new": models / "labels" / new.labels}
    return compare(
        models / f"{old.file}.onnx",
        models / f"{new.file}.onnx",
        shared / "real" / "images" / "ilsvrc_val_227",
        folder / "out",
        labels=folder / "labels.jsonl",
        preprocess=recipes[0],
        preprocess_new=recipes[1],
        gallery=4,
        **more,
    )


def top1(scores: np.ndarray, model: Real) -> np.ndarray:
    """In ImageNet's numbers; -1 for the background."""
    return np.argmax(scores, axis=1) - model.offset


def assert_counts(found: Comparison, shared: Path, old: Real, new: Real, *, loose: int) -> None:
    """Agreement, flips, fixed and broken; of half precision, ``loose`` answers may lie on the edge."""
    first, second = top1(answers(shared, old), old), top1(answers(shared, new), new)
    labels = np.array([entry["label"] for entry in entries(shared)])
    assert found.images == COUNT
    assert found.flips.count == pytest.approx((first != second).sum(), abs=loose)
    assert found.agreement.top1 == pytest.approx((first == second).mean(), abs=(loose + 0.1) / COUNT)
    fixed = ((first != labels) & (second == labels)).sum()
    broken = ((first == labels) & (second != labels)).sum()
    assert (found.flips.fixed, found.flips.broken) == (
        pytest.approx(fixed, abs=loose),
        pytest.approx(broken, abs=loose),
    )
    assert found.accuracy is not None
    assert found.accuracy.old == pytest.approx((first == labels).mean(), abs=(loose + 0.1) / COUNT)
    assert found.accuracy.new == pytest.approx((second == labels).mean(), abs=(loose + 0.1) / COUNT)
    assert found.flips.fixed is not None
    assert found.flips.broken is not None
    expected = binomtest(found.flips.fixed, found.flips.fixed + found.flips.broken).pvalue
    assert found.flips.mcnemar_p == pytest.approx(expected)


@pytest.mark.parametrize("names", [True, False])
def test_a_float_model_against_a_quantized_one_of_a_thousand_and_one_classes_against_a_thousand(
    names: bool, shared: Path, tmp_path: Path
) -> None:
    found = compared(shared, tmp_path, MOBILENET, QDQ, names=names)
    assert_counts(found, shared, MOBILENET, QDQ, loose=0)
    assert (found.aligned_classes.aligned, found.aligned_classes.old, found.aligned_classes.new) == (1000, 1001, 1000)
    assert found.grids.images == COUNT
    assert found.grids.with_object == COUNT


def test_grids_of_another_stride_are_compared_on_the_coarser_one(shared: Path, tmp_path: Path) -> None:
    found = compared(shared, tmp_path, SQUEEZENET, SHUFFLENET, names=True)
    assert_counts(found, shared, SQUEEZENET, SHUFFLENET, loose=1)
    assert (found.grids.images, found.grids.averaged) == (COUNT, COUNT)
    assert found.grids.reason is None
    assert found.grids.winners_changed is not None
    assert 0.2 < found.grids.winners_changed < 0.95
