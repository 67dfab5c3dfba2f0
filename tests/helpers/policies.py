"""A model's file, results that were made up for it, and a policy beside them."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

MODEL_BYTES = b"not a model: rules on figures read no more of it than its digest"
SHA256 = hashlib.sha256(MODEL_BYTES).hexdigest()
KEYS = "ab" * 32

SUMMARY: dict[str, Any] = {
    "schema_version": 1,
    "model": "model.onnx",
    "model_sha256": SHA256,
    "verdict": "exact",
    "head": {"output": "logits"},
    "data": {"keys_sha256": KEYS},
    "images": 400,
    "preprocess_source": "as asked for",
    "preprocess_assumed": False,
    "top1": 0.775,
    "top5": 0.935,
    "pxap": None,
    "aggregators": {
        "mean": {"top1": 0.775, "interval": [0.734, 0.815]},
        "max": {"top1": 0.7, "interval": [0.65, 0.75]},
    },
    "foreground": {"wrong": {"images": 90, "any_top1": 0.611, "excess": 0.19}},
    "intervals": {"top1": [0.734, 0.815], "foreground.wrong.excess": [-0.01, 0.39]},
    "slices": {
        "camera": {
            "day": {"images": 300, "top1": 0.8, "intervals": {"top1": [0.75, 0.85]}},
            "night": {"images": 100, "top1": 0.70, "intervals": {"top1": [0.61, 0.79]}},
        }
    },
    "slice_columns": {
        "camera": {"values": 2, "missing": 0, "bins": None, "left_out": None, "members_sha256": "12" * 32},
        "file": {"values": 400, "missing": 0, "bins": None, "left_out": "400 values for 400 images: no slices."},
    },
}
COMPARE: dict[str, Any] = {
    "schema_version": 1,
    "models": {"old": {"sha256": "cd" * 32, "aggregator": "mean"}, "new": {"sha256": SHA256, "aggregator": "mean"}},
    "data": {"keys_sha256": KEYS},
    "images": 400,
    "agreement": {"top1": 0.9, "top5": 0.8},
    "flips": {"count": 40, "share": 0.1, "fixed": 10, "broken": 20, "mcnemar_p": 0.1},
    "accuracy": {"old": 0.8, "new": 0.775, "difference": -0.025, "interval": [-0.052, 0.002]},
    "grids": {"correlation": None, "winners_changed": 0.3},
    "intervals": {"agreement.top1": [0.87, 0.925]},
    "slices": {
        "class": {
            "cat": {"images": 50, "accuracy": {"old": 0.9, "new": 0.4, "difference": -0.5, "interval": [-0.6, -0.3]}},
            "dog": {"images": 60, "accuracy": {"old": 0.9, "new": 0.9, "difference": 0.0, "interval": [-0.1, 0.1]}},
        }
    },
}


def changed(content: dict[str, Any], **places: Any) -> dict[str, Any]:
    """A copy with other values; keys are paths with ``__`` for dots."""
    result = copy.deepcopy(content)
    for path, value in places.items():
        *parents, last = path.split("__")
        part = result
        for key in parents:
            part = part[key]
        part[last] = value
    return result


class Bench:
    """A folder with a model's file, results and policies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder / "model.onnx"
        self.model.write_bytes(MODEL_BYTES)
        self.audit = self.write("audit/summary.json", SUMMARY)
        self.compare = self.write("compare/compare.json", COMPARE)
        self.baseline = self.write("baseline.json", changed(SUMMARY, model_sha256="cd" * 32, top1=0.8))

    def write(self, name: str, content: object) -> Path:
        """A JSON file; its folder where it is one's result."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content), "utf-8")
        return path.parent if path.parent != self.folder else path

    def policy(self, text: str) -> Path:
        """A policy of this text behind its version."""
        path = self.folder / "gapmil.toml"
        path.write_text(f"schema_version = 1\n{text}\n", "utf-8")
        return path
