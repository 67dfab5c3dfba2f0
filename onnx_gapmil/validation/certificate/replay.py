"""Replay a certificate: the files are those that were certified, and the proof, run anew here, says the same.

Nothing is believed because it is written: what a certificate claims is computed again, on this machine and provider,
and held against it. A figure may differ by what rounding in its type explains, because runtimes round differently; all
else must be equal. What cannot be computed again is who wrote it, when, and with which versions: a signature is for
that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.errors import GapmilError, InputError
from onnx_gapmil.files.hashing import hash_file
from onnx_gapmil.graph.loading import LoadedModel, limited_for, load_model
from onnx_gapmil.rewriting.proof.as_deployed import DeploymentProof
from onnx_gapmil.rewriting.proof.head_alone import prove_head
from onnx_gapmil.rewriting.proof.head_proofs import with_head_proofs
from onnx_gapmil.rewriting.proof.report import ProofError, ProofReport
from onnx_gapmil.rewriting.proof.whole_model import prove
from onnx_gapmil.rewriting.proved_record import graph_digest, inputs_digest, read_proof
from onnx_gapmil.rewriting.record import SOURCE_KEY, read_heads, token_mode
from onnx_gapmil.rewriting.resized import sized_alike
from onnx_gapmil.rewriting.rewriter import claimed_heads, rewrite_model
from onnx_gapmil.validation.certificate.content import content_of, read_certificate
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from onnx_gapmil.rewriting.result import Rewrite

#: Keys of figures, which may differ by what rounding explains.
_FIGURES = frozenset({"measure", "residual", "outputs_difference"})
#: What differs with the versions that compute, and is no claim about the file.
_FREE = frozenset({"versions", "digest"})
#: Places that differ by less, and all other figures, are the same: as shares.
_SAME_PLACE, _SAME = 0.01, 1e-6
#: The proof as deployed, of which the processor's own kernels decide these: they may be otherwise here.
_DEPLOYED, _OF_PROCESSOR = "as_deployed", frozenset({"passed", "same_graph", "kernels"})
_LISTED = 5


def replay(
    certificate: Path,
    original: Path | None = None,
    rewritten: Path | None = None,
    *,
    provider: str = "auto",
) -> ProofReport:
    """Replay a certificate.

    Args:
        certificate: its file.
        original: the vendor's model; that name beside the certificate if None.
        rewritten: its rewritten form; that name beside the certificate if None.
        provider: where to run.

    Returns:
        The proof as it was run here; what does not agree with the certificate is among its failures.

    Raises:
        InputError: the certificate is missing, torn or none, or a file is missing.
        ProviderError: the provider was asked for by name and is not really used.
    """
    content, failures = read_certificate(certificate)
    try:
        first = original if original is not None else certificate.parent / _name(content, "source")
        second = rewritten if rewritten is not None else certificate.parent / _name(content, "rewritten")
        failures += _other_files(content["source"], first) + _other_files(content["rewritten"], second)
        inputs, same = content["proof"]["inputs"], content["versions"].get("onnx-gapmil") == __version__
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{certificate}: it lacks {error}, or has it in another form; write it anew.") from error
    if failures:
        return ProofReport.of_failures(failures)
    try:
        with limited_for(first):
            rewrite = load_model(second)
            report, here = _anew(sized_alike(load_model(first), rewrite), rewrite, second, provider)
    except ProofError as error:
        return replace(error.report, failures=(*error.report.failures, str(error)))
    except InputError:
        raise
    except GapmilError as error:
        return ProofReport.of_failures([str(error)])
    tolerance = max(report.tolerance.values(), default=0.0)
    gaps = _differences(here, content, "", tolerance, strict=same)
    failures = [f"the certificate says otherwise than the proof here: {gap}." for gap in gaps[:_LISTED]]
    if len(gaps) > _LISTED:
        failures.append(f"and {len(gaps) - _LISTED} more things differ.")
    failures += _metadata(rewrite, content, inputs)
    return replace(report, failures=(*report.failures, *failures))


def _anew(first: LoadedModel, second: LoadedModel, path: Path, provider: str) -> tuple[ProofReport, dict[str, Any]]:
    """The proof that `rewrite` runs, on the files as they are, and the certificate that it would give."""
    heads = _recorded(second)
    attachment = heads[0].attachment
    anew = rewrite_model(
        first, readout=heads[0].readout, emit=heads[0].emit, attachment=attachment, class_token=token_mode(heads)
    )
    if anew.whole is None or anew.trace is None:
        raise InputError(f"{first.name} is a rewritten model itself; a certificate is of the vendor's.")
    if anew.trace.measured:
        report = prove(first, second, heads, provider=provider, whole=anew.whole)
    else:
        report = prove_head(first, second.proto, heads, whole=anew.whole, trace=anew.trace, inlined=anew.inlined)
    if report.provider != "cpu":  # its kernels may sum in another order from run to run
        report = replace(report, outputs_tolerance=max(report.tolerance.values()))
    proved = replace(first, proto=second.proto)
    found = {head.output: head.feature_grids for head in anew.heads}
    known = [replace(head, feature_grids=found.get(head.output, head.feature_grids)) for head in heads]
    report = with_head_proofs(
        report, proved, known, lift=anew.whole.make(), whole=anew.whole, trace=anew.trace, claimed=False
    )
    report = report.with_checks(DeploymentProof(first, most=False).compare(second, attachment).check())
    if report.passed:  # a mean says little of each cell: the maps themselves must be those of a new lift
        claimed_heads(second)
    lifted = anew.with_proof(report)
    return report, content_of(first, second.proto, path, report, [head.to_json() for head in _named(lifted, heads)])


def _named(lifted: Rewrite, heads: Any) -> Any:
    """The heads as this version lifts and proves them, with the names that the file has."""
    by_output = {head.output: head for head in lifted.heads}
    return [replace(by_output[head.output], **head.as_fields()) if head.output in by_output else head for head in heads]


def _recorded(second: LoadedModel) -> Any:
    outputs = [value.name for value in second.proto.graph.output]
    heads = read_heads(second.metadata, outputs, second.name)
    if not heads:
        raise InputError(f"{second.name} is no rewritten model, so there is no proof to replay.")
    return heads


def _name(content: Mapping[str, Any], which: str) -> str:
    """A model's name, which must be a name beside the certificate and no path."""
    name = content[which]["name"]
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise InputError(f"the certificate names {name!r} as the {which} model, which is no file's name.")
    return name


