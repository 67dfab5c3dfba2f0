"""What was proved of a model, for the rules on it: now, or by an earlier check of the same file on this machine.

A gate runs again and again on a file that does not change. What was proved of it is kept in the user's cache folder
(`onnx_gapmil.files.cache`), as `predict` and `audit` keep it, and read without the libraries that proving takes.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.files.cache import recall, remember
from onnx_gapmil.files.identity import stamp
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.rewriting.proof.checks import Figure
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.lift.tokens.modes import ClassTokenMode

#: What is kept, and by what proof; another number is another key.
_FORMAT = "check-1"
_PROVERS = ("onnx", "onnxruntime", "onnxruntime-gpu", "numpy")


@dataclass(frozen=True)
class ProvedHead:
    """One lifted head.

    Attributes:
        output: of the model.
        verdict: ``exact``, ``conditional``.
        places: whether it is known where its cells look.
        reason: why not.
        proofs: by name, ``sum`` and ``place``; one that is not there was not run.
    """

    output: str
    verdict: str
    places: bool
    reason: str
    proofs: Mapping[str, Figure]


@dataclass(frozen=True)
class ProvedModel:
    """What was proved of a model.

    Attributes:
        heads: those that were lifted; empty where the model is refused.
        refused: code and message of the refusal; None where a head was lifted.
    """

    heads: tuple[ProvedHead, ...]
    refused: tuple[str, str] | None = None


def proved_model(path: Path, sha256: str, class_token: ClassTokenMode | None = None) -> ProvedModel:
    """Lift and prove a model, unless that was done on this machine before.

    What was found is kept by the file's SHA-256, the sizes and times of its external data, and the versions of this
    package, ONNX, ONNX Runtime and NumPy. A rewritten file's vendor's part is lifted and proved anew.

    Args:
        path: of the model.
        sha256: of that file.
        class_token: how far heads that read a class token are lifted; None refuses them.

    Raises:
        InputError: it cannot be read or run, or a limit is met.
    """
    key = (_FORMAT, sha256, class_token or "", __version__, _versions())
    known = _read(recall(*key), path.parent)
    if known is not None:
        return known
    found, source = _prove(path, class_token)
    if source is not None and source.sha256 == sha256:
        remember(_text(found, source), *key)
    return found


def _prove(path: Path, class_token: ClassTokenMode | None) -> tuple[ProvedModel, LoadedModel | None]:
    """What is proved, and the model as it was read; none where that is not to be remembered."""
    from onnx_gapmil.graph.loading import limited_for, load_model
    from onnx_gapmil.lift.verdict import UnsupportedHeadError
    from onnx_gapmil.rewriting.claim import vendors_part
    from onnx_gapmil.rewriting.proof.report import ProofError
    from onnx_gapmil.rewriting.proved_record import without_records
    from onnx_gapmil.rewriting.record import token_mode
    from onnx_gapmil.rewriting.rewriter import rewrite_model
    from onnx_gapmil.rewriting.verbs import proof_of

    try:
        with limited_for(path):
            source = load_model(path)
            made = rewrite_model(source, class_token=class_token)
            if made.unchanged:
                mode = token_mode(made.heads)
                made = rewrite_model(without_records(vendors_part(source, made.heads)), class_token=mode)
            report = proof_of(made)
    except UnsupportedHeadError as error:
        return ProvedModel((), (error.refusal.code, error.refusal.message)), None
    except ProofError as error:
        return ProvedModel((), ("forged-record", str(error))), None
    made = made.with_proof(report) if report is not None else made
    checks = {check.name: check.figures for check in report.checks} if report is not None else {}
    heads = tuple(
        ProvedHead(
            head.output,
            head.verdict,
            head.places.known,
            head.places.reason,
            {name: checks[name][head.output] for name in ("sum", "place") if head.output in checks.get(name, {})},
        )
        for head in made.heads
    )
    return ProvedModel(heads), source


def _text(found: ProvedModel, source: LoadedModel) -> str:
    """What is kept."""
    from onnx_gapmil.graph.weights import weight_files

    names = weight_files(source.proto) if source.folder is not None else []
    weights = {name: _stamp(source.folder / name) for name in names if source.folder is not None}
    return json_text({"weights": weights, "heads": [asdict(head) for head in found.heads]})


def _read(text: str | None, folder: Path) -> ProvedModel | None:
    """What was kept; None where nothing was, not what is kept here, or weights beside the model are others."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        kept = json.loads(text or "")
        if all(_stamp(folder / str(name)) == known for name, known in kept["weights"].items()):
            return ProvedModel(tuple(_head(entry) for entry in kept["heads"]))
    return None


def _head(entry: Mapping[str, Any]) -> ProvedHead:
    proofs = {str(name): _figure(figure) for name, figure in entry["proofs"].items()}
    return ProvedHead(str(entry["output"]), str(entry["verdict"]), bool(entry["places"]), str(entry["reason"]), proofs)


def _figure(entry: Mapping[str, Any]) -> Figure:
    measure, allowed = (None if entry[name] is None else float(entry[name]) for name in ("measure", "allowed"))
    failures = tuple(str(said) for said in entry["failures"])
    return Figure(measure, allowed, str(entry["skipped"]), failures, str(entry["detail"]))


def _stamp(path: Path) -> list[int | None]:
    found = stamp(path)
    return [found.size, found.modified, found.changed]


@functools.cache
def _versions() -> str:
    """Of what proves, without importing it."""
    found = []
    for name in _PROVERS:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(found)
