"""What a certificate holds, and its one spelling: the same content has the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.hashing import hash_file
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.reading import read_bytes
from onnx_gapmil.files.text import parse_json
from onnx_gapmil.files.writing import write_whole
from onnx_gapmil.graph.weights import weight_files
from onnx_gapmil.rewriting.proved_record import checks_of, graph_digest, inputs_of, versions

if TYPE_CHECKING:
    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.rewriting.proof.report import ProofReport
    from onnx_gapmil.rewriting.result import Rewrite

SCHEMA_VERSION = 1
KIND = "onnx-gapmil certificate"
_MAX_BYTES = 64 * 2**20


def write_certificate(result: Rewrite, path: Path) -> None:
    """Write the certificate of a rewrite that was proved and written.

    Args:
        result: of `rewrite`.
        path: of the certificate; no model is written over.

    Raises:
        InputError: nothing was proved or written, or the file cannot be written.
    """
    if result.unchanged:
        raise InputError(
            f"{result.source.name} was rewritten before, and nothing was proved now; a certificate is written when the "
            "original is rewritten."
        )
    source, output, report = result.source.path, result.output_path, result.proof
    if source is None or output is None or report is None:
        raise InputError("a certificate binds files: the model must be a file, and its rewritten form must be written.")
    if path.resolve() in (source.resolve(), output.resolve()):
        raise InputError(f"{path} is a model's file; name another one for the certificate.")
    content = content_of(result.source, result.model, output, report, [head.to_json() for head in result.heads])
    write_whole(path, render(content))


def content_of(
    source: LoadedModel,
    rewritten: onnx.ModelProto,
    output: Path,
    report: ProofReport,
    heads: list[dict[str, Any]],
) -> dict[str, Any]:
    """A certificate's content without its digest.

    Args:
        source: the vendor's model, from its file.
        rewritten: its rewritten form, as it lies on the disk.
        output: its file.
        report: what the proof measured.
        heads: as the record has them.
    """
    if source.path is None:
        raise InputError("a certificate binds files, and the model is in memory.")
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "source": file_entry(source.path, source.proto),
        "rewritten": {**file_entry(output, rewritten), "graph_sha256": graph_digest(rewritten)},
        "heads": heads,
        "proof": {
            "kind": report.kind,
            "originals_unchanged": report.originals_unchanged,
            "outputs_difference": max((trial.outputs_difference for trial in report.trials), default=None),
            "residuals": {output: report.residual(output) for output in report.tolerance},
            "tolerance": report.tolerance,
            "rounding_bound": report.rounding_bound,
            "inputs": inputs_of(source, report),
            "checks": checks_of(report),
        },
        "versions": versions(),
    }


def render(content: Mapping[str, Any]) -> bytes:
    """The certificate's bytes: its content and the SHA-256 of that, in one spelling."""
    body = {key: value for key, value in content.items() if key != "digest"}
    digest = hashlib.sha256(json_text(body, compact=True).encode()).hexdigest()
    return f"{json_text({**body, 'digest': digest}, indent=2)}\n".encode()


def read_certificate(path: Path) -> tuple[dict[str, Any], list[str]]:
    """A certificate's content, and what is wrong with the file itself.

    Raises:
        InputError: it is missing, torn, or no certificate.
    """
    data = read_bytes(path, InputError, expected="a certificate", limit=_MAX_BYTES)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); it is torn, or no certificate.") from error
    content = parse_json(text, str(path), InputError)
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise InputError(f"{path}: this is no certificate of onnx-gapmil.")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path}: its schema_version is {str(content.get('schema_version'))[:20]!r}, and {SCHEMA_VERSION} is read."
        )
    try:
        changed = render(content) != data
    except (ValueError, TypeError, RecursionError, UnicodeEncodeError):
        changed = True
    return content, ["the certificate was changed: it is not what its own digest says."] if changed else []


def file_entry(path: Path, proto: onnx.ModelProto) -> dict[str, Any]:
    """A model's file and those that hold its weights, by name and SHA-256."""
    return {
        "name": path.name,
        "sha256": hash_file(path),
        "weights": [{"name": name, "sha256": hash_file(path.parent / name)} for name in weight_files(proto)],
    }
