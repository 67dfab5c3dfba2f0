"""`repool`, as a user calls it: a model is proved before it is written."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.aggregate.aggregator import Aggregator, parse_aggregator
from onnx_gapmil.aggregate.fitted import FittedPool
from onnx_gapmil.errors import ModelError
from onnx_gapmil.files.guarding import watched_reads
from onnx_gapmil.files.writing import reserved_file
from onnx_gapmil.graph.loading import LoadedModel, ModelSource, limited_for, load_model
from onnx_gapmil.lift.tokens.modes import mode_of
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting.analysis import analyse
from onnx_gapmil.rewriting.claim import vendors_part
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.head_choice import chosen_place
from onnx_gapmil.rewriting.proof.too_coarse import too_coarse
from onnx_gapmil.rewriting.record import token_mode
from onnx_gapmil.rewriting.repool_result import Repool
from onnx_gapmil.rewriting.repooled.building import RepooledGraph, class_heads, repool_graph
from onnx_gapmil.rewriting.repooled.claim import check_pools, vendors_model
from onnx_gapmil.rewriting.repooled.proving import prove_pools
from onnx_gapmil.rewriting.repooled.record import PoolRecord, read_pools, write_pools
from onnx_gapmil.rewriting.rewriter import claimed_heads, rewrite_model
from onnx_gapmil.rewriting.saving import beside_model, require_place, save_proto
from onnx_gapmil.rewriting.verbs import proof_of

if TYPE_CHECKING:
    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.lift.tokens.modes import ClassTokenMode, ClassTokenWish
    from onnx_gapmil.rewriting.analysis import Analysis
    from onnx_gapmil.rewriting.proof.report import ProofReport

#: The vendor's own pool.
_MEAN = "mean"


def repool(
    model: ModelSource,
    aggregator: Aggregator | FittedPool | str,
    output: str | Path | None = None,
    *,
    write: bool = True,
    head: str | None = None,
    class_token: ClassTokenWish | None = None,
) -> Repool:
    """Make another aggregator of the prediction grid a classifier's own pool, prove it, and write it.

    Inputs, output names, types and order stay, and so does what stands behind the logits. Aggregators that give
    probabilities put their logarithm before a softmax and before nothing, and their log-odds before a sigmoid
    (`onnx_gapmil.aggregate.pooled`).

    Args:
        model: path of an ``.onnx`` file, a ModelProto, or a model that was read already: a vendor's, a rewritten or a
            repooled one. New outputs of a rewrite are left out.
        aggregator: an `Aggregator` or its text, such as ``max`` or ``lse=10``; ``mean`` gives the vendor's graph back.
            Or a pool that was fitted.
        output: where to write; ``MODEL.repooled.onnx`` beside the model if None. A ModelProto is only written if this
            is given.
        write: False leaves the disk alone.
        head: the output whose head alone is repooled, of a model with several; all heads of classes if None.
        class_token: lift heads that read a class token, by ``direct``, ``through`` or ``auto``; None refuses them.

    Returns:
        The repooled model with its proof; the model itself, unwritten, if its logits were by this aggregator before.

    Raises:
        ModelError: the model cannot be read or run.
        UnsupportedHeadError: no head can be lifted, or none of them can be repooled; the refusal says why.
        ProofError: the proof failed, and nothing is written; or a record of the file is not true.
        InputError: there is no such aggregator or head; or the place to write to will not do.
    """
    wish = parse_aggregator(aggregator) if isinstance(aggregator, str) else aggregator
    mode = mode_of(class_token)
    with watched_reads(), limited_for(model), ExitStack() as held:
        source = load_model(model)
        path = Path(output) if output is not None else None
        if path is None and source.path is not None:
            path = beside_model(source.path, "repooled")
        if write and path is not None:
            require_place(source, path, "repooled")
            held.enter_context(reserved_file(path))
        result = _repooled(source, wish, mode, head)
        if write and path is not None and not result.unchanged:
            save_proto(source, result.model, path, "repooled")
            result = result.written(path)
        return result


def head_to_fit(
    source: LoadedModel, head: str, class_token: ClassTokenMode | None = None
) -> tuple[Analysis, LiftedHead]:
    """The vendor's graph within a model, and one of its heads: what a pool is fitted for.

    Args:
        source: a vendor's model, a rewritten or a repooled one.
        head: the head's output.
        class_token: how far heads that read a class token are lifted.

    Raises:
        ProofError: a record of the file is not true.
        ModelError: the model cannot be read or run.
        UnsupportedHeadError: the head cannot be lifted.
        InputError: there is no such head.
    """
    with limited_for(source):
        vendor, _, mode = _vendors(source, class_token)
        analysis = analyse(vendor, class_token=mode)
        search = analysis.search
        named = [(entry.output, entry.outputs) for entry in search.heads]
        return analysis, search.heads[chosen_place(head, named, search.refusals, source.name)]


def _repooled(
    source: LoadedModel, aggregator: Aggregator | FittedPool, mode: ClassTokenMode | None, head: str | None
) -> Repool:
    """The model in memory, proved."""
    vendor, pools, mode = _vendors(source, mode)
    analysis = analyse(vendor, class_token=mode)
    search = analysis.search
    if head is None:
        chosen = [entry.output for entry in class_heads(analysis)]
        if not chosen:
            raise ModelError(f"{source.name}: all of its outputs are constants, whatever the image.")
    else:
        named = [(entry.output, entry.outputs) for entry in search.heads]
        chosen = [search.heads[chosen_place(head, named, search.refusals, source.name)].output]
    before = pools.wishes if pools is not None else {}
    wishes = {name: kind for name, kind in (before | dict.fromkeys(chosen, aggregator)).items() if kind.name != _MEAN}
    tokens = any(entry.class_token is not None for entry in search.heads)
    result = Repool(
        source.proto,
        source,
        aggregator,
        pools,
        {},
        unchanged=True,
        inlined=analysis.inlined,
        reads_class_token=tokens,
    )
    if wishes == before:
        return result
    refusals = dict(search.refusals) if head is None else {}
    if not wishes:
        report = _proved_grid(vendor, mode, head)
        return replace(result, model=vendor.proto, pools=None, refusals=refusals, unchanged=False, proof=report)
    made = repool_graph(vendor, wishes, class_token=mode, analysis=analysis)
    if made.record.wishes == before:
        return replace(result, refusals=refusals | made.refusals)
    report = _proved_grid(vendor, mode, head).with_checks(prove_pools(vendor, made))
    report.require_passed(f"{source.name}: the repooled model")
    record = _measured(made, report)
    write_pools(made.model, record)
    return replace(
        result, model=made.model, pools=record, refusals=refusals | made.refusals, unchanged=False, proof=report
    )


def _vendors(
    source: LoadedModel, mode: ClassTokenMode | None
) -> tuple[LoadedModel, PoolRecord | None, ClassTokenMode | None]:
    """The vendor's model within a file, what the file says of its pools, and how class tokens are lifted.

    Raises:
        ProofError: a record of the file is not true.
    """
    heads = claimed_heads(source)
    part = vendors_part(source, heads) if heads else source
    pools = read_pools(part)
    known = pools.class_token if pools is not None else token_mode(heads)
    if pools is not None:
        return check_pools(part, pools), pools, mode if mode is not None else known
    vendor = vendors_model(part, None)
    if heads and heads[0].source_sha256:
        vendor = replace(vendor, sha256=heads[0].source_sha256)
    return vendor, None, mode if mode is not None else known


def _proved_grid(vendor: LoadedModel, mode: ClassTokenMode | None, head: str | None) -> ProofReport:
    """The proof of the grid that is pooled: its mean over cells is the vendor's logits, as a rewrite proves it.

    Raises:
        UnsupportedHeadError: the head rounds so coarsely that nothing is the mean of its cells.
        ProofError: it failed.
    """
    lifted = rewrite_model(vendor, emit=Emit(features=False), head=head, class_token=mode)
    report = proof_of(lifted)
    if report is None:
        raise ModelError(f"{vendor.name} holds a rewritten model within a rewritten one.")
    if refusals := too_coarse(report, lifted.heads):
        raise UnsupportedHeadError(next(iter(refusals.values())), refusals)
    report.require_passed(f"{vendor.name}: the grid that is pooled")
    return report


def _measured(made: RepooledGraph, report: ProofReport) -> PoolRecord:
    """The record with the figure that the proof measured: of the head that is nearest to what is allowed."""
    check = next(check for check in report.checks if check.name == "pool")
    figure = check.joint
    if figure.measure is None or figure.allowed is None:
        return made.record
    return made.record.measured(figure.measure, figure.allowed)
