"""Repooled models of others: the published figures on photos, and every kind of file of the zoo against NumPy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

from onnx_gapmil import repool
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.rewriting.proved_record import graph_digest
from tests.references.zoo import ZOO, one_of_each

pytestmark = pytest.mark.shared

MOBILENET = "models/in1k_mobilenetv2_100_224_tflite_fp32.onnx"
#: Of these classes some are refused, and one does not load.
NOT_LIFTED = frozenset({"analysis-failed", "cls token", "NCHWc blocked layout", "no-grid"})


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[tuple[np.ndarray, int]]:
    """Each photo, (1, 224, 224, 3) uint8 RGB, with the number of its class among 1001, the first a background."""
    folder = shared / "real" / "images" / "ilsvrc_val_227"
    found = []
    for entry in json.loads((folder / "annotations.json").read_text("utf-8")):
        pixels = cv2.imread(str(folder / entry["file"]))
        assert pixels is not None
        x = np.ascontiguousarray(cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_LINEAR)[None, :, :, ::-1])
        found.append((x, entry["label"] + 1))
    return found


@pytest.mark.parametrize(("key", "right"), [("max", 292), ("lse", 292), ("prob_mean", 302)])
def test_mobilenet_answers_as_the_table_of_its_aggregators_says(
    shared: Path, photos: list[tuple[np.ndarray, int]], key: str, right: int
) -> None:
    """0.730, 0.730 and 0.755 of 400 photos, by the file's own output: uint8, 1001 classes."""
    made = repool(shared / "real" / MOBILENET, key, write=False)
    logits = made.heads[0].logits
    output = made.model.graph.output[0].name
    made.model.graph.output.add(name=logits)  # its output rounds to 1/256, so that classes tie
    session = onnxruntime.InferenceSession(made.model.SerializeToString(), providers=["CPUExecutionProvider"])
    hits = agrees = 0
    for x, label in photos:
        answer, scores = session.run([output, logits], {session.get_inputs()[0].name: x})
        best = int(scores[0].argmax())
        hits += best == label
        agrees += answer[0][best] == answer[0].max()
    assert (hits, agrees) == (right, 400)


def _kind(entry: dict[str, Any]) -> tuple[str, ...] | None:
    """Each class of the catalogue that is expected to lift."""
    lifts = entry["expect"] not in ("refused", "open") and entry["klass"] not in NOT_LIFTED
    return (entry["klass"], entry["expect"]) if lifts else None


@pytest.mark.parametrize("file", one_of_each(_kind))
def test_a_zoo_file_is_proved_and_given_back(file: str) -> None:
    made = repool(ZOO / file, "prob_mean", write=False)
    assert made.proof is not None
    assert made.proof.passed
    for head in made.heads:
        figure = made.figure(head.output)
        assert figure is not None
        assert figure.passed
    back = repool(replace(load_model(ZOO / file), proto=made.model), "mean", write=False)
    assert back.is_vendors
    assert made.pools is not None
    assert graph_digest(back.model) == made.pools.graph_sha256
