"""What a rewritten file says of its own proof: on what it ran, by which versions, and of which graph.

Beside the source's SHA-256, which stands with the heads, it binds the digest of the graph without the records. It is a
claim like the record of heads: `onnx_gapmil.validation.certificate` replays it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.ort.quiet import onnxruntime_module
from onnx_gapmil.rewriting.proof.inputs import proof_inputs
from onnx_gapmil.rewriting.sizing.record import SIZE_KEY
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.rewriting.proof.report import ProofReport

#: Key of `metadata_props` that holds the record of the proof.
PROOF_KEY = "gapmil.proof"
#: Keys of ours, which the digest of a graph leaves out.
_OURS = "gapmil."


def write_proof(proto: onnx.ModelProto, source: LoadedModel, report: ProofReport) -> None:
    """Write the record of a proof into a model's metadata, in place of an earlier one.

    Args:
        proto: the rewritten model, which is changed.
        source: the vendor's model.
        report: what the proof measured.
    """
    inputs = inputs_of(source, report)
    record = {
        "graph_sha256": graph_digest(proto),
        "kind": report.kind,
        "checks": {check.name: check.passed for check in report.checks},
        "seeds": [entry["seed"] for entry in inputs],
        "inputs_sha256": inputs_digest(inputs),
        "versions": versions(),
    }
    held = {entry.key: entry for entry in proto.metadata_props}
    text = json_text(record, compact=True)
    if PROOF_KEY in held:
        held[PROOF_KEY].value = text
    else:
        proto.metadata_props.add(key=PROOF_KEY, value=text)


def read_proof(proto: onnx.ModelProto) -> dict[str, Any] | None:
    """The record of a proof; None where there is none that can be read."""
    text = next((entry.value for entry in proto.metadata_props if entry.key == PROOF_KEY), None)
    if text is None:
        return None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def graph_digest(proto: onnx.ModelProto) -> str:
    """SHA-256 of a model without what we wrote into its metadata, in hexadecimal digits.

    Weights in other files are not in it: the digest binds how they are referred to.
    """
    digest = hashlib.sha256()
    for field, value in proto.ListFields():
        if field.name == "metadata_props":
            entries = sorted((entry.key, entry.value) for entry in value if not entry.key.startswith(_OURS))
            parts: list[bytes] = [json.dumps(entries).encode()]
        elif field.message_type is None:
            parts = [repr(value).encode()]
        else:
            messages = [value] if hasattr(value, "SerializeToString") else list(value)
            parts = [message.SerializeToString(deterministic=True) for message in messages]
        digest.update(f"{field.number}:{len(parts)};".encode())
        for part in parts:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()


def without_records(model: LoadedModel) -> LoadedModel:
    """A model without what we wrote into its metadata of what we appended.

    The size that its graph was opened for stays: that is of the graph, whatever is appended to it.

    Args:
        model: whose proto is ours to change.
    """
    entries = [(entry.key, entry.value) for entry in model.proto.metadata_props]
    kept = [(key, value) for key, value in entries if key == SIZE_KEY or not key.startswith(_OURS)]
    del model.proto.metadata_props[:]
    for key, value in kept:
        model.proto.metadata_props.add(key=key, value=value)
    return replace(model, proto=model.proto)


def inputs_of(source: LoadedModel, report: ProofReport) -> list[dict[str, Any]]:
    """What the proof fed: each input with its seed and the SHA-256 of its numbers.

    Of a model that is proved by its head alone, the maps that were fed, by name.
    """
    ran = {trial.inputs for trial in report.trials}
    if report.kind == "head":
        return [{"inputs": trial.inputs, "seed": None, "sha256": None} for trial in report.trials]
    found: list[dict[str, Any]] = []
    for seed, (label, feeds, spare) in enumerate(proof_inputs(source, ())):
        if spare and found:  # as `prove` does
            break
        if label in ran:
            found.append({"inputs": label, "seed": seed, "sha256": _digest(feeds.values())})
    return found


def inputs_digest(inputs: object) -> str:
    """SHA-256 of what `inputs_of` gives, of which a record has no room."""
    return hashlib.sha256(json_text(inputs, compact=True).encode()).hexdigest()


def checks_of(report: ProofReport) -> dict[str, Any]:
    """Each proof's joint figure and each head's, as JSON types."""
    return {check.name: check.to_json() for check in report.checks}


def versions() -> dict[str, str]:
    """Of what computed, by name."""
    return {
        "onnx-gapmil": __version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime_module().__version__,
        "numpy": np.__version__,
    }


def _digest(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
