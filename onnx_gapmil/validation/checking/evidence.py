"""What a policy is judged by: results that lie in files, each held against the model and the data it should be of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.hashing import hash_file
from onnx_gapmil.files.reading import read_bytes
from onnx_gapmil.files.text import parse_json

_MAX_BYTES = 256 * 2**20
_SHOWN = 12


@dataclass(frozen=True)
class Evidence:
    """One file of results.

    Attributes:
        path: the file.
        content: its JSON.
        sha256: of the file.
        problem: why nothing may be judged by it; "" for nothing.
    """

    path: Path
    content: Mapping[str, Any]
    sha256: str
    problem: str = ""

    def with_problem(self, what: str) -> Evidence:
        """The same, not to be judged by; an earlier reason stays."""
        return replace(self, problem=self.problem or what)


@dataclass(frozen=True)
class AllEvidence:
    """Everything at hand.

    Attributes:
        model: the model's file.
        model_sha256: of that file.
        audit: ``summary.json`` of an audit of it; None where none was given.
        compare: ``compare.json`` of a comparison whose new side it is.
        baseline: ``summary.json`` of an audit that it must not fall behind.
    """

    model: Path
    model_sha256: str
    audit: Evidence | None = None
    compare: Evidence | None = None
    baseline: Evidence | None = None


def gather(
    model: Path, *, audit: Path | None, compare: Path | None, baseline: Path | None, head: str | None = None
) -> AllEvidence:
    """Read what was given, and find out what may be judged by it.

    Args:
        model: the model's file.
        audit: a folder of results of ``audit``, or its ``summary.json``.
        compare: a folder of results of ``compare``, or its ``compare.json``.
        baseline: a ``summary.json``, or its folder.
        head: the output that is judged; None for whichever the results are of.

    Raises:
        InputError: a file is missing, torn, or no such result.
    """
    digest = hash_file(model)
    own = read_summary(audit) if audit is not None else None
    if own is not None and own.content["model_sha256"] != digest:
        own = own.with_problem(_other("the audit", own.content["model_sha256"], digest))
    elif own is not None:
        own = own.with_problem(_other_weights("the audit", own.content.get("model_weights"), model))
    pair = read_comparison(compare) if compare is not None else None
    if pair is not None and pair.content["models"]["new"]["sha256"] != digest:
        pair = pair.with_problem(_other("the comparison's new side", pair.content["models"]["new"]["sha256"], digest))
    elif pair is not None:
        weights = pair.content["models"]["new"].get("weights")
        pair = pair.with_problem(_other_weights("the comparison's new side", weights, model))
    if own is not None:
        own = own.with_problem(_other_use("the audit", own.content))
    if pair is not None:
        pair = pair.with_problem(_other_use("the comparison's new side", pair.content["models"]["new"]))
    if own is not None and head is not None:
        own = own.with_problem(_other_output("the audit", own.content.get("head"), head))
    if pair is not None:
        side = pair.content["models"]["new"]
        pair = pair.with_problem(_other_output("the comparison's new side", side, head) if head is not None else "")
        if side.get("aggregator", "mean") != "mean":
            pair = pair.with_problem("the comparison's new side pools by another aggregator than the model itself")
    before = read_summary(baseline) if baseline is not None else None
    if before is not None and own is not None:
        keys, theirs = data_keys(own), data_keys(before)
        before = before.with_problem(_other_use("the baseline", before.content))
        if keys is None or theirs is None:
            before = before.with_problem("it is not known whether the baseline is of the same images: no hash of keys")
        elif keys != theirs:
            before = before.with_problem("the baseline is of other images (another hash of their keys)")
    return AllEvidence(model, digest, own, pair, before)


def read_summary(path: Path) -> Evidence:
    """``summary.json``.

    Raises:
        InputError: it is missing, torn, or no summary of an audit.
    """
    return _read(path, "summary.json", "an audit", lambda content: isinstance(content.get("model_sha256"), str))


def read_comparison(path: Path) -> Evidence:
    """``compare.json``.

    Raises:
        InputError: it is missing, torn, or no comparison.
    """
    return _read(path, "compare.json", "a comparison", _is_comparison)


def _other_use(what: str, content: Mapping[str, Any]) -> str:
    """Why results are not of the model as its file is: it was used at another size, or its grid was stitched."""
    size = content.get("size")
    if isinstance(size, Mapping):
        return f"{what} is of the model at another input size, {size.get('size')} (height, width)"
    return f"{what} is of a stitched grid, and not of the model's own" if content.get("stitch", 1) != 1 else ""


def data_keys(evidence: Evidence) -> str | None:
    """The hash of the keys of the images; None where it is not there."""
    data = evidence.content.get("data")
    keys = data.get("keys_sha256") if isinstance(data, Mapping) else None
    return keys if isinstance(keys, str) else None


def _is_comparison(content: Mapping[str, Any]) -> bool:
    models = content.get("models")
    if not isinstance(models, Mapping):
        return False
    sides = [models.get("old"), models.get("new")]
    return all(isinstance(side, Mapping) and isinstance(side.get("sha256"), str) for side in sides)


def _read(path: Path, name: str, what: str, fits: Any) -> Evidence:
    file = path / name if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise InputError(f"{path}: it has no {name}, so it holds no finished results of {what}; run that first.")
    data = read_bytes(file, InputError, expected=f"{name} of {what}", limit=_MAX_BYTES)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text (byte {error.start}); it is no {name} of {what}.") from error
    content = parse_json(text, str(file), InputError)
    if not isinstance(content, Mapping) or not fits(content):
        raise InputError(f"{file}: this is no {name} of {what}.")
    if content.get("schema_version") != 1:
        raise InputError(
            f"{file}: its schema_version is {str(content.get('schema_version'))[:20]!r}, and 1 is read; make it anew."
        )
    return Evidence(file, content, hashlib.sha256(data).hexdigest())


def _other_weights(what: str, weights: object, model: Path) -> str:
    """Why results are of other weights than those that lie beside a model now; "" if they are not."""
    for name, digest in weights.items() if isinstance(weights, Mapping) else ():
        file = model.parent / str(name)
        if not file.is_file():
            return f"{what} is of weights in {name}, which is not beside the model"
        if hash_file(file) != digest:
            return f"{what} is of other weights: {name} beside the model has another SHA-256"
    return ""


def _other_output(what: str, found: object, head: str) -> str:
    """Why results are of another output than the one that is judged; "" if they are not."""
    output = found.get("output") if isinstance(found, Mapping) else None
    return "" if output == head else f"{what} is of output {str(output)[:60]!r} and not of {head!r}"


def _other(what: str, theirs: str, own: str) -> str:
    return f"{what} is of another model (SHA-256 {theirs[:_SHOWN]}..., and this one's is {own[:_SHOWN]}...)"
