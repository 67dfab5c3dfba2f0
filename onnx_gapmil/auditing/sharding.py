"""A shard of an audit: what it says of itself, so that only shards of one audit are put together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

from onnx_gapmil.auditing.preparation import AUTO, Request
from onnx_gapmil.auditing.resuming import ASKED_WORDS, IDENTITY_WORDS, identity, listed_digest
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.serial import from_json, to_json
from onnx_gapmil.files.urls import said
from onnx_gapmil.ort.cpu import cpu_name, thread_count
from onnx_gapmil.running.shards import ShardResult

if TYPE_CHECKING:
    from pathlib import Path

    from onnx_gapmil.auditing.measuring import Measured
    from onnx_gapmil.auditing.preparation import PreparedData
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.running.shards import Shard

VERB = "audit"
#: Where a file lies may differ from machine to machine; what is in it may not.
_PATHS = frozenset({"model", "data", "labels", "names", "class_map", "preprocess"})
_WORDS = {
    **IDENTITY_WORDS,
    **ASKED_WORDS,
    "batch": "number of images in a batch (--batch N makes it the same on all machines)",
}


def shard_result(
    request: Request, classifier: Classifier, measured: Measured, shard: Shard, output: Path
) -> ShardResult:
    """What a shard says of itself when all its images are measured.

    Args:
        request: as of the whole audit.
        classifier: the model.
        measured: the shard's batches.
        shard: which part it is.
        output: its result folder.
    """
    return ShardResult(
        verb=VERB,
        shard=str(shard),
        images=len(measured.prepared.samples),
        done=measured.images,
        failed=measured.failed,
        folder=said(output),
        machine=machine(),
        identity=identity_of(request, classifier, measured.prepared),
        details={"request": to_json(request)},
    )


def machine() -> str:
    """The processor, and how many threads share a batch."""
    return f"{cpu_name()}, {thread_count()} threads"


def identity_of(request: Request, classifier: Classifier, prepared: PreparedData) -> dict[str, str]:
    """Fingerprints of what has to be the same in all shards, by the words that a user is told.

    Args:
        request: as of the whole audit.
        classifier: the model.
        prepared: the whole data set.
    """
    known = dataclasses.asdict(identity(request, classifier))
    same = {_WORDS.get(key, key): _text(value) for key, value in known.items() if key not in _PATHS}
    return same | {
        "preprocessing": _digest([prepared.preprocess.preprocess.to_json(), request.preprocess == AUTO]),
        "class of each label": _digest(prepared.class_map.offset),
        "data set": listed_digest(map(_known, prepared.samples)),
    }


def request_of(result: ShardResult, model: Path | None, data: Path | str | None) -> Request:
    """What a shard was asked for.

    Args:
        result: what it says of itself.
        model: where the model lies now, if it is not where the shard had it.
        data: the same of the data set.

    Raises:
        InputError: it does not say it.
    """
    try:
        found = from_json(Request, result.details["request"])
    except (KeyError, ValueError) as error:
        raise InputError(f"{result.folder} does not say what was asked for ({error}); run the shard anew.") from error
    return dataclasses.replace(found, model=model or found.model, data=data or found.data)


def _known(sample: Any) -> list[Any]:
    """What is known of an image, wherever the data set lies."""
    mask = sample.mask.name if sample.mask is not None else None
    return [sample.name, sample.labels, [[box.box, box.classes] for box in sample.boxes], mask, sample.columns]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
