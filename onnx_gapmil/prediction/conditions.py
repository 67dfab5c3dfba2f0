"""What the predictions of a run have in common: what their JSON says of it, and what has to be the same to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx_gapmil.files.libraries import library_versions
from onnx_gapmil.running.stitching import stitch_json
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.prediction.classifier import Classifier

SCHEMA_VERSION = 1
#: Whether the proof was remembered, and what it took, is no condition; nor what else is in the folder; nor what was
#: left out of shards, whose photos are a condition of their own.
_NO_CONDITION = ("proof", "left_out", "older_results")
#: Conditions that say where files lie; what these hold is a condition of its own.
_OF_PLACES = ("model", "preprocess_source", "preprocess_parts", "labels_source")
#: How a condition is called for people, by the beginning of its key.
_CONDITIONS = {
    "size": "input size",
    "stitch": "stitching",
    "class_token": "lift of a class token",
    "provider": "provider",
    "preprocess": "preprocessing",
    "fast_decode": "decoding of large photos",
    "labels_source": "source of class names",
}
#: What is said of arrays where photos have their preprocessing.
AS_THEY_ARE = "none: arrays go into the model as they are"


def summary_of(
    model: Classifier, *, of_arrays: bool, fast_decode: bool, left_out: Sequence[str], older: Sequence[str]
) -> dict[str, Any]:
    """What every prediction of a run has in common, as JSON types.

    Args:
        model: that answers.
        of_arrays: whether it is given arrays, which go in as they are.
        fast_decode: whether large JPEGs are decoded smaller than they are.
        left_out: what of shards of photos could not be used.
        older: results in the folder that are not of this run.
    """
    used = None if of_arrays else model.preprocess
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model.name,
        "verdict": model.rewrite.verdict,
        "position_dependent": model.rewrite.position_dependent,
        "class_token": True if model.head.class_token is not None else None,
        "class_token_lift": model.head.class_token,
        "size": model.rewrite.size.to_json() if model.rewrite.size is not None else None,
        "stitch": stitch_json(model.session),
        "rewritten_in_memory": not model.rewrite.unchanged,
        "proof": model.session.proof.to_json() if model.session.proof is not None else None,
        "provider": model.session.provider,
        "preprocess": used.preprocess.to_json() if used is not None else None,
        "preprocess_source": used.source if used is not None else AS_THEY_ARE,
        "preprocess_assumed": used.assumed if used is not None else False,
        "preprocess_guessed": list(used.guessed) if used is not None else [],
        "preprocess_parts": dict(used.parts) if used is not None else {},
        "preprocess_notes": list(used.notes) if used is not None else [],
        "fast_decode": fast_decode,
        "labels_source": model.names.source,
        "left_out": list(left_out),
        "older_results": list(older),
    }


def conditions_of(model: Classifier, summary: dict[str, Any], *, shared: bool) -> dict[str, Any]:
    """What has to be the same of the model, by what people call it.

    Args:
        model: that answers.
        summary: of the run.
        shared: in all shards of a run, wherever the files lie; of one run if False.
    """
    conditions = {key: value for key, value in summary.items() if key not in _NO_CONDITION}
    if shared:
        conditions = {key: value for key, value in conditions.items() if key not in _OF_PLACES}
        conditions["provider"] = model.session.provider["used"]
    return {
        "model file": model.rewrite.source.sha256,
        **_by_what(conditions),
        "class names": model.names.names,
        "thresholds": [reading.said_thresholds for reading in model.readings],
        "version of onnx-gapmil": __version__,
        "versions of libraries": library_versions(),
    }


def _by_what(conditions: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Conditions by what people call them."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in conditions.items():
        what = next((said for begin, said in _CONDITIONS.items() if key.startswith(begin)), "reading of the model")
        found.setdefault(what, {})[key] = value
    return found