def _other_files(entry: Mapping[str, Any], path: Path) -> list[str]:
    """Files that are not those that were certified; looked at before anything in them is read."""
    failures = []
    if not path.is_file():
        raise InputError(f"{path}: no such file, which the certificate is of; name it.")
    if hash_file(path) != entry["sha256"]:
        failures.append(f"{path} is not the file that was certified: it has another SHA-256.")
    for weights in entry["weights"]:
        file = path.parent / weights["name"]
        if not file.is_file():
            failures.append(f"{file}, which holds weights, is not there.")
        elif hash_file(file) != weights["sha256"]:
            failures.append(f"{file} does not hold the weights that were certified: it has another SHA-256.")
    return failures


def _metadata(second: LoadedModel, content: Mapping[str, Any], inputs: Any) -> list[str]:
    """Whether the file's own record binds the same source and graph."""
    record = read_proof(second.proto)
    if record is None:
        return [f"{second.name} has no record of its proof in its metadata."]
    failures = []
    if second.metadata.get(SOURCE_KEY) != content["source"]["sha256"]:
        failures.append(f"{second.name} says that it was made of another file than the certificate does.")
    if record.get("graph_sha256") != graph_digest(second.proto):
        failures.append(f"{second.name} holds another graph than the one that its record was written for.")
    if record.get("inputs_sha256") != inputs_digest(inputs):
        failures.append(f"{second.name} says that it was proved on other inputs than the certificate does.")
    return failures


def _differences(here: Any, there: Any, where: str, tolerance: float, *, strict: bool) -> list[str]:
    """Where a certificate differs from the one that the proof here would give, by path."""
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        found = []
        for key in {**here, **there}:
            path = f"{where}.{key}" if where else str(key)
            if (not where and key in _FREE) or (not strict and _of_version(path)):
                continue
            if key not in here or key not in there:
                found.append(f"{path} is {'more' if key in there else 'absent'}")
                continue
            if _DEPLOYED in path and key in _OF_PROCESSOR:
                found += _consistent(here, there, path) if key == "passed" else []
                continue
            allowed = _allowed(here, tolerance) if key == "measure" and _DEPLOYED not in path else tolerance
            found += _differences(here[key], there[key], path, allowed, strict=strict)
        return found
    if isinstance(here, list) and isinstance(there, list):
        if len(here) != len(there):
            return [f"{where} has {len(there)} entries and not {len(here)}"]
        pairs = enumerate(zip(here, there, strict=True))
        return [
            gap
            for place, (one, other) in pairs
            for gap in _differences(one, other, f"{where}[{place}]", tolerance, strict=strict)
        ]
    if isinstance(here, float) and isinstance(there, float):
        same = abs(here - there) <= _room(where, here, tolerance)
    else:
        same = type(here) is type(there) and here == there
    return [] if same else [f"{where} is {_short(there)} and not {_short(here)}"]


def _consistent(here: Mapping[str, Any], there: Mapping[str, Any], where: str) -> list[str]:
    """Whether what is said of the outputs as deployed follows from its own measure."""
    measure, passed = there.get("measure"), there.get("passed")
    expected = here.get("passed") if measure == here.get("measure") else measure == 0
    return [] if passed is expected else [f"{where} is {_short(passed)}, and {measure} was measured"]


def _room(where: str, value: float, tolerance: float) -> float:
    """How far a figure may differ: by rounding in the model's type, a hundredth of a pixel or step, or not at all."""
    parts = where.split(".")
    if parts[-1] in _FIGURES or "residuals" in parts or "levels" in parts:
        return tolerance
    if "places" in parts:
        return _SAME_PLACE * max(abs(value), 1.0)
    return _SAME * abs(value)


def _allowed(check: Mapping[str, Any], tolerance: float) -> float:
    allowed = check.get("allowed")
    return float(allowed) if isinstance(allowed, int | float) and not isinstance(allowed, bool) else tolerance


def _of_version(path: str) -> bool:
    """What another version of ours may say in other words: the steps of the head, notes, reasons."""
    return path.rsplit(".", 1)[-1] in ("chain", "note", "feature_grids", "skipped", "reason", "measured")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
