"""A repooled file's record is a claim: its pool is taken out, put in again by this version, and compared."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting.proof.report import ProofError, ProofReport
from onnx_gapmil.rewriting.proved_record import graph_digest, without_records
from onnx_gapmil.rewriting.repooled.building import repool_graph
from onnx_gapmil.rewriting.repooled.exchanging import restored
from onnx_gapmil.rewriting.repooled.proving import same_answers
from onnx_gapmil.rewriting.same_nodes import same_tensors

if TYPE_CHECKING:
    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.rewriting.repooled.record import PoolRecord


def vendors_model(source: LoadedModel, pools: PoolRecord | None) -> LoadedModel:
    """The vendor's model that a file was repooled from, without what we wrote into its metadata.

    Args:
        source: the file, without new outputs of a rewrite.
        pools: its record; None of a file that was not repooled.
    """
    if pools is None:
        kept = type(source.proto)()
        kept.CopyFrom(source.proto)
        return without_records(replace(source, proto=kept))
    proto = restored(source.proto, pools.heads)
    return without_records(replace(source, proto=proto, sha256=pools.source_sha256))


def check_pools(source: LoadedModel, pools: PoolRecord) -> LoadedModel:
    """Check what a repooled file says of its pools.

    Where the nodes of the pool are those that this version writes, nothing is run. Where they differ (another version
    wrote them), both answer the proof's inputs.

    Args:
        source: the file, without new outputs of a rewrite.
        pools: its record.

    Returns:
        The vendor's model that it was repooled from.

    Raises:
        ProofError: the record is not true.
        ModelError: the model cannot be run.
    """
    vendor = vendors_model(source, pools)
    if graph_digest(vendor.proto) != pools.graph_sha256:
        raise _forged(source, "what is left without the pool is not the vendor's graph that it names")
    try:
        anew = repool_graph(vendor, pools.wishes, class_token=pools.class_token)
    except UnsupportedHeadError as error:
        raise _forged(source, f"its head is refused ({error.refusal.code}): {error.refusal.message}") from error
    except ModelError:
        raise
    except InputError as error:
        raise _forged(source, f"{error}".rstrip(".")) from error
    found = {head.output: head for head in anew.record.heads}
    for said in pools.heads:
        own = found.get(said.output)
        if own is None or (own.names, own.outputs, own.logits, own.alone) != (
            said.names,
            said.outputs,
            said.logits,
            said.alone,
        ):
            raise _forged(source, f"the logits of '{said.output}' are others")
    pairs = [(head.logits, head.logits) for head in pools.heads]
    if not same_tensors(source.proto, anew.model, pairs):
        try:
            equal = same_answers(source, replace(vendor, proto=anew.model), anew)
        except ModelError as error:
            raise _forged(source, f"it cannot be compared: {error}".rstrip(".")) from error
        if not equal:
            keys = ", ".join(dict.fromkeys(head.aggregator.key for head in pools.heads))
            raise _forged(source, f"its answers are not those of {keys}")
    return vendor


def _forged(source: LoadedModel, what: str) -> ProofError:
    report = ProofReport.of_failures([f"{what}."])
    return ProofError(
        f"{source.name}: its record of pools does not hold: {what}. Repool the vendor's original again.", report
    )
