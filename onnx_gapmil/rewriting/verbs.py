"""`rewrite` and `verify`, as a user calls them: a model is proved before it is written, and as it lies on the disk."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.errors import ModelError
from onnx_gapmil.files.guarding import watched_reads
from onnx_gapmil.files.writing import reserved_file
from onnx_gapmil.graph.loading import LoadedModel, ModelSource, limited_for, load_model
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting.attachment.rungs import RUNGS, Attachment, has_int8_activations
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.head_choice import chosen_place
from onnx_gapmil.rewriting.proof.as_deployed import Deployed, DeploymentProof
from onnx_gapmil.rewriting.proof.checks import Check, Figure
from onnx_gapmil.rewriting.proof.head_alone import prove_head
from onnx_gapmil.rewriting.proof.head_proofs import with_head_proofs
from onnx_gapmil.rewriting.proof.place_proof import TOO_LARGE
from onnx_gapmil.rewriting.proof.report import ProofReport
from onnx_gapmil.rewriting.proof.too_coarse import too_coarse
from onnx_gapmil.rewriting.proof.whole_model import prove
from onnx_gapmil.rewriting.proved_record import write_proof
from onnx_gapmil.rewriting.record import read_heads, token_mode
from onnx_gapmil.rewriting.resized import at_size, sized_alike
from onnx_gapmil.rewriting.result import Rewrite
from onnx_gapmil.rewriting.rewriter import claimed_heads, rewrite_model
from onnx_gapmil.rewriting.saving import beside_model, require_place, save_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.lift.verdict import Readout
    from onnx_gapmil.rewriting.record import HeadRecord
    from onnx_gapmil.rewriting.sizing.record import Size


def rewrite(
    model: ModelSource,
    output: str | Path | None = None,
    *,
    readout: Readout = "contribution",
    emit: Emit | str | None = None,
    as_deployed: bool = True,
    write: bool = True,
    head: str | None = None,
    class_token: ClassTokenWish | None = None,
    size: Size | None = None,
) -> Rewrite:
    """Rewrite a model so that it also emits its prediction grid, prove it, and write it.

    Args:
        model: path of an ``.onnx`` file, a ModelProto, or a model that was read already.
        output: where to write; ``MODEL.gapmil.onnx`` beside the model if None. A ModelProto is only written if
            this is given.
        readout: ``contribution`` (mean over cells = logits, always) or ``instance`` (the head applied to each cell).
        emit: what the graph is to give beside the logits, as an `Emit` or its text; features and grid if None. Nothing
            else is computed. The proof knows the whole grid all the same.
        as_deployed: compare the vendor's outputs under ONNX Runtime's optimization too, and do what keeps them equal;
            False leaves that out.
        write: False leaves the disk alone.
        head: the output whose head alone is lifted, of a model with several; the new outputs then have no suffix.
        class_token: lift heads that read a class token, by ``direct``, ``through`` or ``auto``; None refuses them.
            Heads without one are lifted as they are.
        size: (height, width) of the input in pixels, where it is not to be the vendor's; see `at_size`.

    Returns:
        The rewritten model with its proof; the model itself, unwritten, if it was rewritten before.

    Raises:
        ModelError: the model cannot be read or run; or it was rewritten before, with other emissions than those asked
            for.
        UnsupportedHeadError: no output has a head that can be lifted; the refusal says why.
        ProofError: the rewritten model failed its proof; nothing is written.
        InputError: the place to write to will not do, ``emit`` asks for what a head has not, or ``head`` is no output
            that has one.
    """
    with watched_reads(), limited_for(model), ExitStack() as held:
        source = at_size(load_model(model), size)
        path = Path(output) if output is not None else None
        if path is None and source.path is not None:
            path = beside_model(source.path, "gapmil")
        if write and path is not None and not source.is_rewritten:
            require_place(source, path)
            held.enter_context(reserved_file(path))
        result = rewrite_model(source, readout=readout, emit=emit, class_token=class_token, head=head)
        if result.unchanged:  # rewritten before
            return result
        result, deployed = climb(
            result, readout=readout, emit=emit, wanted=as_deployed, class_token=class_token, head=head
        )
        report = proof_of(result)
        if report is None:
            return result
        report = report.with_checks(deployed.check())
        if refusals := too_coarse(report, result.heads):
            raise UnsupportedHeadError(next(iter(refusals.values())), refusals)
        report.require_passed(f"{result.source.name}: the rewritten model")
        result = result.with_proof(report)
        write_proof(result.model, result.source, report)
        return save_model(result, path) if write and path is not None else result


def climb(
    result: Rewrite,
    *,
    readout: Readout = "contribution",
    emit: Emit | str | None = None,
    wanted: bool = True,
    head: str | None = None,
    class_token: ClassTokenWish | None = None,
) -> tuple[Rewrite, Deployed]:
    """The rewrite whose new nodes hang on the vendor's graph by the lowest rung that keeps its outputs as deployed.

    Args:
        result: the rewrite by the lowest rung.
        readout: as it was rewritten.
        emit: as it was rewritten.
        wanted: compare at all.
        head: as it was rewritten.
        class_token: as it was rewritten.

    Returns:
        A rewrite, and what was measured of it; the first that is equal where none settles everything, else the lowest.
    """
    if not wanted or result.trace is None or not result.trace.measured:
        skipped = "it was not asked for" if not wanted else TOO_LARGE
        return result, Deployed("plain", skipped=skipped)
    proof = DeploymentProof(result.source, most=False)

    def compared(made: Rewrite, rung: Attachment) -> tuple[Rewrite, Deployed]:
        return made, proof.compare(replace(made.source, proto=made.model), rung)

    tried = [compared(result, "plain")]
    for rung in _higher(result):
        if tried[-1][1].settled:
            return tried[-1]
        made = rewrite_model(
            result.source, readout=readout, emit=emit, attachment=rung, class_token=class_token, head=head
        )
        tried.append(compared(made, rung))
    settled = [entry for entry in tried if entry[1].settled]
    equal = [entry for entry in tried if entry[1].equal]
    return next(iter(settled or equal or tried))


def _higher(result: Rewrite) -> tuple[Attachment, ...]:
    """The rungs above the lowest that may do something for a model."""
    if has_int8_activations(result.source.proto):
        return RUNGS[1:]
    # A class token's row is read from sums of the trunk on the lowest rung alone.
    return ("named",) if any(head.class_token is not None for head in result.heads) else ()


def proof_of(result: Rewrite) -> ProofReport | None:
    """Prove what was rewritten in memory; None for a model that was rewritten before.

    Raises:
        ModelError: one of the models cannot be run at all.
    """
    source, new, heads, whole, trace = result.source, result.model, result.heads, result.whole, result.trace
    if trace is None or whole is None:
        return None
    if trace.measured:
        report = prove(source, new, heads, whole=whole)
    else:  # its weights exceed what a trial run may read
        report = prove_head(source, new, heads, whole=whole, trace=trace, inlined=result.inlined)
    proved = replace(source, proto=new)
    return with_head_proofs(report, proved, heads, lift=whole.make(), whole=whole, trace=trace, claimed=False)


def verify(
    original: ModelSource,
    rewritten: ModelSource,
    *,
    batches: Sequence[tuple[str, np.ndarray]] = (),
    provider: str = "auto",
    head: str | None = None,
) -> ProofReport:
    """Prove that one file is the rewritten form of another, as they would be deployed.

    A file without its whole grid is compared with a rewrite of the original that is made in memory.

    Args:
        original: the vendor's model.
        rewritten: the model that is claimed to be its rewritten form.
        batches: further inputs as (name for people, array of the input's shape and dtype); random ones are always
            run.
        provider: where to run; ``auto``, ``cuda``, ``cpu``, ...
        head: the output whose head alone is proved, of a model with several.

    Returns:
        What was measured; ``passed`` tells the result.

    Raises:
        ModelError: one of them cannot be read or run, or the second is not a rewritten model, or of another one.
        ProofError: the numbers are right, and what the second's record says of them is not.
        ProviderError: the provider was asked for by name and is not really used.
    """
    with limited_for(original):
        second = load_model(rewritten)
        return _verified(sized_alike(load_model(original), second), second, batches, provider, head)


def _verified(
    first: LoadedModel,
    second: LoadedModel,
    batches: Sequence[tuple[str, np.ndarray]],
    provider: str,
    head: str | None,
) -> ProofReport:
    if not second.is_rewritten:
        raise ModelError(f"{second.name} is not a rewritten model; make it with 'onnx-gapmil rewrite {first.name}'.")
    # What its record says is taken as it is, so that its numbers are measured; then it is checked.
    heads = read_heads(second.metadata, [value.name for value in second.proto.graph.output], second.name) or ()
    if head is not None:
        heads = (heads[chosen_place(head, [(entry.output, entry.outputs) for entry in heads], {}, second.name)],)
    again = _lifted_again(first, second, heads)
    if isinstance(again, Rewrite):  # what rounding explains is no matter of the file that is judged
        bounds = {head.output: head.rounding_bound for head in again.heads}
        heads = tuple(replace(head, rounding_bound=bounds.get(head.output)) for head in heads)
    deployed = DeploymentProof(first).compare(second, heads[0].attachment)
    missing = any(head.grid is None for head in heads)
    whole = again.whole if missing and isinstance(again, Rewrite) else None
    report = prove(first, second, heads, batches=batches, provider=provider, optimize=True, whole=whole)
    if isinstance(again, str) or again.whole is None or again.trace is None:
        skipped = {head.output: Figure(skipped=str(again)) for head in heads}
        report = replace(report, algebra=skipped).with_checks(Check("cell", skipped), Check("place", skipped))
    else:
        found = {head.output: head.feature_grids for head in again.heads}
        known = [replace(head, feature_grids=found[head.output]) for head in heads]
        report = with_head_proofs(
            report, second, known, lift=again.whole.make(), whole=again.whole, trace=again.trace, claimed=True
        )
    report = report.with_checks(deployed.check())
    if report.passed:
        claimed_heads(second)
    return report


def _lifted_again(first: LoadedModel, second: LoadedModel, heads: Sequence[HeadRecord]) -> Rewrite | str:
    """The original lifted here, which the second model is held against; or why it is not.

    Raises:
        ModelError: it is needed, since the second model does not give its whole grid, and lacks a head.
        UnsupportedHeadError: it is needed, and no head of the original can be lifted.
    """
    needed = [head.output for head in heads if head.grid is None]
    try:
        again = rewrite_model(first, readout=heads[0].readout, emit=Emit(features=False), class_token=token_mode(heads))
    except (ModelError, UnsupportedHeadError) as error:
        if needed:
            raise
        return f"the original cannot be lifted here: {error}".rstrip(".")
    known = {head.output for head in again.heads} if again.whole is not None else set()
    absent = [head.output for head in heads if head.output not in known]
    if not absent:
        return again
    if set(absent) & set(needed):
        raise ModelError(f"{first.name} has no head of '{absent[0]}', which {second.name} says it was made from.")
    return f"{first.name} has no head of '{absent[0]}'"
